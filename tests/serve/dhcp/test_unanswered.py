"""An answer that this server cannot give names its PC, in the log and in the PC's history."""

import asyncio
import errno
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, cast

import pytest

from netboot.boot.events import Journal
from netboot.boot.plan import BootPlan, SeatKeys, boot_plan
from netboot.host.interfaces import Interface
from netboot.profile.profile import Profile
from netboot.serve.dhcp import leasefile
from netboot.serve.dhcp.packet import MessageType, parse
from netboot.serve.dhcp.server import DhcpServer, _Arrived
from netboot.serve.dhcp.sockets import Arrival, Port
from tests.serve.dhcp.test_responder import FULL, PROXY
from tests.support.pxe_client import UEFI_X64, PxeClient

ETH = Interface("eth0", 2, IPv4Address("10.0.0.1"), IPv4Network("10.0.0.0/24"))
ANN = PxeClient(mac="52:54:00:00:00:01", arch=UEFI_X64)


@dataclass
class Wire:
    """A port that is not there: what is sent is kept, or refused with ``error``."""

    error: int = 0
    sent: list[MessageType | None] = field(default_factory=list)

    def fileno(self) -> int:
        return 1

    def send(self, data: bytes, *_: object) -> None:
        if self.error:
            raise OSError(self.error, "Operation not permitted")
        self.sent.append(parse(data).message_type)


def server(profile: Profile, journal: Journal, leases: Path | None = None) -> DhcpServer:
    def plan(client: Any, address: IPv4Address, *, privileged: bool) -> BootPlan:
        seat = profile.seat(client.mac)
        return boot_plan(profile, seat, client, SeatKeys("token"), server=address)

    made = DhcpServer(profile, [ETH], plan, journal, leases)
    made._adopt([ETH])
    made._load_leases()
    return made


def arrived(data: bytes, wire: Wire, index: int = ETH.index) -> _Arrived:
    arrival = Arrival(data, ("0.0.0.0", 68), index, b"\xff" * 4)
    return _Arrived(arrival, cast(Port, wire), 67, 0.0)


def test_a_firewall_that_lets_no_answer_out_is_told_for_each_pc(
    caplog: pytest.LogCaptureFixture,
) -> None:
    journal = Journal()
    ours = server(PROXY, journal)
    ours._answer_all([arrived(ANN.discover(), Wire(errno.EPERM))])
    asked, refused = journal.history(ANN.mac)
    assert asked.message.startswith("DISCOVER")
    assert refused.message == (
        "no OFFER is sent: Operation not permitted: this machine's firewall lets it not out; "
        "the PC shows: PXE-E16: No valid offer received"
    )
    assert f"{ANN.mac}: {refused.message}" in caplog.text


def test_a_lease_that_cannot_be_saved_is_told_for_each_pc(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leasefile, "SAVE_SECONDS", 0.01)
    (tmp_path / "file").touch()  # in place of the folder
    journal, wire = Journal(), Wire()

    async def scenario() -> None:
        ours = server(FULL, journal, tmp_path / "file" / "leases.json")
        ours._answer_all([arrived(ANN.discover(), wire)])
        ours._answer_all([arrived(ANN.request(("server_id", str(ETH.address))), wire)])
        await asyncio.gather(*ours._waiting)
        await ours.stop()

    asyncio.run(scenario())
    assert wire.sent == [MessageType.DHCPOFFER]
    *_, asked, refused = journal.history(ANN.mac)
    assert asked.message.startswith("REQUEST")
    assert refused.message.startswith("no ACK is sent: its lease cannot be saved; make room")
    assert refused.message.endswith("; the PC shows: PXE-E16: No valid offer received")
    assert f"{ANN.mac}: {refused.message}" in caplog.text
