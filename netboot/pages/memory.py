"""Memory store: each page file is a sparse file on a tmpfs, so pages outlive every process.

A page that this process knows to be written is read and rewritten through a mapping: that costs half
of what a system call does (docs/pages.md). All others go through preadv and pwrite, because touching
a hole of a mapping would make a page of it. The file ends with one page more than the swap area;
its first byte says whether the pages are gone.
"""

import errno
import itertools
import mmap
import os
from collections.abc import Sequence
from pathlib import Path

from netboot.pages.folder import Folder
from netboot.pages.sparse import PAGE_BYTES, SparseFile, punch
from netboot.pages.store import StoreSpec

TMPFS = Path("/dev/shm")
# Of a file that is adopted; looking at one costs about 2 us, and what is not looked at is unknown.
EXTENTS_LEARNT = 2048


class MemoryFile(SparseFile):
    """A page file on a tmpfs."""

    def __init__(self, descriptor: int, size_bytes: int) -> None:
        super().__init__(descriptor, size_bytes)
        length = _file_bytes(size_bytes)
        # Never populated as a whole: that would make pages of all holes.
        self._mapping = mmap.mmap(descriptor, length)
        self._mapped = memoryview(self._mapping)
        self._gone = self._mapped[length - PAGE_BYTES :]
        # 1: the page was written and this process has not trimmed it, so it is no hole. Memory for
        # this comes with the pages, a byte each.
        self._known = mmap.mmap(-1, length // PAGE_BYTES)

    def learn(self) -> None:
        """Finds out which pages were written before this process had the file."""
        at = 0
        for length, hole in itertools.islice(self.extents(0, self._size_bytes), EXTENTS_LEARNT):
            if not hole:
                begin, end = at // PAGE_BYTES, -(-(at + length) // PAGE_BYTES)
                self._known[begin:end] = b"\1" * (end - begin)
            at += length

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fills ``buffer``."""
        if (
            len(buffer) == PAGE_BYTES
            and not offset % PAGE_BYTES
            and self._known[offset // PAGE_BYTES]
        ):
            buffer[:] = self._mapped[offset : offset + PAGE_BYTES]
        else:
            super().read_into(offset, buffer)
        if self._gone[0]:  # looked at last: they may have gone while we were reading
            raise OSError(errno.EIO, "page file is gone")

    def write(self, offset: int, data: memoryview) -> None:
        """Stores ``data``. Raises Busy if the tmpfs is full."""
        page, length = offset // PAGE_BYTES, len(data)
        if length == PAGE_BYTES and not offset % PAGE_BYTES:
            if self._known[page]:
                self._mapped[offset : offset + PAGE_BYTES] = data
            else:
                super().write(offset, data)
                self._known[page] = 1
        elif length:
            super().write(offset, data)
            count = (offset + length - 1) // PAGE_BYTES + 1 - page
            self._known[page : page + count] = b"\1" * count
        if self._gone[0]:
            self.trim(0, self._size_bytes)
            raise OSError(errno.EIO, "page file is gone")

    def trim(self, offset: int, length: int) -> None:
        """Punches a hole where whole pages are covered; makes zeros of the rest."""
        begin, end = -(-offset // PAGE_BYTES), (offset + length) // PAGE_BYTES
        if begin < end:
            self._known[begin:end] = bytes(end - begin)
        super().trim(offset, length)

    def close(self) -> None:
        """Closes the descriptor and the mapping."""
        self._gone.release()
        self._mapped.release()
        self._mapping.close()
        self._known.close()
        super().close()


class MemoryStore:
    """A directory of page files on ``tmpfs``."""

    kind = "memory"

    def __init__(self, tmpfs: Path = TMPFS, name: str = "") -> None:
        """Raises OperatorError if there can be no files in ``tmpfs``."""
        self._folder = Folder(tmpfs, name)

    @property
    def directory(self) -> Path:
        """Of the page files."""
        return self._folder.path

    def create(self, name: str, size_bytes: int) -> MemoryFile:
        """A new file of holes."""
        length = _file_bytes(size_bytes)
        descriptor = self._folder.create(name, length)
        try:
            os.posix_fallocate(descriptor, length - PAGE_BYTES, PAGE_BYTES)
        except OSError:
            os.close(descriptor)
            self._folder.path_of(name).unlink()
            raise
        return MemoryFile(descriptor, size_bytes)

    def open(self, name: str, size_bytes: int) -> MemoryFile:
        """A file that is there."""
        return MemoryFile(self._folder.open(name, _file_bytes(size_bytes)), size_bytes)

    def names(self) -> Sequence[str]:
        """The page files that are there."""
        return self._folder.names()

    def remove(self, name: str) -> None:
        """Wipes a file. Truncating it would kill whoever has it mapped."""
        path = self._folder.path_of(name)
        with path.open("r+b", buffering=0) as file:
            last_page = path.stat().st_size - PAGE_BYTES
            os.pwrite(file.fileno(), b"\1", last_page)
            punch(file.fileno(), 0, last_page)
        path.unlink()

    def close(self) -> None:
        """Wipes all files, or keeps them if the store has a name."""
        if not self._folder.kept:
            for name in self.names():
                self.remove(name)
        self._folder.close()


def _file_bytes(size_bytes: int) -> int:
    return (-(-size_bytes // PAGE_BYTES) + 1) * PAGE_BYTES


def make_store(spec: StoreSpec, name: str) -> MemoryStore:
    """A store on the machine's shared-memory tmpfs."""
    return MemoryStore(TMPFS, name)


def adopt(descriptors: Sequence[int], size_bytes: int) -> MemoryFile:
    """The page file behind a descriptor that was sent to this process."""
    (descriptor,) = descriptors
    pages = MemoryFile(descriptor, size_bytes)
    pages.learn()
    return pages
