"""The HTTP client: ask as a PC does on its way to userland.

The clients of DHCP, TFTP and NBD are beside their servers. Each function raises AnswerError, with
one line, if the answer is wrong or if no data comes for ``patience`` seconds. They ask from our address
``source``, by default the one that leads to the server.
"""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

from netboot.errors import AnswerError

SECONDS = 4.0  # for a server under load; an idle one answers in milliseconds
MAX_HEAD_BYTES = 64 << 10
MAX_BYTES = 1 << 30  # of a boot file; a mistake of the server must not keep us busy forever
PIECE_BYTES = 256 << 10


async def http_read(
    url: str, method: str = "GET", patience: float = SECONDS, source: str = ""
) -> bytes:
    """Return a whole small answer over HTTP."""
    content = bytearray()
    await http_download(url, content.extend, method=method, patience=patience, source=source)
    return bytes(content)


async def http_download(
    url: str,
    take: Callable[[memoryview], object],
    *,
    method: str = "GET",
    patience: float = SECONDS,
    source: str = "",
) -> int:
    """Call ``take`` with each piece of an answer over HTTP. Return the number of bytes."""
    loop = asyncio.get_running_loop()
    place, got, expected = urlsplit(url), 0, None
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
        try:
            if source:
                sock.bind((source, 0))
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
            raise AnswerError(f"HTTP: no data for {patience:g} s{of}") from None
        except (OSError, ValueError) as error:
            raise AnswerError(f"HTTP: {error}") from None
    if got != expected:
        raise AnswerError(f"HTTP: the connection ended after {got} of {expected} bytes")
    return got


async def _pieces(sock: socket.socket, patience: float) -> AsyncIterator[memoryview]:
    """Yield received data. Each piece is valid until the next one is requested."""
    loop, buffer = asyncio.get_running_loop(), memoryview(bytearray(PIECE_BYTES))
    while True:
        async with asyncio.timeout(patience):
            size = await loop.sock_recv_into(sock, buffer)
        if not size:
            return
        yield buffer[:size]


async def _head(pieces: AsyncIterator[memoryview]) -> tuple[int, bytes]:
    """Return the length of the body in bytes, and the part of it that came with the head."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = await anext(pieces, None)
        if piece is None or len(data) > MAX_HEAD_BYTES:
            raise AnswerError("HTTP: the answer's head has no end")
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    text = head.decode("latin-1")
    status = re.match(r"HTTP/1\.[01] ([0-9]{3}) ?(.*)", text)
    length = re.search(r"\r\nContent-Length: *([0-9]+)", text, re.IGNORECASE)
    if status is None:
        raise AnswerError("HTTP: the answer has no status")
    if not status[1].startswith("2"):
        raise AnswerError(f"HTTP {status[1]} {status[2].strip()}")
    if length is None and status[1] != "204":
        raise AnswerError("HTTP: the answer has no length")
    size = int(length[1]) if length else 0
    if size > MAX_BYTES:
        raise AnswerError(f"HTTP: {size} bytes, expected at most {MAX_BYTES}")
    return size, rest
