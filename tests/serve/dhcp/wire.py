"""A DHCP server without sockets: packets are handed to it, and its answers are kept."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import cast

from netboot.boot.client import Client
from netboot.boot.events import Journal
from netboot.boot.plan import BootPlan, SeatKeys, boot_plan
from netboot.host.interfaces import Interface
from netboot.profile.profile import Profile
from netboot.serve.dhcp.packet import MessageType, parse
from netboot.serve.dhcp.server import DhcpServer, _Arrived
from netboot.serve.dhcp.sockets import Arrival, Port
from netboot.serve.dhcp.standby import Standby


def card(name: str, index: int, address: str) -> Interface:
    own = IPv4Interface(address)
    return Interface(name, index, own.ip, own.network, mac=bytes((2, 0, 0, 0, 0, index)))


ETH = card("eth0", 2, "10.0.0.1/24")


@dataclass
class Wire:
    """A port that is not there: what is sent is kept, or refused with ``error``."""

    error: int = 0
    sent: list[MessageType | None] = field(default_factory=list)
    interfaces: list[Interface] = field(default_factory=list)

    def fileno(self) -> int:
        return 1

    def send(self, data: bytes, interface: Interface, _: object) -> None:
        if self.error:
            raise OSError(self.error, "Operation not permitted")
        self.sent.append(parse(data).message_type)
        self.interfaces.append(interface)

    def arrived(self, data: bytes, index: int = ETH.index) -> list[_Arrived]:
        """Return a broadcast as it waits for its answer."""
        arrival = Arrival(data, ("0.0.0.0", 68), index, b"\xff" * 4)
        return [_Arrived(arrival, cast(Port, self), 67, 0.0)]


def server(
    profile: Profile,
    journal: Journal,
    leases: Path | None = None,
    interfaces: Sequence[Interface] = (ETH,),
    standby: Standby | None = None,
) -> DhcpServer:
    def plan(client: Client, server: IPv4Address, *, privileged: bool) -> BootPlan:
        seat = profile.seat_of(client.mac)
        return boot_plan(profile, seat, client, SeatKeys("token"), server=server)

    made = DhcpServer(profile, interfaces, plan, journal, leases, standby=standby)
    made._adopt(interfaces)
    made._load_leases()
    return made
