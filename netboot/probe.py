"""HTTP and NBD as a PC asks them on its way to userland; DHCP is in dhcp.asking, TFTP in tftp.fetch.

Each raises AnswerError with one line if it is not answered rightly, or not within its patience:
seconds in which nothing comes.
"""

import asyncio
import re
import secrets
import socket
import struct
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

from netboot.errors import AnswerError, ProtocolError
from netboot.nbd import wire

SECONDS = 4.0  # a server under load; a healthy one answers in milliseconds
MAX_HEAD_BYTES = 64 << 10
MAX_BYTES = 1 << 30  # of a boot file; a mistake of the server must not keep us for ever
PIECE_BYTES = 256 << 10


async def http_read(url: str, method: str = "GET", patience: float = SECONDS) -> bytes:
    """A small answer over HTTP, all of it."""
    content = bytearray()
    await http_download(url, content.extend, method=method, patience=patience)
    return bytes(content)


async def http_download(
    url: str,
    take: Callable[[memoryview], object],
    *,
    method: str = "GET",
    patience: float = SECONDS,
) -> int:
    """Gives ``take`` each piece of an answer over HTTP as it comes; the number of bytes."""
    loop = asyncio.get_running_loop()
    place, got, expected = urlsplit(url), 0, None
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
        try:
            async with asyncio.timeout(patience):
                await loop.sock_connect(sock, (place.hostname or "", place.port or 80))
                path = place.path + (f"?{place.query}" if place.query else "")
                head = f"{method} {path} HTTP/1.1\r\nHost: {place.netloc}\r\n"
                words = f"{head}Content-Length: 0\r\nConnection: close\r\n\r\n"
                await loop.sock_sendall(sock, words.encode())
            pieces = _pieces(sock, patience)
            expected, rest = await _head(pieces)
            take(memoryview(rest))
            got = len(rest)
            while got < expected:
                piece = await anext(pieces, None)
                if piece is None:
                    break
                take(piece)
                got += len(piece)
        except TimeoutError:
            of = "" if expected is None else f" after {got} of {expected} bytes"
            raise AnswerError(f"HTTP: nothing came for {patience:g} s{of}") from None
        except (OSError, ValueError) as error:
            raise AnswerError(f"HTTP: {error}") from None
    if got != expected:
        raise AnswerError(f"HTTP: {got} of {expected} bytes")
    return got


async def _pieces(sock: socket.socket, patience: float) -> AsyncIterator[memoryview]:
    """What comes; each piece is good until the next one is asked for."""
    loop, buffer = asyncio.get_running_loop(), memoryview(bytearray(PIECE_BYTES))
    while True:
        async with asyncio.timeout(patience):
            size = await loop.sock_recv_into(sock, buffer)
        if not size:
            return
        yield buffer[:size]


async def _head(pieces: AsyncIterator[memoryview]) -> tuple[int, bytes]:
    """Length of the body, and what of it came with the head."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = await anext(pieces, None)
        if piece is None or len(data) > MAX_HEAD_BYTES:
            raise AnswerError("HTTP: an answer without an end of its head")
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    text = head.decode("latin-1")
    status = re.match(r"HTTP/1\.[01] ([0-9]{3}) ?(.*)", text)
    length = re.search(r"\r\nContent-Length: *([0-9]+)", text, re.IGNORECASE)
    if status is None:
        raise AnswerError("HTTP: an answer without a status")
    if not status[1].startswith("2"):
        raise AnswerError(f"HTTP {status[1]} {status[2].strip()}")
    if length is None and status[1] != "204":
        raise AnswerError("HTTP: an answer without a length")
    size = int(length[1]) if length else 0
    if size > MAX_BYTES:
        raise AnswerError(f"HTTP: {size} bytes, expected at most {MAX_BYTES}")
    return size, rest


class PageClient:
    """One NBD connection, as Linux speaks it: simple replies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def attach(cls, server: str, port: int, export: str) -> "PageClient":
        """Connects to ``export`` (``NAME@TOKEN``). Raises AnswerError."""
        try:
            async with asyncio.timeout(SECONDS):
                client = cls(*await asyncio.open_connection(server, port))
        except OSError as error:  # a timeout is one
            reason = error.strerror or "no connection"
            raise AnswerError(f"pages {server} port {port}: {reason}") from None
        try:
            await client._attach(export)
        except BaseException:
            client.close()
            raise
        return client

    async def _attach(self, export: str) -> None:
        magics = wire.GREETING.unpack(await self._receive(wire.GREETING.size))[:2]
        if magics != (wire.GREETING_MAGIC, wire.OPTION_MAGIC):
            raise AnswerError("pages: the server does not speak NBD")
        flags = wire.HandshakeFlag.FIXED_NEWSTYLE | wire.HandshakeFlag.NO_ZEROES
        name = export.encode()
        data = struct.pack(">I", len(name)) + name + struct.pack(">H", 0)
        header = wire.OptionHeader(wire.Option.GO, len(data)).serialize()
        self._writer.write(wire.CLIENT_FLAGS.pack(flags) + header + data)
        while True:
            reply = wire.OptionReply.parse(await self._receive(wire.OPTION_REPLY.size))
            message = await self._receive(reply.length)
            if reply.type == wire.Reply.ACK:
                return
            if reply.type != wire.Reply.INFO:
                raise AnswerError(f"pages: refused: {message.decode('utf-8', 'replace')}")

    async def write(self, offset: int, data: bytes) -> None:
        """Raises AnswerError."""
        await self._request(wire.Command.WRITE, offset, len(data), data)

    async def read(self, offset: int, length: int) -> bytes:
        """Raises AnswerError."""
        await self._request(wire.Command.READ, offset, length)
        return await self._receive(length)

    def close(self) -> None:
        """Hangs up."""
        self._writer.close()

    async def _request(
        self, command: wire.Command, offset: int, length: int, data: bytes = b""
    ) -> None:
        cookie = secrets.randbits(64)
        self._writer.write(wire.Request(0, command, cookie, offset, length).serialize() + data)
        reply = wire.SimpleReply.parse(await self._receive(wire.SIMPLE_REPLY.size))
        if (reply.cookie, reply.error) != (cookie, wire.Error.NONE):
            raise AnswerError(f"pages: {command.name} failed with error {reply.error}")

    async def _receive(self, length: int) -> bytes:
        try:
            async with asyncio.timeout(SECONDS):
                return await self._reader.readexactly(length)
        except TimeoutError:
            raise AnswerError(f"pages: no answer in {SECONDS:g} s") from None
        except asyncio.IncompleteReadError:
            raise AnswerError("pages: the server closed the connection") from None
        except (OSError, ProtocolError) as error:
            raise AnswerError(f"pages: {error}") from None
