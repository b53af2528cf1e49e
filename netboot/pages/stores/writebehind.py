"""Write-behind of a tiered file: copy old pages to disk, then free their memory."""

import contextlib
import os
import re
import threading
from collections.abc import Sequence

from netboot.pages.nbd.backing import PAGE_BYTES, Damaged
from netboot.pages.stores.sparse import punch, read_all
from netboot.pages.stores.tiermap import (
    EMPTY,
    FRESH,
    IN_MEMORY,
    LEAVING,
    MAP_OFFSET,
    ON_DISK,
    STAYED,
    MappedPages,
)

_OLD_RUN = re.compile(rb"\x02+|\x03+")  # BOTH, IN_MEMORY
_GONE_RUN = re.compile(rb"[\x02\x05]+|\x00+")  # BOTH or LEAVING, EMPTY
_AGED = bytes.maketrans(bytes([IN_MEMORY, FRESH]), bytes([LEAVING, IN_MEMORY]))
_ON_DISK = bytes([ON_DISK])

SCANNED_AT_ONCE = 1024  # pages of the map under one lock: takes some microseconds
DROPPED_AT_ONCE = 128  # pages under one lock: takes about 20 microseconds
# A batch is in memory twice until it is on disk: 1/256 of the limit, at most 4 MiB.
BATCH_SHARE, MIN_BATCH, MAX_BATCH = 256, 8, 1024


class WriteBehind(MappedPages):
    """The operations of the spilling thread on a page file."""

    def __init__(self, memory: int, disk: int, ledger: int, size_bytes: int) -> None:
        super().__init__(memory, disk, ledger, size_bytes)
        self._batching = threading.Lock()  # held by a batch, so that close() waits for its end
        self._closed = self._damaged = False
        self._hand = 0
        self._batches_left = 0  # batches after which pages were on disk alone
        limit = self._ledger.limit
        self._batch_pages = max(MIN_BATCH, min(MAX_BATCH, limit // BATCH_SHARE))

    def spill(self, *, going: bool) -> int:
        """If memory is short, move a batch of old pages to disk; return how many left memory."""
        with self._batching:
            if self._closed or self._damaged or not self._is_short(going=going):
                return 0
            with self._batch():
                if not self._is_owner() and not self._claim_orphan():
                    return 0
                if not self._used:
                    return 0
                batch = self._choose()
                try:
                    self._copy(batch)
                except Damaged:  # whoever serves the file finds out as well, and ends its lease
                    self._damaged = True
                    self._undo(batch)
                    return 0
                except BaseException:
                    self._undo(batch)
                    raise
                with self._lock:
                    self._batches_left += 1
                left = sum(self._leave(page, count) for page, count, _ in batch)
                if left:
                    self._ledger.full = False
                return left

    def _choose(self) -> list[tuple[int, int, bool]]:
        """Return the pages to spill: first page, count, and whether they must be copied.

        The clock hand goes around at most twice: a first round may find only fresh pages.
        """
        batch: list[tuple[int, int, bool]] = []
        left, scanned = self._batch_pages, 0
        while left > 0 and scanned < 2 * self._pages:
            begin = self._hand
            end = min(begin + min(SCANNED_AT_ONCE, max(left, MIN_BATCH)), self._pages)
            with self._lock:
                states = self._map[MAP_OFFSET + begin : MAP_OFFSET + end]
                self._map[MAP_OFFSET + begin : MAP_OFFSET + end] = states.translate(_AGED)
            for run in _OLD_RUN.finditer(states):
                count = run.end() - run.start()
                batch.append((begin + run.start(), count, run[0][0] == IN_MEMORY))
                left -= count
            scanned += end - begin
            self._hand = end % self._pages
        return batch

    def _copy(self, batch: Sequence[tuple[int, int, bool]]) -> None:
        copied = [(page, count) for page, count, must in batch if must]
        for page, count in copied:
            offset = page * PAGE_BYTES
            buffer = memoryview(bytearray(min(count * PAGE_BYTES, self._size_bytes - offset)))
            read_all(self._memory, self._base + offset, buffer)
            written = 0
            while written < len(buffer):
                written += os.pwrite(self._disk, buffer[written:], offset + written)
        if copied:
            os.fdatasync(self._disk)
        for page, count, _ in batch:
            # Otherwise the page cache would keep the pages in memory.
            offset, length = page * PAGE_BYTES, count * PAGE_BYTES
            os.posix_fadvise(self._disk, offset, length, os.POSIX_FADV_DONTNEED)

    def _undo(self, batch: Sequence[tuple[int, int, bool]]) -> None:
        for page, count, _ in batch:
            with self._lock:
                place = slice(MAP_OFFSET + page, MAP_OFFSET + page + count)
                self._map[place] = self._map[place].translate(STAYED)

    def _leave(self, page: int, count: int) -> int:
        """Free the memory of those pages that were not written meanwhile; return their number."""
        freed = 0
        for begin in range(page, page + count, DROPPED_AT_ONCE):
            end = min(begin + DROPPED_AT_ONCE, page + count)
            with self._lock:
                for run in _GONE_RUN.finditer(self._map[MAP_OFFSET + begin : MAP_OFFSET + end]):
                    first, pages = begin + run.start(), run.end() - run.start()
                    offset, length = first * PAGE_BYTES, pages * PAGE_BYTES
                    if run[0][0] == EMPTY:  # trimmed during the copy
                        punch(self._disk, offset, min(length, self._size_bytes - offset))
                        continue
                    place = slice(MAP_OFFSET + first, MAP_OFFSET + first + pages)
                    self._map[place] = _ON_DISK * pages
                    punch(self._memory, self._base + offset, length)
                    self._freed(pages)
                    freed += pages
        return freed

    def _claim_orphan(self) -> bool:
        """Become the owner of a file without a living owner; False if there is one."""
        owner = self._ledger.owner(self._slot, self._generation)
        if owner:
            with contextlib.suppress(ProcessLookupError):
                os.kill(owner, 0)
                return False
        with self._lock:
            return self._claim()
