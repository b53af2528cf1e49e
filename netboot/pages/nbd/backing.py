"""What the protocol needs of a backing: a page file, its unit, and how it says that it has no room."""

from collections.abc import Iterable, Sequence
from typing import Protocol

PAGE_BYTES = 4096


class Busy(Exception):
    """There is no room now for what is to be written. Nothing was lost: the caller says nothing
    to the client, tries the whole of it again later, and lets the operator know.
    """


def pages_of(offset: int, length: int) -> range:
    """Offsets of the pages that a range of bytes touches."""
    return range(offset - offset % PAGE_BYTES, offset + length, PAGE_BYTES)


class PageFile(Protocol):
    """``size_bytes`` bytes that read as zeros until written. Methods raise OSError.

    Offsets and lengths are bytes, inside the file, and need not be aligned to pages. All objects
    that ``adopt`` made of one file see the same bytes; only one process at a time may change it,
    unless its kind is ``shared``.
    """

    @property
    def size_bytes(self) -> int:
        """Size, fixed for the life of the file."""

    def view(self, offset: int, length: int) -> memoryview | None:
        """The bytes where they are stored, to be read and written until the next call of any other
        method but this; None if they cannot be had like that: some are not in memory, or never
        were written. ``length`` is not 0.
        """

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fills ``buffer``. Never makes a page of what was never written."""

    def write(self, offset: int, data: memoryview) -> None:
        """Stores all of ``data``, for every connection to see. Raises Busy."""

    def trim(self, offset: int, length: int) -> None:
        """Gives memory back. What it held may read as anything, here: zeros. Raises Busy."""

    def zero(self, offset: int, length: int, *, allocate: bool) -> None:
        """Makes zeros, and gives memory back unless ``allocate``. Raises Busy."""

    def extents(self, offset: int, length: int) -> Iterable[tuple[int, bool]]:
        """Consecutive ``(bytes, hole)`` that cover the range; what is a hole reads as zeros."""

    def flush(self) -> None:
        """Returns when all that was written is as durable as this store makes it. Raises Busy."""

    def descriptors(self) -> Sequence[int]:
        """File descriptors that ``adopt`` in another process needs. They stay this object's."""

    def close(self) -> None:
        """Closes the descriptors; the pages stay."""
