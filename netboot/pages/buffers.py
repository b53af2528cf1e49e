"""What a worker's turn works on: the buffers, and the lease's swap area with its counters."""

from dataclasses import dataclass, field

from netboot.nbd.export import Export
from netboot.pages.store import PageFile

# 64 requests or replies of 4 KiB, or two of 128 KiB, each with its header: Linux has 128 requests
# in flight on a connection, fio's rows 32.
BUFFER_BYTES = 260 << 10

_ZEROS = memoryview(bytes(BUFFER_BYTES))


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
    """A lease's swap area as a worker sees it, shared by all connections of the lease."""

    lease: str
    export: Export
    pages: PageFile
    counters: Counters = field(default_factory=Counters)
    written: bool = False


class Buffers:
    """Input and output of whichever connection has its turn; ``position`` to ``end`` of the input
    are still to be parsed, ``filled`` bytes of the output are to be sent.
    """

    def __init__(self) -> None:
        self.input = memoryview(bytearray(BUFFER_BYTES))
        self.raw_output = bytearray(BUFFER_BYTES)
        self.output = memoryview(self.raw_output)
        self.position = self.end = self.filled = 0

    @property
    def room(self) -> int:
        """Bytes that the output can still take."""
        return BUFFER_BYTES - self.filled

    def put(self, data: bytes) -> None:
        """Appends to the output."""
        end = self.filled + len(data)
        self.output[self.filled : end] = data
        self.filled = end

    def zeros_at(self, begin: int, length: int) -> bool:
        """Whether there is nothing else in that part of the output."""
        # Comparing memoryviews takes each byte on its own: 60 times as long.
        return self.raw_output.startswith(_ZEROS[:length], begin)
