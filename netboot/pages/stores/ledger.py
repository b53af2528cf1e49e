"""How much memory the page files of a tiered store may hold, counted by all processes together.

One small file on the tmpfs, mapped by everybody: the limit, and for each page file how many pages
it has reserved, which process spills it, and a generation that tells two users of a slot apart. A
process reserves many pages at a time, so that a page costs no lock; the sum of what is reserved
never exceeds the limit, so what is stored does not either.
"""

import contextlib
import errno
import fcntl
import mmap
import os
from collections.abc import Iterator

SLOTS = 1024
_COLUMN_BYTES = SLOTS * 8
FILE_BYTES = 3 * _COLUMN_BYTES


class Ledger:
    """One process's view. Slot 0 is the limit's; the others are page files'. Counts are pages."""

    def __init__(self, descriptor: int) -> None:
        """Opens the file behind ``descriptor`` anew, so that its lock is this object's."""
        self.descriptor = os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR)
        self._mapped = mmap.mmap(self.descriptor, FILE_BYTES)
        cells = memoryview(self._mapped).cast("Q")
        self._reserved = cells[:SLOTS]
        self._owners = cells[SLOTS : 2 * SLOTS]
        self._generations = cells[2 * SLOTS :]

    @property
    def limit(self) -> int:
        """Pages that all files together may reserve."""
        return self._reserved[0]

    @limit.setter
    def limit(self, pages: int) -> None:
        self._reserved[0] = pages

    def room(self) -> int:
        """Pages that nobody has reserved; below 0 if the limit was lowered."""
        limit, *reserved = self._reserved
        return limit - sum(reserved)

    def allot(self, pages: int) -> tuple[int, int]:
        """A slot for a new page file that has reserved ``pages``, and its generation.

        Raises OSError if the limit does not allow it or there are too many files.
        """
        with self._alone():
            if pages > self.room():
                raise OSError(errno.ENOSPC, "the memory limit is too small for so much swap")
            for slot in range(1, SLOTS):
                if not self._reserved[slot]:
                    self._reserved[slot] = pages
                    self._owners[slot] = 0
                    self._generations[slot] += 1
                    return slot, self._generations[slot]
        raise OSError(errno.ENFILE, f"{SLOTS - 1} page files already")

    def give_up(self, slot: int, generation: int) -> None:
        """The page file is gone, for those who still have it open as well."""
        with self._alone():
            if self._generations[slot] == generation:
                self._generations[slot] += 1
                self._reserved[slot] = self._owners[slot] = 0

    def reserve(self, slot: int, generation: int, need: int, most: int, spared: int) -> int:
        """Reserves ``need`` to ``most`` pages, ``spared`` pages being left free; 0 if there is no
        room for ``need``.
        """
        with self._alone():
            granted = min(self.room() - spared, most)
            if granted < need or self._generations[slot] != generation:
                return 0
            self._reserved[slot] += granted
            return granted

    def release(self, slot: int, generation: int, pages: int) -> None:
        """Gives back reserved pages."""
        with self._alone():
            if self._generations[slot] == generation:
                self._reserved[slot] -= pages

    def owner(self, slot: int, generation: int) -> int:
        """Process id of who spills the file; 0 if nobody does or the file is gone."""
        return self._owners[slot] if self._generations[slot] == generation else 0

    def own(self, slot: int, generation: int, owner: int, reserved: int) -> bool:
        """``owner`` spills the file from now on and has ``reserved``; False if it is gone."""
        with self._alone():
            if self._generations[slot] != generation or not self._reserved[slot]:
                return False
            self._owners[slot], self._reserved[slot] = owner, reserved
            return True

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        # A process that is killed lets the lock go, and every change is one store of 8 bytes.
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Lets the file go."""
        for cells in (self._reserved, self._owners, self._generations):
            cells.release()
        self._mapped.close()
        os.close(self.descriptor)
