"""One page file of the tiered store; netboot/pages/tiered.py says how it is laid out.

Only one process at a time changes a page file: the worker of its lease, in its one thread, and
that process's spilling thread. They share ``_lock``; what happens under it is short. The owner in
the ledger says whose thread it is, and ``_batch`` (a lock of the file itself) that a new owner waits
for the batch that the old one has begun.
"""

import contextlib
import errno
import fcntl
import mmap
import os
import re
import struct
import threading
from collections.abc import Iterator, Sequence

from netboot.pages.ledger import Ledger
from netboot.pages.sparse import PAGE_BYTES, extents, punch, raise_busy, read_all
from netboot.pages.spill import Spiller
from netboot.pages.store import Busy

HEADER = struct.Struct("=QQ")  # slot and generation in the ledger
MAP_OFFSET = PAGE_BYTES

# What the map says of a page: where it is, and when it was written.
EMPTY = 0  # nowhere: zeros
ON_DISK = 1
BOTH = 2  # read back from disk and not written since
IN_MEMORY = 3
FRESH = 4  # in memory, written since the clock's hand came by
LEAVING = 5  # in memory, being copied to disk

_FRESH = bytes([FRESH]) * 64
_ON_DISK = bytes([ON_DISK])
_DISK_RUN = re.compile(rb"\x01+|[^\x01]+", re.DOTALL)
_EMPTY_RUN = re.compile(rb"\x00+|[^\x00]+", re.DOTALL)
_OLD_RUN = re.compile(rb"\x02+|\x03+")
_GONE_RUN = re.compile(rb"[\x02\x05]+|\x00+")
_AGED = bytes.maketrans(bytes([IN_MEMORY, FRESH]), bytes([LEAVING, IN_MEMORY]))
_STAYED = bytes.maketrans(bytes([LEAVING]), bytes([IN_MEMORY]))

RESERVED_AT_ONCE = 256  # pages, or less if the limit is small
SCANNED_AT_ONCE = 1024  # pages of the map under one lock: some microseconds
DROPPED_AT_ONCE = 128  # pages under one lock: some 20 microseconds
# A batch is in memory twice until the disk has it: 1/256 of the limit, 4 MiB at the most.
BATCH_SHARE, MIN_BATCH, MAX_BATCH = 256, 8, 1024
# Read-ahead, as Linux's swap: it reads 8 pages of neighbours, and twice as many each time they help.
MIN_AHEAD, MAX_AHEAD = 8, 64

_ZEROS = bytes(PAGE_BYTES)
_spiller = Spiller()
_open_files: dict[tuple[int, int], "TieredFile"] = {}


def map_bytes(size_bytes: int) -> int:
    """How long the map is with its header, in whole pages: where page 0 begins."""
    pages = -(-size_bytes // PAGE_BYTES)
    return MAP_OFFSET + -(-pages // PAGE_BYTES) * PAGE_BYTES


def open_tiered(descriptors: Sequence[int], size_bytes: int) -> "TieredFile":
    """The page file behind descriptors (memory, disk, ledger), which it owns from now on.

    A process has one object for each page file, however often it is opened.
    """
    status = os.fstat(descriptors[0])
    key = (status.st_dev, status.st_ino)
    file = _open_files.get(key)
    if file is None:
        memory, disk, ledger = descriptors
        file = TieredFile(os.open(f"/proc/self/fd/{memory}", os.O_RDWR), disk, ledger, size_bytes)
        _open_files[key] = file
        descriptors = [memory, ledger]
    for descriptor in descriptors:
        os.close(descriptor)
    return file.opened(key)


class TieredFile:
    """A page file in memory and on disk."""

    def __init__(self, memory: int, disk: int, ledger: int, size_bytes: int) -> None:
        self._memory, self._disk = memory, disk
        self._ledger = Ledger(ledger)
        self._size_bytes = size_bytes
        self._base = map_bytes(size_bytes)
        self._map = mmap.mmap(memory, self._base, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
        self._slot, self._generation = HEADER.unpack_from(self._map)
        self._pages = -(-size_bytes // PAGE_BYTES)
        self._lock = threading.Lock()
        self._batching = threading.Lock()
        self._users = 0
        self._spare = 0  # pages reserved and not used
        self._used = 0
        self._hand = 0
        self._ahead, self._ahead_end = MIN_AHEAD, -1
        limit = self._ledger.limit
        self._batch_pages = max(MIN_BATCH, min(MAX_BATCH, limit // BATCH_SHARE))
        self._at_once = max(1, min(RESERVED_AT_ONCE, limit // 512))

    def opened(self, key: tuple[int, int]) -> "TieredFile":
        """Counts one more user; the first owns the file in the ledger."""
        self._users += 1
        if self._users == 1:
            self._key = key
            with self._batch():
                self._claim()
            _spiller.add(self)
        return self

    @property
    def size_bytes(self) -> int:
        """Size in bytes."""
        return self._size_bytes

    @property
    def pages_in_memory(self) -> int:
        """How many there are now."""
        return self._used

    # What clients do.

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fills ``buffer``, from disk if it must, and then reads ahead."""
        length = len(buffer)
        first = MAP_OFFSET + offset // PAGE_BYTES
        last = MAP_OFFSET - (-(offset + length) // PAGE_BYTES)
        with self._lock:
            if self._map.find(_ON_DISK, first, last) >= 0:
                self._read_ahead(first - MAP_OFFSET, last - MAP_OFFSET)
                self._read_mixed(offset, buffer, self._map[first:last])
            elif os.preadv(self._memory, (buffer,), self._base + offset) != length:
                raise OSError(errno.EIO, "page file is shorter than its lease")

    def write(self, offset: int, data: memoryview) -> None:
        """Stores ``data`` in memory. Raises Busy at the limit, until the disk has taken pages."""
        length = len(data)
        if not length:
            return
        begin, end = offset // PAGE_BYTES, -(-(offset + length) // PAGE_BYTES)
        with self._lock:
            if (offset | length) % PAGE_BYTES:
                self._fetch_edges(begin, end)
            states = self._map[MAP_OFFSET + begin : MAP_OFFSET + end]
            cost = states.count(EMPTY) + states.count(ON_DISK)
            if cost:
                self._afford(cost)
            self._store(offset, data)
            count = end - begin
            self._map[MAP_OFFSET + begin : MAP_OFFSET + end] = (
                _FRESH[:count] if count <= len(_FRESH) else bytes([FRESH]) * count
            )
            self._used += cost
            self._spare -= cost

    def trim(self, offset: int, length: int) -> None:
        """Punches holes into both files where whole pages are covered; makes zeros of the rest."""
        end = offset + length
        begin_page, end_page = -(-offset // PAGE_BYTES), end // PAGE_BYTES
        if end == self._size_bytes:
            end_page = self._pages
        if begin_page > end_page or (begin_page == end_page and length):
            self._erase_part(offset, length)
            return
        self._erase_part(offset, begin_page * PAGE_BYTES - offset)
        self._erase_part(end_page * PAGE_BYTES, end - end_page * PAGE_BYTES)
        if begin_page < end_page:
            self._forget(begin_page, end_page)

    def zero(self, offset: int, length: int, *, allocate: bool) -> None:
        """Punches holes; ``allocate`` makes sure of room on disk, memory would be wasted on zeros."""
        self.trim(offset, length)
        if allocate and length:
            try:
                os.posix_fallocate(self._disk, offset, length)
            except OSError as error:
                raise_busy(error)

    def extents(self, offset: int, length: int) -> Iterator[tuple[int, bool]]:
        """What the map says."""
        begin, end = offset // PAGE_BYTES, -(-(offset + length) // PAGE_BYTES)
        at, stop = offset, offset + length
        for run in _EMPTY_RUN.finditer(self._map[MAP_OFFSET + begin : MAP_OFFSET + end]):
            run_end = min((begin + run.end()) * PAGE_BYTES, stop)
            if run_end > at:
                yield run_end - at, run[0][0] == EMPTY
                at = run_end

    def flush(self) -> None:
        """Nothing: what is in memory is as durable as it gets."""

    def descriptors(self) -> Sequence[int]:
        """Of memory, disk and ledger."""
        return (self._memory, self._disk, self._ledger.descriptor)

    def close(self) -> None:
        """Closes everything with the last user of this process; others may own the file then."""
        self._users -= 1
        if self._users:
            return
        del _open_files[self._key]
        _spiller.remove(self)
        with self._batching:
            if self._is_owner():
                reserved = self._used + self._base // PAGE_BYTES
                self._ledger.own(self._slot, self._generation, 0, reserved)
            self._map.close()
            self._ledger.close()
            os.close(self._disk)
            os.close(self._memory)

    # Under the lock.

    def _store(self, offset: int, data: memoryview) -> None:
        try:
            written, length = 0, len(data)
            while written < length:
                written += os.pwrite(self._memory, data[written:], self._base + offset + written)
        except OSError as error:
            _spiller.wake()
            raise_busy(error)

    def _afford(self, cost: int, *, spared: int = 0) -> None:
        """Makes sure of ``cost`` spare pages, ``spared`` being left for others. Raises Busy."""
        need = cost - self._spare
        if need <= 0:
            return
        if not self._is_owner():
            with self._batch():
                self._claim()  # its owner is dead, or has let it go
            need = cost
        most = max(need, self._at_once)
        granted = self._ledger.reserve(self._slot, self._generation, need, most, spared)
        if not spared and self._is_short(going=False):
            _spiller.wake()
        if not granted:
            raise Busy("memory limit")
        self._spare += granted

    def _fetch_edges(self, begin: int, end: int) -> None:
        """Reads back the first and the last page, of which a part is to be written."""
        for page in {begin, end - 1}:
            if self._map[MAP_OFFSET + page] == ON_DISK:
                self._afford(1)
                self._fetch(page, 1)

    def _fetch(self, page: int, count: int) -> None:
        """Reads pages back from disk into memory that is afforded."""
        offset = page * PAGE_BYTES
        buffer = memoryview(bytearray(min(count * PAGE_BYTES, self._size_bytes - offset)))
        read_all(self._disk, offset, buffer)
        self._store(offset, buffer)
        self._map[MAP_OFFSET + page : MAP_OFFSET + page + count] = bytes([BOTH]) * count
        self._used += count
        self._spare -= count

    def _read_mixed(self, offset: int, buffer: memoryview, states: bytes) -> None:
        begin_page, end = offset // PAGE_BYTES, offset + len(buffer)
        for run in _DISK_RUN.finditer(states):
            begin = max(offset, (begin_page + run.start()) * PAGE_BYTES)
            stop = min(end, (begin_page + run.end()) * PAGE_BYTES)
            part = buffer[begin - offset : stop - offset]
            if run[0][0] == ON_DISK:
                read_all(self._disk, begin, part)
            else:
                read_all(self._memory, self._base + begin, part)

    def _read_ahead(self, begin: int, end: int) -> None:
        """Brings pages from ``begin`` on into memory if there is room that nobody misses."""
        helped = self._ahead_end - self._ahead <= begin <= self._ahead_end
        self._ahead = min(2 * self._ahead, MAX_AHEAD) if helped else MIN_AHEAD
        stop = min(max(end, begin + self._ahead), self._pages)
        self._ahead_end = stop
        states = self._map[MAP_OFFSET + begin : MAP_OFFSET + stop]
        try:
            self._afford(states.count(ON_DISK), spared=self._ledger.limit // 16)
            for run in _DISK_RUN.finditer(states):
                if run[0][0] == ON_DISK:
                    self._fetch(begin + run.start(), run.end() - run.start())
        except Busy:
            _spiller.wake()  # it is read past memory, then
            return
        if helped:  # the disk may begin with what will be asked for next
            following = MAX_AHEAD * PAGE_BYTES
            os.posix_fadvise(self._disk, stop * PAGE_BYTES, following, os.POSIX_FADV_WILLNEED)

    def _erase_part(self, offset: int, length: int) -> None:
        """Makes zeros of a part of a page, unless they are zeros already."""
        while length > 0:
            piece = min(length, PAGE_BYTES - offset % PAGE_BYTES)
            if self._map[MAP_OFFSET + offset // PAGE_BYTES] != EMPTY:
                self.write(offset, memoryview(_ZEROS)[:piece])
            offset, length = offset + piece, length - piece

    def _forget(self, begin: int, end: int) -> None:
        """Pages that are nowhere any more."""
        offset, length = begin * PAGE_BYTES, (end - begin) * PAGE_BYTES
        with self._lock:
            place = slice(MAP_OFFSET + begin, MAP_OFFSET + end)
            states = self._map[place]
            count = len(states)
            if states.count(EMPTY) < count:
                freed = count - states.count(EMPTY) - states.count(ON_DISK)
                self._map[place] = bytes(count)
                punch(self._memory, self._base + offset, length)
                self._freed(freed)
        # Copies that a batch left behind, too: room on disk is not the map's to know.
        if os.fstat(self._disk).st_blocks:
            punch(self._disk, offset, min(length, self._size_bytes - offset))

    def _freed(self, pages: int) -> None:
        self._used -= pages
        self._spare += pages
        if self._spare > 2 * self._at_once:
            surplus = self._spare - self._at_once
            self._ledger.release(self._slot, self._generation, surplus)
            self._spare -= surplus

    # Write-behind, in the spilling thread.

    def spill(self, *, going: bool) -> int:
        """A batch of old pages goes to disk, if memory is short; how many left memory."""
        with self._batching:
            if not self._users or not self._is_short(going=going):
                return 0
            with self._batch():
                if not self._is_owner() and not self._claim_orphan():
                    return 0
                batch = self._choose()
                try:
                    self._copy(batch)
                except BaseException:
                    self._undo(batch)
                    raise
                return sum(self._leave(page, count) for page, count, _ in batch)

    def _is_short(self, *, going: bool) -> bool:
        limit = self._ledger.limit
        return self._ledger.room() < (limit // 16 * 3 if going else limit // 8)

    def _choose(self) -> list[tuple[int, int, bool]]:
        """Pages to go: first, count, and whether they must be copied. The clock's hand moves on,
        twice around at the most: once may only find pages that were fresh.
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
            # Else the page cache would hold what has just left memory.
            offset, length = page * PAGE_BYTES, count * PAGE_BYTES
            os.posix_fadvise(self._disk, offset, length, os.POSIX_FADV_DONTNEED)

    def _undo(self, batch: Sequence[tuple[int, int, bool]]) -> None:
        for page, count, _ in batch:
            with self._lock:
                place = slice(MAP_OFFSET + page, MAP_OFFSET + page + count)
                self._map[place] = self._map[place].translate(_STAYED)

    def _leave(self, page: int, count: int) -> int:
        """Gives memory back for those of these pages that were not written meanwhile."""
        freed = 0
        for begin in range(page, page + count, DROPPED_AT_ONCE):
            end = min(begin + DROPPED_AT_ONCE, page + count)
            with self._lock:
                for run in _GONE_RUN.finditer(self._map[MAP_OFFSET + begin : MAP_OFFSET + end]):
                    first, pages = begin + run.start(), run.end() - run.start()
                    offset, length = first * PAGE_BYTES, pages * PAGE_BYTES
                    if run[0][0] == EMPTY:  # trimmed while its copy was on its way
                        punch(self._disk, offset, min(length, self._size_bytes - offset))
                        continue
                    place = slice(MAP_OFFSET + first, MAP_OFFSET + first + pages)
                    self._map[place] = _ON_DISK * pages
                    punch(self._memory, self._base + offset, length)
                    self._freed(pages)
                    freed += pages
        return freed

    # Whose file it is.

    def _is_owner(self) -> bool:
        return self._ledger.owner(self._slot, self._generation) == os.getpid()

    @contextlib.contextmanager
    def _batch(self) -> Iterator[None]:
        """No other process spills this file, or begins to own it."""
        fcntl.flock(self._memory, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._memory, fcntl.LOCK_UN)

    def _claim_orphan(self) -> bool:
        """Owns a file whose worker is gone or dead; False if it is in good hands."""
        owner = self._ledger.owner(self._slot, self._generation)
        if owner:
            with contextlib.suppress(ProcessLookupError):
                os.kill(owner, 0)
                return False
        with self._lock:
            return self._claim()

    def _claim(self) -> bool:
        """Owns the file: finds out from the map how it was left, and what it has reserved."""
        place = slice(MAP_OFFSET, MAP_OFFSET + self._pages)
        states = self._map[place].translate(_STAYED)
        self._map[place] = states
        self._used, self._spare = self._pages - states.count(EMPTY) - states.count(ON_DISK), 0
        base_pages = self._base // PAGE_BYTES
        if os.fstat(self._memory).st_blocks * 512 > (base_pages + self._used) * PAGE_BYTES:
            self._punch_left_behind()
        reserved = base_pages + self._used
        return self._ledger.own(self._slot, self._generation, os.getpid(), reserved)

    def _punch_left_behind(self) -> None:
        """Pages that the map does not know in memory: its owner was killed in between."""
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
