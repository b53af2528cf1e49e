"""A page file of the tiered store as clients use it: read, write, trim, read ahead."""

import os
import re
from collections.abc import Iterator, Sequence

from netboot.pages.nbd.backing import PAGE_BYTES, Busy, Desk, Operation, Order
from netboot.pages.stores.sparse import NO_ROOM, check_size, punch, raise_busy, read_all
from netboot.pages.stores.tiermap import BOTH, EMPTY, FRESH, MAP_OFFSET, ON_DISK, spiller
from netboot.pages.stores.writebehind import WriteBehind

_FRESH = bytes([FRESH]) * 64
_ON_DISK = bytes([ON_DISK])
_DISK_RUN = re.compile(rb"\x01+|[^\x01]+", re.DOTALL)
_EMPTY_RUN = re.compile(rb"\x00+|[^\x00]+", re.DOTALL)

# Pages. Linux's swap reads 8 neighbours; here the number doubles each time that they were needed.
MIN_AHEAD, MAX_AHEAD = 8, 64

_ZEROS = bytes(PAGE_BYTES)
_open_files: dict[tuple[int, int], "TieredFile"] = {}


def open_tiered(descriptors: Sequence[int], size_bytes: int, *, take: bool) -> "TieredFile":
    """Return the page file of descriptors (memory, disk, ledger), which it owns from now on.

    With ``take`` this process changes the file from now on; without, a living owner continues to do
    so. A process has one object for each page file, even if the file is opened several times.
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
    return file.opened(key, take)


class TieredFile(WriteBehind):
    """A page file in memory and on disk."""

    def __init__(self, memory: int, disk: int, ledger: int, size_bytes: int) -> None:
        super().__init__(memory, disk, ledger, size_bytes)
        self._users = 0
        self._ahead, self._ahead_end = MIN_AHEAD, -1

    def opened(self, key: tuple[int, int], take: bool) -> "TieredFile":
        """Count one more user in this process, and claim the file if ``take`` or orphaned."""
        if not self._is_owner():
            with self._batch():
                if take:
                    self._claim()
                else:
                    self._claim_orphan()
        self._users += 1
        if self._users == 1:
            self._key = key
            spiller.add(self)
        return self

    # Operations of clients.

    def view(self, offset: int, length: int) -> memoryview | None:
        """Return None: no page is mapped for clients."""
        return None

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer``, from disk if necessary, and then read ahead."""
        begin, end = offset // PAGE_BYTES, -(-(offset + len(buffer)) // PAGE_BYTES)
        stop = begin
        with self._lock:
            states, left = self._map[MAP_OFFSET + begin : MAP_OFFSET + end], self._batches_left
            if ON_DISK in states:
                stop = self._look_ahead(begin, end)
            else:
                read_all(self._memory, self._base + offset, buffer)
        if ON_DISK in states:
            # Without the lock, so that nobody else waits for the disk.
            pages = self._read_disk(begin, stop)
            with self._lock:
                self._keep(pages, left)
                states = self._map[MAP_OFFSET + begin : MAP_OFFSET + end]
                if ON_DISK not in states:
                    read_all(self._memory, self._base + offset, buffer)
            if ON_DISK in states:
                self._read_mixed(offset, buffer, states)
        self._check_zeros(buffer)

    def read_now(self, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer`` from memory. Raises BlockingIOError if a page is on disk."""
        begin, end = offset // PAGE_BYTES, -(-(offset + len(buffer)) // PAGE_BYTES)
        with self._lock:
            if self._map.find(_ON_DISK, MAP_OFFSET + begin, MAP_OFFSET + end) >= 0:
                raise BlockingIOError
            read_all(self._memory, self._base + offset, buffer)
        self._check_zeros(buffer)

    def write_now(self, offset: int, data: memoryview) -> None:
        """Store ``data`` in memory. Raises BlockingIOError if a part of a page on disk is written."""
        if (offset | len(data)) % PAGE_BYTES and self._edges_on_disk(offset, len(data)):
            raise BlockingIOError
        self.write(offset, data)

    def submit(self, order: Order, desk: Desk) -> None:
        """Have a thread do ``order``; the kernel begins to read what it needs from the disk."""
        if order.operation is Operation.READ:
            length = max(order.length, self._ahead * PAGE_BYTES)
            os.posix_fadvise(self._disk, order.offset, length, os.POSIX_FADV_WILLNEED)
        desk.employ(self, order)

    def _check_zeros(self, buffer: memoryview) -> None:
        # Zeros may be what a truncation has left: a later write makes the file longer again.
        if buffer and not buffer[0] and _ZEROS.startswith(buffer[:PAGE_BYTES]):
            self.check()

    def write(self, offset: int, data: memoryview) -> None:
        """Store ``data`` in memory. Raises Busy at the limit, until pages are spilled to disk."""
        length = len(data)
        if not length:
            return
        begin, end = offset // PAGE_BYTES, -(-(offset + length) // PAGE_BYTES)
        if (offset | length) % PAGE_BYTES:
            for page in self._edges_on_disk(offset, length):
                self._read_disk(page, page + 1)  # into the page cache, without the lock
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
        """Punch holes into both files over whole pages; write zeros over the parts of pages."""
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
        """Punch holes; with ``allocate``, reserve room on disk: zeros would waste memory."""
        self.trim(offset, length)
        if allocate and length:
            try:
                os.posix_fallocate(self._disk, offset, length)
            except OSError as error:
                raise_busy(error)

    def extents(self, offset: int, length: int) -> Iterator[tuple[int, bool]]:
        """Yield the extents that the map records."""
        begin, end = offset // PAGE_BYTES, -(-(offset + length) // PAGE_BYTES)
        at, stop = offset, offset + length
        for run in _EMPTY_RUN.finditer(self._map[MAP_OFFSET + begin : MAP_OFFSET + end]):
            run_end = min((begin + run.end()) * PAGE_BYTES, stop)
            if run_end > at:
                yield run_end - at, run[0][0] == EMPTY
                at = run_end

    def flush(self) -> None:
        """Do nothing: a write to memory needs no flush."""

    def check(self) -> None:
        """Raise Damaged if somebody has made one of the files shorter."""
        check_size(self._memory, self._base + self._size_bytes)
        check_size(self._disk, self._size_bytes)

    def descriptors(self) -> Sequence[int]:
        """Return the descriptors of memory, disk and ledger."""
        return (self._memory, self._disk, self._ledger.descriptor)

    def close(self) -> None:
        """Drop one user; with the last one, close the file, which others may own then."""
        self._users -= 1
        if self._users:
            return
        del _open_files[self._key]
        spiller.remove(self)
        with self._batching:
            self._closed = True
            if self._is_owner():
                reserved = self._used + self._base // PAGE_BYTES
                self._ledger.own(self._slot, self._generation, 0, reserved)
            self._map.close()
            self._ledger.close()
            os.close(self._disk)
            os.close(self._memory)

    # Called under the lock.

    def _keep(self, runs: Sequence[tuple[int, memoryview]], left: int) -> None:
        """Keep pages that were read from disk in memory, unless they may have changed meanwhile.

        A page that was on disk before and is so again was written by a batch in between.
        """
        if self._batches_left != left:
            return
        for page, data in runs:
            count = -(-len(data) // PAGE_BYTES)
            place = slice(MAP_OFFSET + page, MAP_OFFSET + page + count)
            if self._map[place] != _ON_DISK * count:
                continue
            try:
                self._afford(count, spared=self._ledger.limit // 16)
                self._store(page * PAGE_BYTES, data)
            except Busy:
                return
            self._map[place] = bytes([BOTH]) * count
            self._used += count
            self._spare -= count

    def _store(self, offset: int, data: memoryview) -> None:
        try:
            written, length = 0, len(data)
            while written < length:
                written += os.pwrite(self._memory, data[written:], self._base + offset + written)
        except OSError as error:
            if error.errno in NO_ROOM:
                self._ledger.full = True
                spiller.wake()
            raise_busy(error)

    def _fetch_edges(self, begin: int, end: int) -> None:
        """Read back the first and the last page, of which only parts are written."""
        for page in {begin, end - 1}:
            if self._map[MAP_OFFSET + page] == ON_DISK:
                self._afford(1)
                self._fetch(page, 1)

    def _fetch(self, page: int, count: int) -> None:
        """Read pages back from disk into memory that was reserved."""
        offset = page * PAGE_BYTES
        buffer = memoryview(bytearray(min(count * PAGE_BYTES, self._size_bytes - offset)))
        read_all(self._disk, offset, buffer)
        self._store(offset, buffer)
        self._map[MAP_OFFSET + page : MAP_OFFSET + page + count] = bytes([BOTH]) * count
        self._used += count
        self._spare -= count

    def _edges_on_disk(self, offset: int, length: int) -> list[int]:
        """Return which of the first and the last page of a range are on disk."""
        edges = {offset // PAGE_BYTES, (offset + length - 1) // PAGE_BYTES}
        return [page for page in edges if self._map[MAP_OFFSET + page] == ON_DISK]

    def _look_ahead(self, begin: int, end: int) -> int:
        """Return up to which page to read: further if that leaves 1/16 of the limit free."""
        helped = self._ahead_end - self._ahead <= begin <= self._ahead_end
        self._ahead = min(2 * self._ahead, MAX_AHEAD) if helped else MIN_AHEAD
        stop = min(max(end, begin + self._ahead), self._pages)
        self._ahead_end = stop
        states = self._map[MAP_OFFSET + begin : MAP_OFFSET + stop]
        try:
            self._afford(states.count(ON_DISK), spared=self._ledger.limit // 16)
        except Busy:
            spiller.wake()  # no room: the read goes to the disk directly
            return begin
        if helped:  # let the disk begin to read the pages that come next
            following = MAX_AHEAD * PAGE_BYTES
            os.posix_fadvise(self._disk, stop * PAGE_BYTES, following, os.POSIX_FADV_WILLNEED)
        return stop

    # Called without the lock. It is held for no access to the disk.

    def _read_disk(self, begin: int, stop: int) -> list[tuple[int, memoryview]]:
        """Return the runs of pages that are on disk: the first page, and their bytes."""
        runs = []
        for run in _DISK_RUN.finditer(self._map[MAP_OFFSET + begin : MAP_OFFSET + stop]):
            if run[0][0] == ON_DISK:
                page, count = begin + run.start(), run.end() - run.start()
                offset = page * PAGE_BYTES
                size = min(count * PAGE_BYTES, self._size_bytes - offset)
                runs.append((page, memoryview(bytearray(size))))
                read_all(self._disk, offset, runs[-1][1])
        return runs

    def _read_mixed(self, offset: int, buffer: memoryview, states: bytes) -> None:
        """Read from both tiers. A page that leaves memory meanwhile is on disk then.

        A page that is written or trimmed meanwhile may be read before or after that.
        """
        begin_page, end = offset // PAGE_BYTES, offset + len(buffer)
        for run in _DISK_RUN.finditer(states):
            begin = max(offset, (begin_page + run.start()) * PAGE_BYTES)
            stop = min(end, (begin_page + run.end()) * PAGE_BYTES)
            part = buffer[begin - offset : stop - offset]
            if run[0][0] == ON_DISK:
                read_all(self._disk, begin, part)
                continue
            with self._lock:
                now = self._map[
                    MAP_OFFSET + begin // PAGE_BYTES : MAP_OFFSET - (-stop // PAGE_BYTES)
                ]
                if ON_DISK not in now:
                    read_all(self._memory, self._base + begin, part)
            if ON_DISK in now:
                self._read_mixed(begin, part, now)

    def _erase_part(self, offset: int, length: int) -> None:
        """Write zeros over parts of pages, except in pages that are not stored."""
        while length > 0:
            piece = min(length, PAGE_BYTES - offset % PAGE_BYTES)
            if self._map[MAP_OFFSET + offset // PAGE_BYTES] != EMPTY:
                self.write(offset, memoryview(_ZEROS)[:piece])
            offset, length = offset + piece, length - piece

    def _forget(self, begin: int, end: int) -> None:
        """Drop pages from the map, memory and disk."""
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
        # On disk there may be copies that a batch left; the map does not record them.
        if os.fstat(self._disk).st_blocks:
            punch(self._disk, offset, min(length, self._size_bytes - offset))
