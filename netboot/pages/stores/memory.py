"""Memory store: each page file is a sparse file on a tmpfs, so pages outlive every process.

Behind the pages, at the end of the file, is a note of one byte for each: what is known of it. All
processes that have the file map it, so they know the same. A page that is known to be written is
read and rewritten where it is mapped: that costs half of what a system call does (docs/pages.md),
and it can be sent without a copy of it. All others go through preadv and pwrite, because touching
a hole of a mapping would make a page of it, or end this process when the tmpfs is full.

The order of changes: a page is written before its note says so, and its note forgets it before it
is given back. So a kill between two steps does no harm.
"""

import contextlib
import mmap
import os
from collections.abc import Sequence
from pathlib import Path

from netboot.pages.nbd.backing import PAGE_BYTES
from netboot.pages.stores.folder import Folder
from netboot.pages.stores.sparse import SparseFile
from netboot.profile.stores import StoreSpec

TMPFS = Path("/dev/shm")

# What is known of a page.
UNKNOWN = 0  # perhaps a hole
WRITTEN = 1
MAPPED = 2  # written, and in the page table of a process that had this in view
_UNKNOWN, _WRITTEN, _MAPPED = (bytes([state]) for state in (UNKNOWN, WRITTEN, MAPPED))

MADV_POPULATE_WRITE = 23  # linux/mman.h, since 5.14
# Aligned groups of pages of which all that are written are mapped at once: a page fault less for
# each, and 0.3 ms at the most for whoever touches the first of them.
MAPPED_AT_ONCE = 512

_ZEROS = bytes(PAGE_BYTES)


class MemoryFile(SparseFile):
    """A page file on a tmpfs."""

    def __init__(self, descriptor: int, size_bytes: int) -> None:
        super().__init__(descriptor, size_bytes)
        notes, end = _notes_at(size_bytes), _file_bytes(size_bytes)
        # Never populated as a whole: that would make pages of all holes.
        self._mapping = mmap.mmap(descriptor, notes)
        self._mapped = memoryview(self._mapping)
        self._states = mmap.mmap(descriptor, end - notes, offset=notes)

    def view(self, offset: int, length: int) -> memoryview | None:
        """Pages that are known to be written."""
        if length == PAGE_BYTES and not offset % PAGE_BYTES:
            state = self._states[offset // PAGE_BYTES]
            if state == MAPPED:
                return self._mapped[offset : offset + PAGE_BYTES]
            if state == UNKNOWN:
                return None
        begin, end = offset // PAGE_BYTES, -(-(offset + length) // PAGE_BYTES)
        if self._states.find(_UNKNOWN, begin, end) >= 0:
            return None
        if self._states.find(_WRITTEN, begin, end) >= 0:
            self._map(begin, end)
        return self._mapped[offset : offset + length]

    def _map(self, begin: int, end: int) -> None:
        """Pages from ``begin`` to ``end``, which are written, and their neighbours that are."""
        states, first = self._states, begin - begin % MAPPED_AT_ONCE
        last = min(end + -end % MAPPED_AT_ONCE, len(states))
        begin = max(states.rfind(_UNKNOWN, first, begin) + 1, first)
        unknown = states.find(_UNKNOWN, end, last)
        end = last if unknown < 0 else unknown
        with contextlib.suppress(OSError):  # an older kernel maps them one by one, as touched
            count = end - begin
            self._mapping.madvise(MADV_POPULATE_WRITE, begin * PAGE_BYTES, count * PAGE_BYTES)
        states[begin:end] = _MAPPED * count

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fills ``buffer``. A page that is not all zeros is no hole: that is noted."""
        super().read_into(offset, buffer)
        whole = len(buffer) == PAGE_BYTES and not offset % PAGE_BYTES
        if whole and not _ZEROS.startswith(buffer):
            self._mark(offset, PAGE_BYTES, _WRITTEN)

    def write(self, offset: int, data: memoryview) -> None:
        """Stores ``data``. Raises Busy if the tmpfs is full."""
        length = len(data)
        if not length:
            return
        whole = length == PAGE_BYTES and not offset % PAGE_BYTES
        if whole and self._states[offset // PAGE_BYTES] == MAPPED:  # the hot path, without a call
            self._mapped[offset : offset + PAGE_BYTES] = data
            return
        stored = self.view(offset, length)
        if stored is not None:
            stored[:] = data
        else:
            super().write(offset, data)
            self._mark(offset, length, _WRITTEN)

    def trim(self, offset: int, length: int) -> None:
        """Punches a hole where whole pages are covered; makes zeros of the rest."""
        begin, end = -(-offset // PAGE_BYTES), (offset + length) // PAGE_BYTES
        if begin < end:
            self._mark(begin * PAGE_BYTES, (end - begin) * PAGE_BYTES, _UNKNOWN)
        super().trim(offset, length)

    def _mark(self, offset: int, length: int, state: bytes) -> None:
        begin, end = offset // PAGE_BYTES, -(-(offset + length) // PAGE_BYTES)
        self._states[begin:end] = state * (end - begin)

    def close(self) -> None:
        """Closes the descriptor and the mapping."""
        self._mapped.release()
        self._mapping.close()
        self._states.close()
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
        """A new file of holes, with room for its notes: a mapping must never ask for some."""
        descriptor = self._folder.create(name, _file_bytes(size_bytes))
        notes = _notes_at(size_bytes)
        try:
            os.posix_fallocate(descriptor, notes, _file_bytes(size_bytes) - notes)
        except OSError:
            os.close(descriptor)
            self.remove(name)
            raise
        return MemoryFile(descriptor, size_bytes)

    def open(self, name: str, size_bytes: int) -> MemoryFile:
        """A file that is there."""
        return MemoryFile(self._folder.open(name, _file_bytes(size_bytes)), size_bytes)

    def names(self) -> Sequence[str]:
        """The page files that are there."""
        return self._folder.names()

    def remove(self, name: str) -> None:
        """Unlinks a file: cutting it short, too, would kill whoever has it mapped."""
        self._folder.path_of(name).unlink()

    def close(self) -> None:
        """Wipes all files, or keeps them if the store has a name."""
        if not self._folder.kept:
            for name in self.names():
                self.remove(name)
        self._folder.close()


def _notes_at(size_bytes: int) -> int:
    return -(-size_bytes // PAGE_BYTES) * PAGE_BYTES


def _file_bytes(size_bytes: int) -> int:
    pages = _notes_at(size_bytes)
    return pages + -(-(pages // PAGE_BYTES) // PAGE_BYTES) * PAGE_BYTES


def make_store(spec: StoreSpec, name: str) -> MemoryStore:
    """A store on the machine's shared-memory tmpfs."""
    return MemoryStore(TMPFS, name)


def adopt(descriptors: Sequence[int], size_bytes: int) -> MemoryFile:
    """The page file behind a descriptor that was sent to this process."""
    (descriptor,) = descriptors
    return MemoryFile(descriptor, size_bytes)
