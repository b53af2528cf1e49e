"""Images: files that were there before and are only read, such as a root file system for a room.

A page file of this kind is in no store. It stays what it was opened as: who replaces the file by
another (``mv new.img root.img``) changes nothing for those who have it.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from netboot.errors import OperatorError
from netboot.pages.stores.sparse import SparseFile

KIND = "image"  # what a worker looks ``adopt`` up by
# Linux has whole sectors of a device and would not show what is behind the last: an image ends with
# zeros up to there.
SECTOR_BYTES = 512
HEAD_BYTES = 4096


class ImageFile(SparseFile):
    """A regular file or a block device. Never written: its exports are read-only."""

    @property
    def generation(self) -> str:
        """32 hexadecimal digits that another image has not, even in the same place; a copy of this
        one that kept the file's time has them, and so has a device with the same beginning.
        """
        status = os.fstat(self._descriptor)
        written = 0 if stat.S_ISBLK(status.st_mode) else status.st_mtime_ns
        digest = hashlib.blake2b(f"{self._size_bytes} {written} ".encode(), digest_size=16)
        # Of squashfs and ext4 there is here when they were made or changed, and how long they are.
        digest.update(os.pread(self._descriptor, HEAD_BYTES, 0))
        return digest.hexdigest()

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fills ``buffer``. Raises OSError where the file was cut off meanwhile."""
        done = 0
        while done < len(buffer):
            read = os.preadv(self._descriptor, (buffer[done:],), offset + done)
            if not read:
                break
            done += read
        if done < len(buffer):
            if offset + done <= self._size_bytes - SECTOR_BYTES:
                raise OSError(errno.EIO, "image is shorter than it was")
            buffer[done:] = bytes(len(buffer) - done)

    def extents(self, offset: int, length: int) -> Iterator[tuple[int, bool]]:
        """As the file system knows them; a device has no holes."""
        if length and stat.S_ISBLK(os.fstat(self._descriptor).st_mode):
            yield length, False
        else:
            yield from super().extents(offset, length)


def open_image(path: Path) -> ImageFile:
    """The image in a file, with a descriptor of its own. Raises OperatorError."""
    hint = "expected a file or a block device that this user may read"
    try:
        # Of a named pipe, too, the opening must come to an end.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise OperatorError(f"image {path}: {error.strerror}", hint=hint) from error
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode) or stat.S_ISBLK(mode):
        image = image_of(descriptor)
        if image.size_bytes:
            return image
        reason = "it is empty"
    else:
        reason = "it is a directory" if stat.S_ISDIR(mode) else "it is something else"
    os.close(descriptor)
    raise OperatorError(f"image {path}: {reason}", hint=hint)


def image_of(descriptor: int) -> ImageFile:
    """The image behind a descriptor of a file or block device, which it owns from now on."""
    size_bytes = os.lseek(descriptor, 0, os.SEEK_END)
    return ImageFile(descriptor, -(-size_bytes // SECTOR_BYTES) * SECTOR_BYTES)


def adopt(descriptors: Sequence[int], size_bytes: int) -> ImageFile:
    """The image behind a descriptor that was sent to this process."""
    (descriptor,) = descriptors
    return ImageFile(descriptor, size_bytes)
