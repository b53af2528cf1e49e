"""The data of a worker's turn: the buffers, and the lease's swap area with its counters."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from netboot.boot.limits import NBD_WAITING
from netboot.pages.nbd.backing import PageFile, pages_of
from netboot.pages.nbd.dialect import MAX_FRAMING_BYTES
from netboot.pages.nbd.export import Export
from netboot.pages.nbd.wire import MAX_PAYLOAD_BYTES
from netboot.pages.worker.held import Held
from netboot.pages.worker.tasks import Tasks

# Room for 64 requests or replies of 4 KiB, or two of 128 KiB, each with its header. Linux has 128
# requests in flight on a connection, fio's rows in the benchmark 32.
BUFFER_BYTES = 260 << 10
ROOM_BYTES = BUFFER_BYTES - MAX_FRAMING_BYTES
IOV_MAX = 1024  # parts that one sendmsg takes: UIO_MAXIOV, linux/uio.h
MOST_PARTS = IOV_MAX // 2
# Memory of a request that waits, beside its payload: so empty requests are limited, too.
OVERHEAD_BYTES = 2048
MOST_POWER = 24  # of 2, in microseconds, of a turn that is timed: 8 s and more

_ZEROS = bytes(BUFFER_BYTES)


@dataclass(slots=True)
class Counters:
    """The work done for a lease. Refused requests are not counted."""

    reads: int = 0
    writes: int = 0
    trims: int = 0  # TRIM and WRITE_ZEROES
    bytes_read: int = 0
    bytes_written: int = 0


@dataclass(slots=True)
class Area:
    """A lease's swap area in a worker, shared by all connections of the lease.

    ``damage`` is why the lease has to end, or empty. The governor charges the turns of its
    connections to ``seat``. A page file that may have to wait has ``tasks``. The changes that wait
    for room in the store, or are under way, have ``held`` bytes, at most ``allowance``.
    """

    lease: str
    export: Export
    pages: PageFile
    counters: Counters = field(default_factory=Counters)
    written: bool = False
    seat: str = ""
    damage: str = ""
    tasks: Tasks | None = None
    held: int = 0
    allowance: int = NBD_WAITING.per_address or 0
    _waiting: list[Held] = field(default_factory=list)

    def admit(self, held: Held, payload_bytes: int = 0) -> bool:
        """Hold a request, with room for its payload; return False if it would be too much.

        Call ``release`` when it is done or given up.
        """
        if held.cost:
            return True
        cost = payload_bytes + OVERHEAD_BYTES
        if self.held + cost > self.allowance:
            return False
        held.cost = cost
        held.data = memoryview(bytearray(payload_bytes))
        self._waiting.append(held)
        self.held += cost
        return True

    def release(self, held: Held) -> None:
        """Hold a request no more, if it was held."""
        if held.cost:
            self.held -= held.cost
            held.cost = 0
            self._waiting.remove(held)

    def done(self, begin: int, end: int) -> None:
        """Note that a request which did not wait has changed a range."""
        for held in self._waiting:
            if held.waits:
                held.cut(begin, end)

    def must_wait(self, held: Held) -> bool:
        """Return whether what waited for room has to let other changes of its pages go first.

        Those are newer ones that are under way, and older ones that still wait.
        """
        offset, length = held.first(MAX_PAYLOAD_BYTES)
        if self.tasks is not None and self.tasks.conflicts(offset, length):
            return True
        older = itertools.takewhile(lambda each: each is not held, self._waiting)
        return any(each.overlaps(offset, length) for each in older if each.waits)

    @property
    def is_fenced(self) -> bool:
        """True if changes of a connection that has ended are still under way."""
        return self.tasks is not None and self.tasks.late > 0

    @property
    def write(self) -> Callable[[int, memoryview], None]:
        """Write to the page file. Raises BlockingIOError if it has tasks and would wait."""
        return self.pages.write if self.tasks is None else self.tasks.write_now

    @property
    def read_into(self) -> Callable[[int, memoryview], None]:
        """Read from the page file. Raises BlockingIOError if it has tasks and would wait."""
        return self.pages.read_into if self.tasks is None else self.tasks.read_now

    def fetch(self, offset: int, length: int, buffers: "Buffers") -> memoryview:
        """Return the bytes, as a view of the page file or read into scratch.

        Raises OSError, and BlockingIOError if the page file would wait.
        """
        stored = self.pages.view(offset, length)
        if stored is not None:
            buffers.shown.update(pages_of(offset, length))
            return stored
        data = buffers.scratch[buffers.used : buffers.used + length]
        self.read_into(offset, data)
        return data


class Buffers:
    """Input and output of the connection that has its turn.

    The input from ``position`` to ``end`` is not parsed yet. The output is a list of ``parts`` with
    ``filled`` bytes in all: headers, and pages. A page is sent from where it is stored, or from
    ``scratch``, of which ``used`` bytes are taken. ``shown`` are the offsets of the pages that are
    sent from where they are stored: no write may change them until they are sent.
    """

    def __init__(self) -> None:
        self.input = memoryview(bytearray(BUFFER_BYTES))
        self.scratch = memoryview(bytearray(BUFFER_BYTES))
        self.parts: list[bytes | memoryview] = []
        self.shown: set[int] = set()
        self.position = self.end = self.filled = self.used = 0

    def begin_output(self) -> None:
        """Clear the output, which was sent or copied."""
        self.parts.clear()
        self.shown.clear()
        self.filled = self.used = 0

    @property
    def full(self) -> bool:
        """True if the output must be sent before another reply begins."""
        return self.filled > ROOM_BYTES or len(self.parts) > MOST_PARTS

    @property
    def room(self) -> int:
        """The number of bytes that the output can still take."""
        return BUFFER_BYTES - self.filled

    def put(self, data: bytes | memoryview) -> None:
        """Append ``data`` to the output."""
        self.parts.append(data)
        self.filled += len(data)

    def put_fetched(self, data: memoryview) -> None:
        """Append the result of ``Area.fetch``."""
        if data.obj is self.scratch.obj:
            self.used += len(data)
        self.put(data)


def is_zeros(data: memoryview) -> bool:
    """Return whether ``data``, at most a buffer long, contains only zeros."""
    # To compare memoryviews byte by byte, as == does, takes 60 times as long.
    return not data[0] and not data[-1] and _ZEROS.startswith(data)
