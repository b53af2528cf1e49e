"""The DHCP client for played PCs: one socket on port 68 for all of them."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from netboot.errors import AnswerError, OperatorError, ProtocolError
from netboot.host.interfaces import Interface
from netboot.host.sockets import widen_receive_buffer
from netboot.serve.dhcp import packet as dhcp
from netboot.serve.dhcp.packet import MessageType, Option, Packet
from netboot.serve.dhcp.sockets import BATCH, MAX_MESSAGE, RECEIVE_BUFFER

DHCP_SERVER, DHCP_CLIENT, BOOT_SERVER = 67, 68, 4011


@dataclass(frozen=True, slots=True)
class _Open:
    """An open question: its server (None: any), the answers that end it, and the answer's place."""

    server: IPv4Address | None
    kinds: Collection[MessageType]
    answer: asyncio.Future[Packet]


class Asking:
    """Broadcasts on ``interface``, as PCs do. The kernel also delivers them on this machine.

    If a server is asked, answers of others are ignored.
    """

    def __init__(self, interface: Interface) -> None:
        """Open port 68. Raises OperatorError if that fails. Needs a running event loop."""
        self._open: dict[int, _Open] = {}
        self._sock = _socket(interface)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._sock, self._readable)

    async def ask(
        self,
        question: Packet,
        server: IPv4Address | None,
        kinds: Collection[MessageType],
        waits: Sequence[float],
    ) -> Packet:
        """Return the answer of ``server`` (None: of any server) that is one of ``kinds``.

        Send the question once for each of ``waits``, the seconds to wait for the answer. Raises
        AnswerError if none comes.
        """
        answer: asyncio.Future[Packet] = self._loop.create_future()
        self._open[question.xid] = _Open(server, kinds, answer)
        data = dhcp.serialize(question)
        try:
            for wait in waits:
                self._broadcast(data)
                done, _ = await asyncio.wait([answer], timeout=wait)
                if done:
                    return answer.result()
        finally:
            del self._open[question.xid]
        names = " or ".join(kind.name.removeprefix("DHCP") for kind in kinds)
        whose = "any server" if server is None else server
        raise AnswerError(f"no {names} from {whose} in {sum(waits):g} s")

    def tell(self, message: Packet) -> None:
        """Send a message that gets no answer, such as DHCPRELEASE."""
        self._broadcast(dhcp.serialize(message))

    def close(self) -> None:
        """Close the socket."""
        self._loop.remove_reader(self._sock)
        self._sock.close()

    def _broadcast(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # a full queue: an unanswered question is sent again
            self._sock.sendto(data, ("255.255.255.255", DHCP_SERVER))

    def _readable(self) -> None:
        for _ in range(BATCH):
            try:
                data = self._sock.recv(MAX_MESSAGE)
            except OSError:  # the queue is empty, or an ICMP error came
                return
            with contextlib.suppress(ProtocolError):
                self._take(dhcp.parse(data))

    def _take(self, packet: Packet) -> None:
        asked = self._open.get(packet.xid)
        if asked is None or packet.op != dhcp.BOOTREPLY or asked.answer.done():
            return
        from_whom = packet.address(Option.SERVER_IDENTIFIER)
        if asked.server in (None, from_whom) and packet.message_type in asked.kinds:
            asked.answer.set_result(packet)


async def ask_boot_server(question: Packet, server: IPv4Address, waits: Sequence[float]) -> Packet:
    """Return the DHCPACK from port 4011 of ``server``.

    ``waits`` are seconds, as in ``Asking.ask``. Raises AnswerError.
    """
    loop, data = asyncio.get_running_loop(), dhcp.serialize(question)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        try:
            sock.connect((str(server), BOOT_SERVER))
            for wait in waits:
                sock.send(data)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        while True:
                            answer = dhcp.parse(await loop.sock_recv(sock, MAX_MESSAGE))
                            if answer.xid == question.xid:
                                return answer
        except (OSError, ProtocolError) as error:
            raise AnswerError(f"{server} port {BOOT_SERVER}: {error}") from None
    raise AnswerError(f"no ACK from {server} port {BOOT_SERVER} in {sum(waits):g} s")


def _socket(interface: Interface) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.name.encode())
        widen_receive_buffer(sock, RECEIVE_BUFFER)
        sock.bind(("", DHCP_CLIENT))
    except OSError as error:
        sock.close()
        root = error.errno in (errno.EPERM, errno.EACCES)
        raise OperatorError(
            f"UDP port {DHCP_CLIENT} on {interface.name} cannot be opened: {error.strerror}",
            hint="run this command as root, with sudo" if root else "does a DHCP client run here?",
        ) from None
    return sock
