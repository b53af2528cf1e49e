"""Memory store: each page file is a sparse file on a tmpfs, so pages outlive every worker.

Read and written with preadv and pwrite, never mapped: the first touch of a mapped page costs
20-30 us inside a VM (docs/performance.md). A read of a hole gives zeros and allocates nothing.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from netboot.errors import OperatorError

TMPFS = Path("/dev/shm")
PREFIX = "netboot-pages-"
PAGE_BYTES = 4096

# linux/falloc.h. Python's os has no fallocate(2) with a mode, and tmpfs no FALLOC_FL_ZERO_RANGE.
FALLOC_FL_KEEP_SIZE = 1
FALLOC_FL_PUNCH_HOLE = 2

_fallocate = ctypes.CDLL(None, use_errno=True).fallocate64
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


class MemoryFile:
    """A page file behind one descriptor."""

    def __init__(self, descriptor: int, size_bytes: int) -> None:
        self._descriptor = descriptor
        self._size_bytes = size_bytes

    @property
    def size_bytes(self) -> int:
        """Size in bytes."""
        return self._size_bytes

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fills ``buffer``."""
        length = len(buffer)
        if os.preadv(self._descriptor, (buffer,), offset) != length:
            raise OSError(errno.EIO, "page file is shorter than its lease")

    def write(self, offset: int, data: memoryview) -> None:
        """Stores ``data``."""
        length = len(data)
        written = os.pwrite(self._descriptor, data, offset)
        while written < length:  # tmpfs ran full on the way: the next call says so
            written += os.pwrite(self._descriptor, data[written:], offset + written)

    def trim(self, offset: int, length: int) -> None:
        """Punches a hole."""
        if length:
            mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
            if _fallocate(self._descriptor, mode, offset, length):
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code))

    def zero(self, offset: int, length: int, *, allocate: bool) -> None:
        """Punches a hole, and fills it with zeroed pages if ``allocate``."""
        self.trim(offset, length)
        if allocate and length:
            os.posix_fallocate(self._descriptor, offset, length)

    def flush(self) -> None:
        """Nothing: memory is as durable as it gets."""

    def descriptors(self) -> Sequence[int]:
        """The file's descriptor."""
        return (self._descriptor,)

    def close(self) -> None:
        """Closes the descriptor."""
        os.close(self._descriptor)


class MemoryStore:
    """A directory of page files, locked for as long as this process lives."""

    kind = "memory"

    def __init__(self, tmpfs: Path = TMPFS) -> None:
        """Raises OperatorError if there can be no files in ``tmpfs``."""
        _sweep(tmpfs)
        try:
            fresh = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=tmpfs))
        except OSError as error:
            raise OperatorError(
                f"cannot keep pages in {tmpfs}: {error.strerror}", hint="is it a tmpfs?"
            ) from error
        # Locked before it has a name that another server's _sweep looks for.
        self._lock = os.open(fresh, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.directory = fresh.rename(tmpfs / fresh.name.removeprefix("."))

    def create(self, name: str, size_bytes: int) -> MemoryFile:
        """A new file of holes."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
        descriptor = os.open(self.directory / name, flags, 0o600)
        os.ftruncate(descriptor, size_bytes)
        return MemoryFile(descriptor, size_bytes)

    def remove(self, name: str) -> None:
        """Truncates and unlinks: a worker that still has the file open keeps no pages alive."""
        path = self.directory / name
        os.truncate(path, 0)
        path.unlink()

    def close(self) -> None:
        """Removes the directory."""
        for path in self.directory.iterdir():
            self.remove(path.name)
        self.directory.rmdir()
        os.close(self._lock)


def _sweep(tmpfs: Path) -> None:
    """Removes directories whose server is dead: their memory would be lost until a reboot."""
    for path in tmpfs.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # another user's, or just removed
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path)
            finally:
                os.close(descriptor)


def make_store() -> MemoryStore:
    """A store on the machine's shared-memory tmpfs."""
    return MemoryStore()


def adopt(descriptors: Sequence[int], size_bytes: int) -> MemoryFile:
    """The page file behind a descriptor that was sent to this process."""
    (descriptor,) = descriptors
    return MemoryFile(descriptor, size_bytes)
