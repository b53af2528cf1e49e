"""What a worker's turn works on: the buffers, and the lease's swap area with its counters."""

from dataclasses import dataclass, field

from netboot.pages.nbd.backing import PageFile, pages_of
from netboot.pages.nbd.dialect import MAX_FRAMING_BYTES
from netboot.pages.nbd.export import Export

# 64 requests or replies of 4 KiB, or two of 128 KiB, each with its header: Linux has 128 requests
# in flight on a connection, fio's rows 32.
BUFFER_BYTES = 260 << 10
ROOM_BYTES = BUFFER_BYTES - MAX_FRAMING_BYTES
IOV_MAX = 1024  # what one sendmsg takes: UIO_MAXIOV, linux/uio.h
MOST_PARTS = IOV_MAX // 2

_ZEROS = bytes(BUFFER_BYTES)


@dataclass(slots=True)
class Counters:
    """What was done for a lease, refused requests not counted."""

    reads: int = 0
    writes: int = 0
    trims: int = 0  # TRIM and WRITE_ZEROES
    bytes_read: int = 0
    bytes_written: int = 0


@dataclass(slots=True)
class Area:
    """A lease's swap area as a worker sees it, shared by all connections of the lease. ``seat``: whose
    share of the worker it has.
    """

    lease: str
    export: Export
    pages: PageFile
    counters: Counters = field(default_factory=Counters)
    written: bool = False
    seat: str = ""

    def fetch(self, offset: int, length: int, buffers: "Buffers") -> memoryview:
        """The bytes, where they are stored or in what is left of scratch. Raises OSError."""
        stored = self.pages.view(offset, length)
        if stored is not None:
            buffers.shown.update(pages_of(offset, length))
            return stored
        data = buffers.scratch[buffers.used : buffers.used + length]
        self.pages.read_into(offset, data)
        return data


class Buffers:
    """Input and output of whichever connection has its turn.

    ``position`` to ``end`` of the input are still to be parsed. The output is a list of ``parts``,
    ``filled`` bytes in all: headers, and pages where they are stored, or in ``scratch``, of which
    ``used`` bytes are taken. ``shown`` are the offsets of the pages among them that are sent from
    where they are stored: what would change these has to wait until they were sent.
    """

    def __init__(self) -> None:
        self.input = memoryview(bytearray(BUFFER_BYTES))
        self.scratch = memoryview(bytearray(BUFFER_BYTES))
        self.parts: list[bytes | memoryview] = []
        self.shown: set[int] = set()
        self.position = self.end = self.filled = self.used = 0

    def begin_output(self) -> None:
        """Forgets the output: it was sent, or copied."""
        self.parts.clear()
        self.shown.clear()
        self.filled = self.used = 0

    @property
    def full(self) -> bool:
        """Whether it has to be sent before another reply is begun."""
        return self.filled > ROOM_BYTES or len(self.parts) > MOST_PARTS

    @property
    def room(self) -> int:
        """Bytes that the output can still take."""
        return BUFFER_BYTES - self.filled

    def put(self, data: bytes | memoryview) -> None:
        """Appends to the output."""
        self.parts.append(data)
        self.filled += len(data)

    def put_fetched(self, data: memoryview) -> None:
        """Appends what ``Area.fetch`` gave."""
        if data.obj is self.scratch.obj:
            self.used += len(data)
        self.put(data)


def is_zeros(data: memoryview) -> bool:
    """Whether there is nothing else in it, which is at most a buffer."""
    # Comparing memoryviews takes each byte on its own: 60 times as long.
    return not data[0] and not data[-1] and _ZEROS.startswith(data)
