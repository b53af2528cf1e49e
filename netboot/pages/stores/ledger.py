"""The memory that the page files of a tiered store hold, counted by all processes together.

The ledger is a small file on the tmpfs that all processes map. It has the limit, and a slot for
each page file: the number of reserved pages, the process that spills the file, and a generation
that distinguishes two users of a slot. A process reserves many pages at a time, so that a page
costs no lock. The sum of the reservations never exceeds the limit, so the stored pages do not
either.
"""

import contextlib
import errno
import fcntl
import mmap
import os
from collections.abc import Iterator

LEDGER = "ledger"  # name of the file
SLOTS = 1024
_COLUMN_BYTES = SLOTS * 8
FILE_BYTES = 3 * _COLUMN_BYTES


class Ledger:
    """One process's view. Slot 0 has the limit and ``full``, each other slot a page file. Counts are pages."""

    def __init__(self, descriptor: int) -> None:
        """Open the file of ``descriptor`` again, so that this object has a lock of its own."""
        self.descriptor = os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR)
        self._mapped = mmap.mmap(self.descriptor, FILE_BYTES)
        cells = memoryview(self._mapped).cast("Q")
        self._reserved = cells[:SLOTS]
        self._owners = cells[SLOTS : 2 * SLOTS]
        self._generations = cells[2 * SLOTS :]

    @property
    def limit(self) -> int:
        """The number of pages that all files together may reserve."""
        return self._reserved[0]

    @limit.setter
    def limit(self, pages: int) -> None:
        self._reserved[0] = pages

    @property
    def full(self) -> bool:
        """True if the tmpfs had no room for a page, although the limit left some.

        Other programs write there too. Each process spills its files until a batch has left memory.
        """
        return bool(self._owners[0])

    @full.setter
    def full(self, found: bool) -> None:
        self._owners[0] = found

    def room(self) -> int:
        """Return the number of unreserved pages; below 0 if the limit was lowered."""
        limit, *reserved = self._reserved
        return limit - sum(reserved)

    def allot(self, pages: int) -> tuple[int, int]:
        """Reserve ``pages`` for a new page file; return its slot and generation.

        Raises OSError if the limit does not allow it, or if there are too many files.
        """
        with self._alone():
            if pages > self.room():
                raise OSError(errno.ENOSPC, "the memory limit is too small for this page file")
            for slot in range(1, SLOTS):
                if not self._reserved[slot]:
                    self._reserved[slot] = pages
                    self._owners[slot] = 0
                    self._generations[slot] += 1
                    return slot, self._generations[slot]
        raise OSError(errno.ENFILE, f"the store has {SLOTS - 1} page files, its limit")

    def give_up(self, slot: int, generation: int) -> None:
        """Free the slot of a removed page file, also for processes that have the file open."""
        with self._alone():
            if self._generations[slot] == generation:
                self._generations[slot] += 1
                self._reserved[slot] = self._owners[slot] = 0

    def reserve(self, slot: int, generation: int, need: int, most: int, spared: int) -> int:
        """Reserve ``need`` to ``most`` pages and leave ``spared`` pages free.

        Returns the number of reserved pages; 0 if there is no room for ``need``.
        """
        with self._alone():
            granted = min(self.room() - spared, most)
            if granted < need or self._generations[slot] != generation:
                return 0
            self._reserved[slot] += granted
            return granted

    def release(self, slot: int, generation: int, pages: int) -> None:
        """Give back reserved pages."""
        with self._alone():
            if self._generations[slot] == generation:
                self._reserved[slot] -= pages

    def owner(self, slot: int, generation: int) -> int:
        """Return the process that spills the file; 0 if there is none or the file is gone."""
        return self._owners[slot] if self._generations[slot] == generation else 0

    def own(self, slot: int, generation: int, owner: int, reserved: int) -> bool:
        """Make ``owner`` spill the file, with ``reserved`` pages; False if the file is gone."""
        with self._alone():
            if self._generations[slot] != generation or not self._reserved[slot]:
                return False
            self._owners[slot], self._reserved[slot] = owner, reserved
            return True

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        # The kernel unlocks for a killed process, and each change is a single store of 8 bytes.
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Unmap and close the file."""
        for cells in (self._reserved, self._owners, self._generations):
            cells.release()
        self._mapped.close()
        os.close(self.descriptor)
