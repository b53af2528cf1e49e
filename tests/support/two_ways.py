"""Requests answered in two ways, by nbd/transmission.py and by the workers' fast loop.

Both must give the same replies, the same pages and the same end.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from errno import EIO
from itertools import groupby
from typing import Any

from netboot.errors import ProtocolError
from netboot.nbd.dialect import SIMPLE, Dialect, Headers
from netboot.nbd.export import Export
from netboot.nbd.transmission import Transmission
from netboot.pages.exchange import BUFFER_BYTES, Area, Buffers, Exchange
from netboot.pages.store import Busy
from tests.support import scapy_nbd as nbd

SIZE = 1 << 20
READ, WRITE, DISC, FLUSH, TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS = range(8)
FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO, PAYLOAD_LEN = (1 << bit for bit in range(6))
STRUCTURED = Dialect(Headers.STRUCTURED, allocation=True)
EXTENDED = Dialect(Headers.EXTENDED, allocation=True)
DIALECTS = (SIMPLE, STRUCTURED, EXTENDED)
COOKIE = 0xC0


@dataclass
class ArrayFile:
    """A page file in a bytearray; blocks of 512 bytes that were never written are holes.

    The bytes of ``broken`` fail with ``failure``. The first ``busy`` changes raise Busy.
    """

    size_bytes: int = SIZE
    broken: range = range(0)
    failure: int = EIO
    busy: int = 0
    flushes: int = 0
    data: bytearray = field(default_factory=bytearray)
    written: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.data = self.data or bytearray(self.size_bytes)

    def _check(self, offset: int, length: int) -> None:
        assert 0 <= offset <= offset + length <= self.size_bytes
        if max(offset, self.broken.start) < min(offset + length, self.broken.stop):
            raise OSError(self.failure, "broken")

    def _change(self, offset: int, length: int) -> None:
        self._check(offset, length)
        if self.busy:
            self.busy -= 1
            raise Busy

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self._check(offset, len(buffer))
        buffer[:] = self.data[offset : offset + len(buffer)]

    def write(self, offset: int, data: memoryview) -> None:
        self._change(offset, len(data))
        self.data[offset : offset + len(data)] = data
        if data:
            self.written.update(range(offset // 512, (offset + len(data) - 1) // 512 + 1))

    def trim(self, offset: int, length: int) -> None:
        self.zero(offset, length, allocate=False)

    def zero(self, offset: int, length: int, *, allocate: bool) -> None:
        self._change(offset, length)
        self.data[offset : offset + length] = bytes(length)
        if not allocate:
            self.written.difference_update(range(-(-offset // 512), (offset + length) // 512))
        elif length:
            self.written.update(range(offset // 512, (offset + length - 1) // 512 + 1))

    def extents(self, offset: int, length: int) -> Iterator[tuple[int, bool]]:
        self._check(offset, length)
        at = range(offset, offset + length)
        for hole, run in groupby(at, lambda byte: byte // 512 not in self.written):
            yield sum(1 for _ in run), hole

    def flush(self) -> None:
        self.flushes += 1

    def descriptors(self) -> Sequence[int]:
        return ()

    def close(self) -> None:
        pass


def specified(
    export: Export, pages: ArrayFile, pieces: list[bytes], dialect: Dialect = SIMPLE
) -> tuple[bytes, bool]:
    """Replies, and whether the connection is over, as nbd/transmission.py has it."""
    transmission = Transmission(export, pages, dialect)
    for piece in pieces:
        transmission.receive_data(piece)
    return transmission.data_to_send(), transmission.outcome is not None


def fast(
    export: Export, pages: ArrayFile, pieces: list[bytes], dialect: Dialect = SIMPLE
) -> tuple[bytes, bool]:
    """The same by the workers' loop, driven as a worker drives it."""
    exchange, buffers = Exchange(Area("lease", export, pages), dialect), Buffers()
    out, unparsed, header_bytes = bytearray(), b"", dialect.request_bytes
    step = BUFFER_BYTES - header_bytes
    for piece in pieces:
        for begin in range(0, len(piece), step):
            data = unparsed + piece[begin : begin + step]
            buffers.input[: len(data)] = data
            buffers.position, buffers.end = 0, len(data)
            while True:
                buffers.filled = 0
                try:
                    exchange.answer(buffers)
                except ProtocolError:
                    return bytes(out + buffers.output[: buffers.filled]), True
                out += buffers.output[: buffers.filled]
                if exchange.closed:
                    return bytes(out), True
                if exchange.hungry:
                    break
                if exchange.blocked:
                    unparsed = bytes(buffers.input[buffers.position : buffers.end])
                    buffers.input[:] = b"?" * BUFFER_BYTES  # another connection's turn
                    buffers.input[: len(unparsed)] = unparsed
                    buffers.position, buffers.end = 0, len(unparsed)
                    exchange.retry()
            unparsed = bytes(buffers.input[buffers.position : buffers.end])
            assert len(unparsed) < header_bytes
    return bytes(out), False


def run(
    data: bytes,
    export: Export | None = None,
    pages: ArrayFile | None = None,
    dialect: Dialect = SIMPLE,
) -> bytes:
    """Both; they must agree on replies and pages. Returns the replies."""
    export = export or Export("a", SIZE)
    pages = pages or ArrayFile(export.size_bytes)
    again = deepcopy(pages)
    replies = specified(export, pages, [data], dialect)
    assert fast(export, again, [data], dialect) == replies
    assert again.data == pages.data
    assert again.flushes == pages.flushes
    return replies[0]


def request(
    command: int, offset: int = 0, length: int = 0, flags: int = 0, dialect: Dialect = SIMPLE
) -> bytes:
    """A header as ``dialect`` has it; a WRITE's extended header says that it has a payload."""
    fields = {"type": command, "offset": offset, "length": length, "cookie": COOKIE}
    if dialect.extended:
        flags |= PAYLOAD_LEN if command == WRITE else 0
        return bytes(nbd.ExtendedRequest(flags=flags, **fields))
    return bytes(nbd.Request(flags=flags, **fields))


def answers(data: bytes, read_bytes: int = 0) -> list[Any]:
    """The replies in ``data``, each to the one cookie there is. ``read_bytes`` is the length of
    the one READ of a dialogue in simple replies.
    """
    found = nbd.replies(data, {COOKIE: read_bytes})
    assert {reply.cookie for reply in found} <= {COOKIE}
    return found


def error_of(reply: Any) -> int:
    """The error of a simple reply or of a chunk; 0 for success."""
    return int(reply.error or 0)
