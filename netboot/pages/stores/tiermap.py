"""The map of one tiered file, which says where its pages are, and its share of the memory.

netboot/pages/stores/tiered.py gives the order of changes. The other parts of a tiered file are
subclasses: writebehind.py has the spilling thread's, tieredfile.py the clients' operations.
"""

import contextlib
import errno
import fcntl
import mmap
import os
import re
import struct
import threading
from collections.abc import Iterator

from netboot.pages.nbd.backing import PAGE_BYTES, Busy
from netboot.pages.stores.ledger import Ledger
from netboot.pages.stores.sparse import extents, punch
from netboot.pages.stores.spill import Spiller

HEADER = struct.Struct("=QQ")  # slot and generation in the ledger
MAP_OFFSET = PAGE_BYTES

# The states of a page in the map: where it is, and whether it was written lately.
EMPTY = 0  # nowhere: zeros
ON_DISK = 1
BOTH = 2  # read back from disk and not written since
IN_MEMORY = 3
FRESH = 4  # in memory, written since the clock hand passed
LEAVING = 5  # in memory, copy to disk in progress

STAYED = bytes.maketrans(bytes([LEAVING]), bytes([IN_MEMORY]))
RESERVED_AT_ONCE = 256  # pages, or less if the limit is small

spiller = Spiller()  # the one of this process


def map_bytes(size_bytes: int) -> int:
    """Return the length of header and map in bytes, in whole pages: the offset of page 0."""
    pages = -(-size_bytes // PAGE_BYTES)
    return MAP_OFFSET + -(-pages // PAGE_BYTES) * PAGE_BYTES


class MappedPages:
    """The two files, the map, the ledger.

    Only one process at a time changes a page file: the worker of its lease, with its main thread,
    its spilling thread, and threads that read. They share ``_lock``, and hold it briefly: for no
    access to the disk. The ledger has the owner: the process whose thread spills the file.
    ``_batch``, a lock of the file itself, makes a new owner wait for the end of a batch.
    """

    def __init__(self, memory: int, disk: int, ledger: int, size_bytes: int) -> None:
        self._memory, self._disk = memory, disk
        self._ledger = Ledger(ledger)
        self._size_bytes = size_bytes
        self._base = map_bytes(size_bytes)
        self._map = mmap.mmap(memory, self._base, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
        self._slot, self._generation = HEADER.unpack_from(self._map)
        self._pages = -(-size_bytes // PAGE_BYTES)
        self._lock = threading.Lock()
        self._spare = 0  # pages reserved and not used
        self._used = 0
        self._at_once = max(1, min(RESERVED_AT_ONCE, self._ledger.limit // 512))

    @property
    def size_bytes(self) -> int:
        """Size in bytes."""
        return self._size_bytes

    @property
    def pages_in_memory(self) -> int:
        """The number of pages that are in memory now."""
        return self._used

    # Reservations. Called under the lock.

    def _is_short(self, *, going: bool) -> bool:
        limit = self._ledger.limit
        return self._ledger.full or self._ledger.room() < (limit // 16 * 3 if going else limit // 8)

    def _afford(self, cost: int, *, spared: int = 0) -> None:
        """Reserve ``cost`` spare pages and leave ``spared`` for other files. Raises Busy."""
        need = cost - self._spare
        if need <= 0:
            return
        if not self._is_owner():
            with self._batch():
                # The owner is dead, or has released the file; or the file was removed.
                if not self._claim():
                    raise OSError(errno.EIO, "page file is gone")
            need = cost
        most = max(need, self._at_once)
        granted = self._ledger.reserve(self._slot, self._generation, need, most, spared)
        if not spared and self._is_short(going=False):
            spiller.wake()
        if not granted:
            raise Busy("memory limit")
        self._spare += granted

    def _freed(self, pages: int) -> None:
        self._used -= pages
        self._spare += pages
        if self._spare > 2 * self._at_once:
            surplus = self._spare - self._at_once
            self._ledger.release(self._slot, self._generation, surplus)
            self._spare -= surplus

    # Ownership.

    def _is_owner(self) -> bool:
        return self._ledger.owner(self._slot, self._generation) == os.getpid()

    @contextlib.contextmanager
    def _batch(self) -> Iterator[None]:
        """Lock the file: no other process spills it or becomes its owner."""
        fcntl.flock(self._memory, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._memory, fcntl.LOCK_UN)

    def _claim(self) -> bool:
        """Become the owner; derive the state of the file and its reservation from the map.

        Returns False if the file is gone.
        """
        place = slice(MAP_OFFSET, MAP_OFFSET + self._pages)
        states = self._map[place].translate(STAYED)
        self._map[place] = states
        self._used, self._spare = self._pages - states.count(EMPTY) - states.count(ON_DISK), 0
        base_pages = self._base // PAGE_BYTES
        if os.fstat(self._memory).st_blocks * 512 > (base_pages + self._used) * PAGE_BYTES:
            self._punch_left_behind()
        reserved = base_pages + self._used
        return self._ledger.own(self._slot, self._generation, os.getpid(), reserved)

    def _punch_left_behind(self) -> None:
        """Free memory of pages that the map does not record: an owner was killed in between."""
        at = 0
        for length, hole in list(extents(self._memory, self._base, self._size_bytes)):
            begin, end = at // PAGE_BYTES, -(-(at + length) // PAGE_BYTES)
            at += length
            if hole:
                continue
            for run in re.finditer(
                rb"[\x00\x01]+", self._map[MAP_OFFSET + begin : MAP_OFFSET + end]
            ):
                offset = self._base + (begin + run.start()) * PAGE_BYTES
                punch(self._memory, offset, (run.end() - run.start()) * PAGE_BYTES)
