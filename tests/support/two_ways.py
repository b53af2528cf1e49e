"""Requests answered in two ways, by nbd/transmission.py and by the workers' fast loop.

Both must give the same replies, the same pages and the same end.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from errno import EIO
from itertools import groupby
from time import monotonic
from typing import Any

from netboot.errors import ProtocolError
from netboot.pages.nbd.backing import Busy
from netboot.pages.nbd.dialect import SIMPLE, Dialect, Headers
from netboot.pages.nbd.export import Export
from netboot.pages.nbd.transmission import Transmission
from netboot.pages.worker.buffers import IOV_MAX
from netboot.pages.worker.exchange import BUFFER_BYTES, Area, Buffers, Exchange
from tests.support import scapy_nbd as nbd

SIZE = 1 << 20
READ, WRITE, DISC, FLUSH, TRIM, CACHE, WRITE_ZEROES, BLOCK_STATUS = range(8)
FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO, PAYLOAD_LEN = (1 << bit for bit in range(6))
STRUCTURED = Dialect(Headers.STRUCTURED, allocation=True)
EXTENDED = Dialect(Headers.EXTENDED, allocation=True)
DIALECTS = (SIMPLE, STRUCTURED, EXTENDED)
COOKIE = 0xC0
PATIENCE_SECONDS = 60.0


@dataclass
class ArrayFile:
    """A page file in a bytearray; blocks of 512 bytes that were never written are holes.

    The bytes of ``broken`` fail with ``failure``. The first ``busy`` changes raise Busy. With
    ``mapped``, written bytes have a view.
    """

    size_bytes: int = SIZE
    broken: range = range(0)
    failure: int = EIO
    busy: int = 0
    mapped: bool = False
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

    def view(self, offset: int, length: int) -> memoryview | None:
        end = offset + length
        spoiled = max(offset, self.broken.start) < min(end, self.broken.stop)
        written = self.written.issuperset(range(offset // 512, (end - 1) // 512 + 1))
        if not self.mapped or self.busy or spoiled or not written:
            return None
        return memoryview(self.data)[offset:end]

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

    def check(self) -> None:
        pass

    def descriptors(self) -> Sequence[int]:
        return ()

    def close(self) -> None:
        pass


def specified(
    export: Export, pages: ArrayFile, pieces: list[bytes], dialect: Dialect = SIMPLE
) -> tuple[bytes, bool]:
    """Return replies and the end of the connection according to nbd/transmission.py."""
    transmission = Transmission(export, pages, dialect)
    for piece in pieces:
        transmission.receive_data(piece)
    return transmission.data_to_send(), transmission.outcome is not None


def fast(
    export: Export, pages: ArrayFile, pieces: list[bytes], dialect: Dialect = SIMPLE
) -> tuple[bytes, bool]:
    """Return the same according to the workers' loop."""
    loop, out = FastLoop(Area("lease", export, pages), Buffers(), dialect), bytearray()
    for piece in pieces:
        try:
            for said in loop.send(piece):
                out += said
        except ProtocolError:
            return bytes(out + output(loop.buffers)), True
        if loop.exchange.closed:
            return bytes(out), True
    return bytes(out), False


class FastLoop:
    """A connection to the workers' loop, driven like in a worker. Others share the buffers."""

    def __init__(self, area: Area, buffers: Buffers, dialect: Dialect) -> None:
        self.exchange = Exchange(area, dialect)
        self.buffers = buffers
        self._unparsed = b""

    def send(self, data: bytes) -> Iterator[bytes]:
        """Yield the replies to ``data`` until the loop waits for more. Raises ProtocolError."""
        buffers, exchange, patience = self.buffers, self.exchange, monotonic() + PATIENCE_SECONDS
        while data and not exchange.closed:
            sink = exchange.sink
            room = BUFFER_BYTES - len(self._unparsed) if sink is None else len(sink)
            taken, data = data[:room], data[room:]
            if sink is None:
                self._unparsed += taken
            else:
                assert not self._unparsed
                sink[: len(taken)] = taken
                exchange.sunk(len(taken))
            waits = False
            while not waits:
                buffers.input[:] = b"?" * BUFFER_BYTES  # as if another connection had its turn
                buffers.input[: len(self._unparsed)] = self._unparsed
                buffers.position, buffers.end = 0, len(self._unparsed)
                if exchange.waiting:
                    assert monotonic() < patience, "the store remains busy"
                    exchange.retry(buffers)
                exchange.answer(buffers)
                self._unparsed = bytes(buffers.input[buffers.position : buffers.end])
                yield output(buffers)
                waits = (exchange.hungry and not exchange.waiting) or exchange.closed


def output(buffers: Buffers) -> bytes:
    """Return the output and clear it."""
    said = b"".join(buffers.parts)
    assert len(said) == buffers.filled <= BUFFER_BYTES
    assert len(buffers.parts) < IOV_MAX
    buffers.begin_output()
    return said


def run(
    data: bytes,
    export: Export | None = None,
    pages: ArrayFile | None = None,
    dialect: Dialect = SIMPLE,
) -> bytes:
    """Run both ways, which must agree on replies and pages; return the replies."""
    export = export or Export("a", SIZE)
    pages = pages or ArrayFile(export.size_bytes)
    again = deepcopy(pages)
    mapped = replace(deepcopy(pages), mapped=True)
    replies = specified(export, pages, [data], dialect)
    for other in (again, mapped):
        assert fast(export, other, [data], dialect) == replies
        assert other.data == pages.data
        assert other.flushes == pages.flushes
    return replies[0]


def request(
    command: int, offset: int = 0, length: int = 0, flags: int = 0, dialect: Dialect = SIMPLE
) -> bytes:
    """Return a header in ``dialect``. An extended header of a WRITE announces its payload."""
    fields = {"type": command, "offset": offset, "length": length, "cookie": COOKIE}
    if dialect.extended:
        flags |= PAYLOAD_LEN if command == WRITE else 0
        return bytes(nbd.ExtendedRequest(flags=flags, **fields))
    return bytes(nbd.Request(flags=flags, **fields))


def answers(data: bytes, read_bytes: int = 0) -> list[Any]:
    """Return the replies in ``data``, which all have the same cookie.

    ``read_bytes`` is the length of the only READ of a dialogue in simple replies.
    """
    found = nbd.replies(data, {COOKIE: read_bytes})
    assert {reply.cookie for reply in found} <= {COOKIE}
    return found


def error_of(reply: Any) -> int:
    """Return the error of a simple reply or of a chunk; 0 for success."""
    return int(reply.error or 0)
