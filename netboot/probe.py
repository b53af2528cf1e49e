"""What a PC asks on its way to userland, asked by a program: one function for each protocol.

Each waits at most a few seconds and raises ProbeError with one line if it is not answered rightly.
"""

import contextlib
import errno
import secrets
import socket
import struct
import time
import urllib.error
import urllib.request
from ipaddress import IPv4Address

from netboot.dhcp import packet as dhcp
from netboot.dhcp import pxe
from netboot.dhcp.packet import MessageType, Option, Packet
from netboot.errors import NetbootError, ProtocolError
from netboot.interfaces import Interface
from netboot.nbd import wire

SECONDS = 4.0  # a server under load; a healthy one answers in milliseconds
RESEND_SECONDS = 1.0
DHCP_SERVER, DHCP_CLIENT, TFTP = 67, 68, 69
VENDOR_CLASS = b"PXEClient:Arch:00000:UNDI:003016"
MAX_BYTES = 256 << 20  # of a boot file; a mistake of the server must not fill our memory

# RFC 1350: opcodes of TFTP.
RRQ, DATA, ACK, ERROR = 1, 3, 4, 5
BLOCK_BYTES = 512


class ProbeError(NetbootError):
    """A question that was not answered, or not rightly."""


def dhcp_offer(interface: Interface, mac: str) -> str:
    """The boot file that our own server offers iPXE on the PC ``mac``. Others' offers are left.

    Broadcasts on ``interface``, as the PC would; the kernel brings them to this machine's server
    too. Raises ProbeError.
    """
    question = Packet(
        op=dhcp.BOOTREQUEST,
        xid=secrets.randbits(32),
        chaddr=bytes.fromhex(mac.replace(":", "")).ljust(16, b"\0"),
        flags=dhcp.BROADCAST_FLAG,
        options={
            Option.DHCP_MESSAGE_TYPE: bytes((MessageType.DHCPDISCOVER,)),
            Option.VENDOR_CLASS_IDENTIFIER: VENDOR_CLASS,
            Option.CLIENT_SYSTEM_ARCHITECTURE: bytes(2),
            Option.USER_CLASS: pxe.IPXE_USER_CLASS,
        },
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.name.encode())
            sock.bind(("", DHCP_CLIENT))
        except OSError as error:
            root = error.errno in (errno.EPERM, errno.EACCES)
            hint = "; that needs root" if root else "; is a DHCP client running here?"
            raise ProbeError(f"UDP port {DHCP_CLIENT}: {error.strerror}{hint}") from None
        deadline = time.monotonic() + SECONDS
        while (now := time.monotonic()) < deadline:
            sock.sendto(dhcp.serialize(question), ("255.255.255.255", DHCP_SERVER))
            while (left := min(now + RESEND_SECONDS, deadline) - time.monotonic()) > 0:
                sock.settimeout(left)
                with contextlib.suppress(TimeoutError, ProtocolError):
                    offer = dhcp.parse(sock.recv(4096))
                    server = offer.address(Option.SERVER_IDENTIFIER)
                    if (offer.xid, server) == (question.xid, interface.address):
                        return offer.file.decode("ascii", "replace")
    raise ProbeError(f"no OFFER from {interface.address} in {SECONDS:g} s")


def tftp_read(server: IPv4Address, path: str) -> bytes:
    """A file over TFTP, in blocks of 512 bytes (RFC 1350). Raises ProbeError."""
    content, expected = b"", 1
    request = struct.pack("!H", RRQ) + path.encode() + b"\0octet\0"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(SECONDS)
        try:
            sock.sendto(request, (str(server), TFTP))
            while True:
                data, peer = sock.recvfrom(4 + BLOCK_BYTES)
                kind, number = struct.unpack_from("!HH", data)
                if kind == ERROR:
                    raise ProbeError(
                        f"TFTP error {number}: {data[4:-1].decode('ascii', 'replace')}"
                    )
                if (kind, number) == (DATA, expected & 0xFFFF):
                    content, expected = content + data[4:], expected + 1
                sock.sendto(struct.pack("!HH", ACK, number), peer)
                if kind == DATA and len(data) < 4 + BLOCK_BYTES:
                    return content
        except (OSError, struct.error) as error:
            raise ProbeError(f"TFTP {server}: {error}") from None


def http_read(url: str) -> bytes:
    """A file over HTTP. Raises ProbeError."""
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            content: bytes = answer.read(MAX_BYTES)
            expected = int(answer.headers.get("Content-Length", len(content)))
    except urllib.error.HTTPError as error:
        raise ProbeError(f"HTTP {error.code} {error.reason}") from None
    except (OSError, ValueError) as error:
        raise ProbeError(f"HTTP: {error}") from None
    if len(content) != expected:
        raise ProbeError(f"HTTP: {len(content)} of {expected} bytes")
    return content


class PageClient:
    """One NBD connection to ``export`` (``NAME@TOKEN``), as Linux speaks it: simple replies."""

    def __init__(self, server: IPv4Address, port: int, export: str) -> None:
        """Connects and attaches. Raises ProbeError."""
        try:
            self._sock = socket.create_connection((str(server), port), timeout=SECONDS)
        except OSError as error:
            raise ProbeError(f"pages {server} port {port}: {error.strerror or error}") from None
        try:
            self._attach(export)
        except BaseException:
            self.close()
            raise

    def _attach(self, export: str) -> None:
        magics = wire.GREETING.unpack(self._receive(wire.GREETING.size))[:2]
        if magics != (wire.GREETING_MAGIC, wire.OPTION_MAGIC):
            raise ProbeError("pages: the server does not speak NBD")
        flags = wire.HandshakeFlag.FIXED_NEWSTYLE | wire.HandshakeFlag.NO_ZEROES
        name = export.encode()
        data = struct.pack(">I", len(name)) + name + struct.pack(">H", 0)
        header = wire.OptionHeader(wire.Option.GO, len(data)).serialize()
        self._send(wire.CLIENT_FLAGS.pack(flags) + header + data)
        while True:
            reply = wire.OptionReply.parse(self._receive(wire.OPTION_REPLY.size))
            message = self._receive(reply.length)
            if reply.type == wire.Reply.ACK:
                return
            if reply.type != wire.Reply.INFO:
                raise ProbeError(f"pages: refused: {message.decode('utf-8', 'replace')}")

    def write(self, offset: int, data: bytes) -> None:
        """Raises ProbeError."""
        self._request(wire.Command.WRITE, offset, len(data), data)

    def read(self, offset: int, length: int) -> bytes:
        """Raises ProbeError."""
        self._request(wire.Command.READ, offset, length)
        return self._receive(length)

    def close(self) -> None:
        """Hangs up."""
        self._sock.close()

    def _request(self, command: wire.Command, offset: int, length: int, data: bytes = b"") -> None:
        cookie = secrets.randbits(64)
        self._send(wire.Request(0, command, cookie, offset, length).serialize() + data)
        reply = wire.SimpleReply.parse(self._receive(wire.SIMPLE_REPLY.size))
        if (reply.cookie, reply.error) != (cookie, wire.Error.NONE):
            raise ProbeError(f"pages: {command.name} failed with error {reply.error}")

    def _send(self, data: bytes) -> None:
        try:
            self._sock.sendall(data)
        except OSError as error:
            raise ProbeError(f"pages: {error}") from None

    def _receive(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            try:
                piece = self._sock.recv(length - len(data))
            except OSError as error:
                raise ProbeError(f"pages: {error}") from None
            if not piece:
                raise ProbeError("pages: the server closed the connection")
            data += piece
        return data
