"""The interface of a page file, which the protocol reads and writes: its unit, and Busy.

A page file whose pages may have to be waited for, on a disk or at the other end of a network, is a
``SlowFile``: what it cannot do at once it does as an ``Order``, and says later that it is done.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, runtime_checkable

PAGE_BYTES = 4096

_NOTHING = memoryview(b"")


class Busy(Exception):
    """There is no room now for the data of a write. Nothing was lost.

    The caller sends the client no reply, retries the whole operation later, and tells the operator.
    """


class Damaged(Exception):
    """The page file is not as it was made: pages are lost, and its lease has to end.

    No client may ever get zeros in their place.
    """


class Fenced(Exception):
    """Another server serves these pages from now on. Nothing of the request was done.

    The caller sends the client no reply and closes its connection.
    """


def pages_of(offset: int, length: int) -> range:
    """Return the offsets of the pages that a range of bytes touches."""
    return range(offset - offset % PAGE_BYTES, offset + length, PAGE_BYTES)


class PageFile(Protocol):
    """``size_bytes`` bytes that read as zeros until written. Methods raise OSError,
    and those of a kind that is remote Fenced.

    Offsets and lengths are in bytes, inside the file, and need not be aligned to pages. All objects
    that ``adopt`` made from one file see the same bytes. Only one process at a time may change a
    file, unless its kind is ``shared``.
    """

    @property
    def size_bytes(self) -> int:
        """Size in bytes, fixed for the life of the file."""

    def view(self, offset: int, length: int) -> memoryview | None:
        """Return a view of the bytes where they are stored; None if there is none.

        There is none if some of the bytes are not in memory, or were never written. The view may be
        read and written until the next call of any other method. ``length`` is not 0.
        """

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer``. Never allocates a page that was not written. Raises Damaged."""

    def write(self, offset: int, data: memoryview) -> None:
        """Store all of ``data``; every connection sees the data at once. Raises Busy."""

    def trim(self, offset: int, length: int) -> None:
        """Free memory. The range reads as zeros then (proto.md allows any bytes). Raises Busy."""

    def zero(self, offset: int, length: int, *, allocate: bool) -> None:
        """Write zeros, and free memory unless ``allocate``. Raises Busy."""

    def extents(self, offset: int, length: int) -> Iterable[tuple[int, bool]]:
        """Return consecutive ``(bytes, hole)`` that cover the range. A hole reads as zeros."""

    def flush(self) -> None:
        """Wait until all writes are as durable as this store makes them. Raises Busy."""

    def check(self) -> None:
        """Raise Damaged if somebody has made the file shorter."""

    def descriptors(self) -> Sequence[int]:
        """Return the descriptors for ``adopt`` in another process. This object still owns them."""

    def close(self) -> None:
        """Close the descriptors. The pages remain."""


class Operation(Enum):
    """The kinds of orders: the methods of ``PageFile`` of these names."""

    READ = "read"
    WRITE = "write"
    TRIM = "trim"
    ZERO = "zero"
    FLUSH = "flush"


@dataclass(slots=True, eq=False)
class Order:
    """One operation that a page file does in its own time.

    ``data`` are the bytes to store, or the place for the bytes that are read; until the order is
    done, nobody else may use it. ``allocate`` is that of ``zero``. When the order is done, ``error``
    is None or what the method of that name would have raised. Nobody needs the result of an order
    that is ``abandoned``: it may be left undone, and is then done at once.
    """

    operation: Operation
    offset: int = 0
    length: int = 0
    data: memoryview = _NOTHING
    allocate: bool = False
    error: Exception | None = None
    abandoned: bool = False

    @property
    def changes(self) -> bool:
        """True if the order may change pages."""
        return self.operation not in (Operation.READ, Operation.FLUSH)


class Desk(Protocol):
    """Takes the orders back that are done."""

    def done(self, order: Order) -> None:
        """Note that ``order`` is done: neither its data nor its pages are touched any more.

        May be called by any thread, also during ``submit``, once for each order.
        """

    def employ(self, pages: "SlowFile", order: Order, *, looks: bool = False) -> None:
        """Have a thread do ``order`` by the methods of ``PageFile``, which may wait, and note it.

        With ``looks``, ``order`` is a READ that was begun already: few threads wait for such reads,
        and ``read_now`` is tried for the others.
        """


@runtime_checkable
class SlowFile(PageFile, Protocol):
    """A page file that may have to wait. The methods of ``PageFile`` wait then.

    Orders of one file that are under way do not overlap if one of them changes pages, except with a
    READ, which may return old and new bytes. A FLUSH covers the changes that were done before it.
    """

    def read_now(self, offset: int, buffer: memoryview) -> None:
        """Do the same as ``read_into``. Raises BlockingIOError in place of waiting.

        The buffer may have changed then.
        """

    def write_now(self, offset: int, data: memoryview) -> None:
        """Do the same as ``write``. Raises BlockingIOError, with nothing done, in place of waiting."""

    def submit(self, order: Order, desk: Desk) -> None:
        """Begin ``order`` and return at once; give it to ``desk.done`` when it is done."""


@runtime_checkable
class NumberedFile(SlowFile, Protocol):
    """A page file that workers of several servers can reach. The newest set of its seat has it."""

    def enter(self, set_number: int) -> None:
        """Serve this set from now on, at once. All orders of older sets of this process are done.

        Orders fail with Fenced as soon as another worker has served a newer set.
        """

    def rest(self) -> None:
        """Let the pages go until the next set or order: nobody is connected, and no order is left."""


def perform(pages: PageFile, order: Order) -> None:
    """Do ``order`` by the methods of ``pages``. Raises what they raise."""
    match order.operation:
        case Operation.READ:
            pages.read_into(order.offset, order.data)
        case Operation.WRITE:
            pages.write(order.offset, order.data)
        case Operation.TRIM:
            pages.trim(order.offset, order.length)
        case Operation.ZERO:
            pages.zero(order.offset, order.length, allocate=order.allocate)
        case Operation.FLUSH:
            pages.flush()
