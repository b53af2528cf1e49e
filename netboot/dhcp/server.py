"""DhcpServer: the sockets of ports 67 and 4011, the lease file, and the log of both."""

import asyncio
import errno
import json
import logging
import os
import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from netboot.client import Client
from netboot.dhcp.lease import LeasePool
from netboot.dhcp.packet import Packet, parse, serialize
from netboot.dhcp.pxe import is_pxe
from netboot.dhcp.responder import BOOT_SERVER_PORT, SERVER_PORT, Context, Reply, respond
from netboot.errors import Ignored, OperatorError, ProtocolError
from netboot.events import BootEvent, Journal
from netboot.interfaces import Interface
from netboot.plan import BootPlan
from netboot.profile import Profile

log = logging.getLogger(__name__)

# Two lessons' worth of PCs ask at once: 500 DISCOVERs overrun the default buffer, of which dnsmasq
# and Kea answer 166 (measured). One takes 1,280 bytes of the kernel's account.
RECEIVE_BUFFER = 4 << 20
SO_RCVBUFFORCE = 33  # asm-generic/socket.h: beyond net.core.rmem_max, for root
IP_PKTINFO = 8  # linux/in.h; the socket module has it from Python 3.14
PKTINFO = struct.Struct("=i4s4s")  # interface index, our address, destination of the header
MAX_MESSAGE = 4096
BATCH = 64  # packets answered between two visits to the event loop, and for one write of leases

COMPLAINTS = 10  # lines of log about bad packets in each
COMPLAINT_PERIOD = 10.0  # seconds

STAGES = {SERVER_PORT: "dhcp", BOOT_SERVER_PORT: "pxe"}


@dataclass(frozen=True, slots=True)
class _Answered:
    """A reply that waits for the leases to be on disk; ``received`` is time.perf_counter()'s."""

    reply: Reply
    data: bytes
    interface: Interface
    received: float


class DhcpServer:
    """Answers DHCP on ``interfaces``; ``plan`` says what a client boots from our address there."""

    def __init__(
        self,
        profile: Profile,
        interfaces: Sequence[Interface],
        plan: Callable[[Client, IPv4Address], BootPlan],
        journal: Journal,
        lease_file: Path | None = None,
    ) -> None:
        self._profile = profile
        self._interfaces = {interface.index: interface for interface in interfaces}
        self._plan = plan
        self._journal = journal
        self._lease_file = lease_file
        self._pool: LeasePool | None = None
        self._saved = 0  # the pool's ``changes`` that the lease file shows
        self._sockets: dict[int, socket.socket] = {}
        self._complaints = _Complaints()

    async def start(self) -> None:
        """Reads the leases and binds ports 67 and 4011.

        Raises OperatorError if a port is taken or not permitted, if the lease file cannot be used,
        or if full mode's addresses are on none of the interfaces.
        """
        self._profile.check_networks(
            {interface.name: interface.network for interface in self._interfaces.values()}
        )
        self._pool = self._load_pool()
        loop = asyncio.get_running_loop()
        for port in STAGES:
            bound = self._sockets[port] = _open(port)
            loop.add_reader(bound, self._readable, bound, port)

    async def stop(self) -> None:
        """Closes the ports. Leases are on disk already."""
        for bound in self._sockets.values():
            asyncio.get_running_loop().remove_reader(bound)
            bound.close()
        self._sockets.clear()

    def _load_pool(self) -> LeasePool | None:
        dhcp = self._profile.dhcp
        if dhcp.mode != "full" or dhcp.range is None:
            return None
        reservations = {
            mac: settings.address
            for mac, settings in self._profile.clients.items()
            if settings.address is not None
        }
        servers = [interface.address for interface in self._interfaces.values()]
        pool = LeasePool(dhcp.range, dhcp.lease_time, reservations, taken=(*servers, *dhcp.dns))
        if self._lease_file is not None and self._lease_file.exists():
            try:
                pool.restore(json.loads(self._lease_file.read_bytes()))
            except (OSError, ValueError) as error:
                raise OperatorError(
                    f"{self._lease_file}: {error}",
                    hint="move the lease file away; PCs then get their addresses anew",
                ) from error
        return pool

    def _readable(self, bound: socket.socket, port: int) -> None:
        """Answers what waits in the socket, after one write of all leases given meanwhile."""
        answered = []
        for _ in range(BATCH):
            try:
                data, ancillary, _flags, source = bound.recvmsg(
                    MAX_MESSAGE, socket.CMSG_SPACE(PKTINFO.size)
                )
            except BlockingIOError:
                break
            except OSError as error:
                # An ICMP error about an earlier reply of ours arrives this way.
                self._complaints.warn("port %d: %s", port, error)
                continue
            received = time.perf_counter()
            interface = self._interfaces.get(_arrival(ancillary))
            if interface is None:
                continue
            reply = self._answer(data, port, (IPv4Address(source[0]), source[1]), interface)
            if reply is not None:
                answered.append(_Answered(reply[0], reply[1], interface, received))
        if self._save():
            for item in answered:
                self._send(bound, port, item)

    def _answer(
        self, data: bytes, port: int, source: tuple[IPv4Address, int], interface: Interface
    ) -> tuple[Reply, bytes] | None:
        try:
            packet = parse(data)
            result = respond(packet, self._context(port, source, interface), time.time())
            self._record_request(packet, port, result)
            return None if isinstance(result, Ignored) else (result, serialize(result.packet))
        except ProtocolError as error:
            self._complaints.warn("port %d: bad packet from %s: %s", port, source[0], error)
        except Exception:  # noqa: BLE001 - a bug of ours must cost one seat and not the room
            self._complaints.warn("port %d: packet from %s", port, source[0], exc_info=True)
        return None

    def _context(self, port: int, source: tuple[IPv4Address, int], interface: Interface) -> Context:
        addresses = self._profile.dhcp.range
        home = addresses is not None and addresses.first in interface.network
        return Context(
            profile=self._profile,
            server=interface.address,
            network=interface.network,
            port=port,
            source=source,
            plan=partial(self._plan_from, interface.address),
            pool=self._pool if home else None,
        )

    def _plan_from(self, server: IPv4Address, client: Client) -> BootPlan:
        return self._plan(client, server)

    def _save(self) -> bool:
        """Writes changed leases; False if that failed: then no PC may be told of them."""
        pool, path = self._pool, self._lease_file
        if pool is None or path is None or pool.changes == self._saved:
            return True
        changes = pool.changes
        fresh = path.with_name(path.name + ".new")
        try:
            fresh.write_text(json.dumps(pool.as_json(), indent=1))
            os.replace(fresh, path)
        except OSError as error:
            self._complaints.warn("leases cannot be saved, no answer is sent: %s", error)
            return False
        self._saved = changes
        return True

    def _send(self, bound: socket.socket, port: int, item: _Answered) -> None:
        reply, interface = item.reply, item.interface
        # The interface it came in by, with the address we have there: not the routing table's.
        pktinfo = PKTINFO.pack(interface.index, interface.address.packed, bytes(4))
        ancillary = [(socket.IPPROTO_IP, IP_PKTINFO, pktinfo)]
        target = (str(reply.address), reply.port)
        try:
            bound.sendmsg([item.data], ancillary, 0, target)
        except OSError as error:
            self._complaints.warn("port %d: no reply to %s: %s", port, reply.address, error)
            return
        self._record_reply(port, reply, (time.perf_counter() - item.received) * 1000)

    def _record_request(self, packet: Packet, port: int, result: Reply | Ignored) -> None:
        """Notes what a seat asked; of traffic that is not answered only what a PXE client sent."""
        kind = packet.message_type
        if kind is None or packet.mac is None:
            return
        if isinstance(result, Ignored) and not is_pxe(packet):
            log.debug("port %d: %s from %s: %s", port, kind.name, packet.mac, result.reason)
            return
        name = kind.name.removeprefix("DHCP")
        data: dict[str, Any] = {"type": name}
        if isinstance(result, Ignored):
            message = f"{name}: {result.reason}"
        elif result.client is None:
            message = f"{name} from a DHCP client"
        else:
            data["arch"] = result.client.arch.name
            data["stage"] = result.client.stage.value
            sender = "iPXE" if data["stage"] == "ipxe" else "PXEClient"
            message = f"{name} from {sender} {data['arch']}"
        self._record(packet.mac, port, message, data)

    def _record_reply(self, port: int, reply: Reply, milliseconds: float) -> None:
        packet, name = reply.packet, reply.answer.name.removeprefix("DHCP")
        # A script's folder is the seat's ticket, which no event may show.
        file = packet.file.decode().rpartition("/")[2]
        data: dict[str, Any] = {"type": name, "ms": round(milliseconds, 3)}
        words = [name]
        if int(packet.yiaddr):
            data["address"] = str(packet.yiaddr)
            words[0] += f" {packet.yiaddr}"
        if file:
            data["file"] = file
            words.append(f"boot file {file}")
        self._record(packet.mac or "", port, ", ".join(words), data)

    def _record(self, mac: str, port: int, message: str, data: dict[str, Any]) -> None:
        self._journal.record(BootEvent(time.time(), mac, STAGES[port], message, data))


class _Complaints:
    """Warnings about packets, so many in each period: anyone on the LAN can cause them."""

    def __init__(self) -> None:
        self._period_began = float("-inf")
        self._count = 0

    def warn(self, message: str, *arguments: object, exc_info: bool = False) -> None:
        now = time.monotonic()
        if now - self._period_began > COMPLAINT_PERIOD:
            if self._count > COMPLAINTS:
                log.warning("%d more warnings were left out", self._count - COMPLAINTS)
            self._period_began, self._count = now, 0
        self._count += 1
        if self._count <= COMPLAINTS:
            log.warning(message, *arguments, exc_info=exc_info)


def _arrival(ancillary: list[tuple[int, int, bytes]]) -> int:
    """Index of the interface that a packet came in by; 0, which none has, if not told."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            return int(PKTINFO.unpack(data)[0])
    return 0


def _open(port: int) -> socket.socket:
    """A UDP socket on ``port`` of all addresses: broadcasts reach no other kind.

    SO_REUSEADDR lets the LAN's own DHCP server run on this machine too, if it sets it as well.
    """
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        bound.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        try:
            bound.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        except PermissionError:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        bound.bind(("0.0.0.0", port))
    except OSError as error:
        bound.close()
        raise OperatorError(
            f"UDP port {port} cannot be opened: {error.strerror}", hint=_hint(error, port)
        ) from error
    return bound


def _hint(error: OSError, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"another server has it (dnsmasq, isc-dhcp-server, systemd-networkd?): "
            f"ss -ulpn 'sport = :{port}'"
        )
    return "run it as root: sudo netboot serve"
