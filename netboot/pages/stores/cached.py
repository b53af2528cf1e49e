"""A page file behind the page cache: it waits for its disk only if it has to.

A read whose pages are in the page cache is done at once (RWF_NOWAIT of preadv2(2)). If they are not,
the kernel is told to fetch them, which it does without a thread of ours (posix_fadvise(2)). A write
goes into the page cache at once, until one takes long: the disk is behind, and the kernel delays
whoever writes. Then writes to that disk are orders for a while.
"""

import errno
import os
import time

from netboot.pages.nbd.backing import PAGE_BYTES, Desk, Operation, Order
from netboot.pages.stores.sparse import SparseFile

# The kernel's pauses are 10 to 200 ms (mm/page-writeback.c); a write to the cache takes microseconds.
SLOW_SECONDS = 0.005
BEHIND_SECONDS = 1.0

_behind_until: dict[int, float] = {}  # by the number of the device


class CachedFile(SparseFile):
    """A page file of a disk's file system, or an image."""

    def __init__(self, descriptor: int, size_bytes: int) -> None:
        super().__init__(descriptor, size_bytes)
        self._device = os.fstat(descriptor).st_dev

    def read_now(self, offset: int, buffer: memoryview) -> None:
        """Read from the page cache. Raises BlockingIOError if a page is not there."""
        read_cached(self._descriptor, offset, buffer)
        self.check_zeros(buffer)

    def write(self, offset: int, data: memoryview) -> None:
        """Store ``data``, and note if that takes long. Raises Busy if the file system is full."""
        begin = time.monotonic()
        super().write(offset, data)
        end = time.monotonic()
        if end - begin > SLOW_SECONDS:
            _behind_until[self._device] = end + BEHIND_SECONDS

    def write_now(self, offset: int, data: memoryview) -> None:
        """Write whole pages to the page cache. Raises BlockingIOError while the disk is behind."""
        if (offset | len(data)) % PAGE_BYTES:  # the rest of a page would be read first
            raise BlockingIOError
        if _behind_until.get(self._device, 0.0) > time.monotonic():
            raise BlockingIOError
        self.write(offset, data)

    def submit(self, order: Order, desk: Desk) -> None:
        """Have the kernel fetch the pages of a READ, and a thread wait for them."""
        looks = order.operation is Operation.READ
        if looks:
            self.fetch(order.offset, order.length)
        desk.employ(self, order, looks=looks)

    def fetch(self, offset: int, length: int) -> None:
        """Let the kernel begin to read from the disk."""
        os.posix_fadvise(self._descriptor, offset, length, os.POSIX_FADV_WILLNEED)


def read_cached(descriptor: int, offset: int, buffer: memoryview) -> None:
    """Fill ``buffer`` from the page cache. Raises BlockingIOError if that is not possible."""
    try:
        read = os.preadv(descriptor, (buffer,), offset, os.RWF_NOWAIT)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:  # NFS and FUSE
            raise BlockingIOError from error
        raise
    if read != len(buffer):
        raise BlockingIOError
