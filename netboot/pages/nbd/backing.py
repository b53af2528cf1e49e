"""The interface of a page file, which the protocol reads and writes: its unit, and Busy."""

from collections.abc import Iterable, Sequence
from typing import Protocol

PAGE_BYTES = 4096


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
