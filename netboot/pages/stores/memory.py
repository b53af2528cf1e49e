"""Memory store: each page file is a sparse file on a tmpfs, so pages outlive every process.

At the end of the file, after the pages, each page has a note of one byte: the state of the page as
far as it is known. All processes that have the file open map the notes, so they know the same. A
page that is known to be written is read and rewritten in the mapping. That costs half as much as a
system call (docs/measurements/page-stores.md), and the page can be sent without a copy. All other
pages go through preadv and pwrite: to touch a hole of a mapping would allocate a page, or end this
process if the tmpfs is full.

Order of changes: a page is written before its note says so, and its note is cleared before the page
is freed. So a kill between two steps does no harm.
"""

import contextlib
import errno
import logging
import mmap
import os
from collections.abc import Sequence
from pathlib import Path

from netboot.host.complaints import Complaints
from netboot.pages.nbd.backing import PAGE_BYTES
from netboot.pages.stores.folder import Folder
from netboot.pages.stores.sparse import SparseFile
from netboot.profile.stores import StoreSpec

TMPFS = Path("/dev/shm")

_complaints = Complaints(logging.getLogger(__name__))

# The notes: the state of a page.
UNKNOWN = 0  # perhaps a hole
WRITTEN = 1
MAPPED = 2  # written, and in the page table of a process that viewed it
_UNKNOWN, _WRITTEN, _MAPPED = (bytes([state]) for state in (UNKNOWN, WRITTEN, MAPPED))

MADV_POPULATE_WRITE = 23  # linux/mman.h, since 5.14
# Size of the aligned groups in which written pages are mapped at once. That saves a page fault for
# each page, and costs at most 0.3 ms at the first access to a group.
MAPPED_AT_ONCE = 512

_ZEROS = bytes(PAGE_BYTES)


class MemoryFile(SparseFile):
    """A page file on a tmpfs, mapped."""

    def __init__(self, descriptor: int, size_bytes: int) -> None:
        """Own ``descriptor``. Raises OSError, and FileNotFoundError if the file was truncated."""
        super().__init__(descriptor, size_bytes)
        notes, end = _notes_at(size_bytes), _file_bytes(size_bytes)
        with contextlib.ExitStack() as undo:
            try:
                # Never populated as a whole: that would allocate a page for each hole.
                self._mapping = undo.enter_context(mmap.mmap(descriptor, notes))
                self._states = mmap.mmap(descriptor, end - notes, offset=notes)
            except ValueError as error:  # the file is shorter than its pages and notes
                raise FileNotFoundError(errno.ENOENT, "the page file was truncated") from error
            undo.pop_all()
        self._mapped = memoryview(self._mapping)

    def view(self, offset: int, length: int) -> memoryview | None:
        """Return a view if all pages of the range are known to be written."""
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
        """Map the written pages from ``begin`` to ``end``, and their written neighbours."""
        states, first = self._states, begin - begin % MAPPED_AT_ONCE
        last = min(end + -end % MAPPED_AT_ONCE, len(states))
        begin = max(states.rfind(_UNKNOWN, first, begin) + 1, first)
        unknown = states.find(_UNKNOWN, end, last)
        end = last if unknown < 0 else unknown
        with contextlib.suppress(OSError):  # an older kernel maps them one by one, at first access
            count = end - begin
            self._mapping.madvise(MADV_POPULATE_WRITE, begin * PAGE_BYTES, count * PAGE_BYTES)
        states[begin:end] = _MAPPED * count

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer``. A page that is not all zeros is no hole, and is noted as written."""
        super().read_into(offset, buffer)
        whole = len(buffer) == PAGE_BYTES and not offset % PAGE_BYTES
        if whole and not _ZEROS.startswith(buffer):
            self._mark(offset, PAGE_BYTES, _WRITTEN)

    def write(self, offset: int, data: memoryview) -> None:
        """Store ``data``. Raises Busy if the tmpfs is full."""
        length = len(data)
        if not length:
            return
        whole = length == PAGE_BYTES and not offset % PAGE_BYTES
        if whole and self._states[offset // PAGE_BYTES] == MAPPED:  # the hot path, without a call
            self._mapping[offset : offset + PAGE_BYTES] = data
            return
        stored = self.view(offset, length)
        if stored is not None:
            stored[:] = data
        else:
            super().write(offset, data)
            self._mark(offset, length, _WRITTEN)

    def trim(self, offset: int, length: int) -> None:
        """Punch a hole over whole pages; write zeros over the parts of pages."""
        begin, end = -(-offset // PAGE_BYTES), (offset + length) // PAGE_BYTES
        if begin < end:
            self._mark(begin * PAGE_BYTES, (end - begin) * PAGE_BYTES, _UNKNOWN)
        super().trim(offset, length)

    def _mark(self, offset: int, length: int, state: bytes) -> None:
        begin, end = offset // PAGE_BYTES, -(-(offset + length) // PAGE_BYTES)
        self._states[begin:end] = state * (end - begin)

    def close(self) -> None:
        """Close the descriptor and the mappings."""
        self._mapped.release()
        self._mapping.close()
        self._states.close()
        super().close()


class UnmappedFile(SparseFile):
    """A page file on a tmpfs for a process that cannot map it, or need not.

    Each page costs a system call. A page that it writes stays unknown to processes with a mapping.
    """

    def trim(self, offset: int, length: int) -> None:
        """Punch a hole over whole pages, whose notes are cleared before."""
        begin, end = -(-offset // PAGE_BYTES), (offset + length) // PAGE_BYTES
        if begin < end:
            os.pwrite(self._descriptor, bytes(end - begin), _notes_at(self._size_bytes) + begin)
        super().trim(offset, length)


class MemoryStore:
    """A directory of page files on ``tmpfs``, which are mapped if ``maps``."""

    kind = "memory"

    def __init__(self, tmpfs: Path = TMPFS, name: str = "", *, maps: bool = True) -> None:
        """Open or create the directory. Raises OperatorError if ``tmpfs`` cannot hold files."""
        self._file = MemoryFile if maps else UnmappedFile
        self._folder = Folder(tmpfs, name)

    @property
    def directory(self) -> Path:
        """The directory of the page files."""
        return self._folder.path

    def mend(self) -> None:
        """Make the directory again if it was removed."""
        self._folder.mend()

    def create(self, name: str, size_bytes: int, *, alone: bool = False) -> SparseFile:
        """Create a file of holes, with room for its notes: their mapping must never need more."""
        descriptor = self._folder.create(name, _file_bytes(size_bytes), alone=alone)
        notes = _notes_at(size_bytes)
        try:
            os.posix_fallocate(descriptor, notes, _file_bytes(size_bytes) - notes)
        except OSError:
            os.close(descriptor)
            self.remove(name)
            raise
        return self._file(descriptor, size_bytes)

    def open(self, name: str, size_bytes: int, *, alone: bool = False) -> SparseFile:
        """Open an existing file."""
        descriptor = self._folder.open(name, _file_bytes(size_bytes), alone=alone)
        return self._file(descriptor, size_bytes)

    def has(self, name: str) -> bool:
        """Return whether there is a page file of this name."""
        return self._folder.has(name)

    def making(self, name: str) -> None:
        """Return None: ``create`` has made the file."""

    def names(self) -> Sequence[str]:
        """Return the names of the page files."""
        return self._folder.names()

    def remove(self, name: str) -> None:
        """Unlink a file. To truncate it as well would kill the processes that have it mapped."""
        self._folder.path_of(name).unlink()

    def close(self) -> None:
        """Wipe all files, or keep them if the store has a name."""
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
    """Return a store on the machine's shared-memory tmpfs.

    The control plane reads no page. To map all page files, it would need address space for them, and
    two descriptors more for each.
    """
    return MemoryStore(TMPFS, name, maps=False)


def adopt(descriptors: Sequence[int], size_bytes: int) -> MemoryFile | UnmappedFile:
    """Return the page file of a descriptor that another process sent.

    Raises FileNotFoundError if the file is shorter than it was made.
    """
    (descriptor,) = descriptors
    try:
        return MemoryFile(descriptor, size_bytes)
    except OSError as error:
        if error.errno not in (errno.ENOMEM, errno.EMFILE, errno.ENFILE):
            raise
        reason = "pages: page files are served without a mapping, more slowly: %s"
        _complaints.warn("", reason, error.strerror)
        return UnmappedFile(descriptor, size_bytes)
