"""A page file that is one sparse file, on a tmpfs or on a disk.

It is read and written with preadv and pwrite. A read of a hole returns zeros and allocates nothing.
"""

import ctypes
import errno
import os
from collections.abc import Iterator, Sequence

from netboot.pages.nbd.backing import Busy, Damaged

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM)

# linux/falloc.h. Python's os has no fallocate(2) with a mode, and tmpfs no FALLOC_FL_ZERO_RANGE.
FALLOC_FL_KEEP_SIZE = 1
FALLOC_FL_PUNCH_HOLE = 2

_fallocate = ctypes.CDLL(None, use_errno=True).fallocate64
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)

_ZERO_BYTES = bytes(1 << 20)
_ZEROS = memoryview(_ZERO_BYTES)


class SparseFile:
    """A page file with one descriptor, which this object owns."""

    def __init__(self, descriptor: int, size_bytes: int) -> None:
        self._descriptor = descriptor
        self._size_bytes = size_bytes

    @property
    def size_bytes(self) -> int:
        """Size in bytes."""
        return self._size_bytes

    def view(self, offset: int, length: int) -> memoryview | None:
        """Return None: no page is mapped."""
        return None

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer``. Raises Damaged."""
        read = os.preadv(self._descriptor, (buffer,), offset)
        if read != len(buffer):
            _read_on(self._descriptor, offset, buffer, read)
        self.check_zeros(buffer)

    def write(self, offset: int, data: memoryview) -> None:
        """Store ``data``. Raises Busy if the file system is full."""
        try:
            length = len(data)
            written = os.pwrite(self._descriptor, data, offset)
            while written < length:  # the file system ran full: the next call raises
                written += os.pwrite(self._descriptor, data[written:], offset + written)
        except OSError as error:
            raise_busy(error)

    def trim(self, offset: int, length: int) -> None:
        """Punch a hole over whole pages; write zeros over the parts of pages."""
        try:
            erase(self._descriptor, offset, length)
        except OSError as error:
            raise_busy(error)

    def zero(self, offset: int, length: int, *, allocate: bool) -> None:
        """Punch a hole, and fill it with zeroed pages if ``allocate``."""
        self.trim(offset, length)
        if allocate and length:
            try:
                os.posix_fallocate(self._descriptor, offset, length)
            except OSError as error:
                raise_busy(error)

    def extents(self, offset: int, length: int) -> Iterator[tuple[int, bool]]:
        """Return the extents that the file system reports; some have no holes."""
        return extents(self._descriptor, offset, length)

    def flush(self) -> None:
        """Do nothing: a write to memory needs no flush."""

    def check_zeros(self, buffer: memoryview) -> None:
        """Raise Damaged if zeros that were read are no hole.

        They may be what a truncation has left: a later write makes the file longer again.
        """
        if buffer and not buffer[0] and _ZERO_BYTES.startswith(buffer):
            self.check()

    def check(self) -> None:
        """Raise Damaged if somebody has made the file shorter."""
        check_size(self._descriptor, self._size_bytes)

    def descriptors(self) -> Sequence[int]:
        """Return the file's descriptor."""
        return (self._descriptor,)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)


def raise_busy(error: OSError) -> None:
    """Raise Busy for a full file system or a full quota, otherwise ``error``."""
    if error.errno in NO_ROOM:
        raise Busy(os.strerror(error.errno)) from error
    raise error


def check_size(descriptor: int, size_bytes: int) -> None:
    """Raise Damaged if a file is shorter than ``size_bytes``."""
    found = os.fstat(descriptor).st_size
    if found < size_bytes:
        raise Damaged(f"its page file was truncated to {found} of {size_bytes} bytes")


def read_all(descriptor: int, offset: int, buffer: memoryview) -> None:
    """Fill ``buffer``. Raises OSError, and Damaged at the end of the file."""
    _read_on(descriptor, offset, buffer, 0)


def _read_on(descriptor: int, offset: int, buffer: memoryview, done: int) -> None:
    # A disk's file system may return less than asked for; a wiped file returns nothing.
    while done < len(buffer):
        read = os.preadv(descriptor, (buffer[done:],), offset + done)
        if not read:
            raise Damaged(f"its page file ends at {offset + done} bytes")
        done += read


def erase(descriptor: int, offset: int, length: int) -> None:
    """Write zeros; free the room if the file system can. Raises OSError."""
    if not length or punch(descriptor, offset, length):
        return
    while length:
        written = os.pwrite(descriptor, _ZEROS[:length], offset)
        offset, length = offset + written, length - written


def punch(descriptor: int, offset: int, length: int) -> bool:
    """Punch a hole; return False if this file system cannot. Raises OSError."""
    mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
    if _fallocate(descriptor, mode, offset, length) == 0:
        return True
    code = ctypes.get_errno()
    if code != errno.EOPNOTSUPP:
        raise OSError(code, os.strerror(code))
    return False


def extents(descriptor: int, offset: int, length: int) -> Iterator[tuple[int, bool]]:
    """Yield consecutive ``(bytes, hole)`` from ``offset`` on, ``length`` bytes in all."""
    end = offset + length
    while offset < end:
        data = _seek(descriptor, offset, os.SEEK_DATA, end)
        if data > offset:
            yield data - offset, True
        offset = data
        if offset < end:
            hole = _seek(descriptor, offset, os.SEEK_HOLE, end)
            yield hole - offset, False
            offset = hole


def _seek(descriptor: int, offset: int, what: int, end: int) -> int:
    """Return the offset at which data or a hole begins, ``end`` at most."""
    try:
        return min(os.lseek(descriptor, offset, what), end)
    except OSError as error:
        if error.errno == errno.ENXIO:  # only a hole follows
            return end
        raise
