"""Images: existing files that are only read, such as the root file system of a room.

A page file of this kind is in no store. It remains the file that was opened: if another file
replaces it (``mv new.img root.img``), attached clients keep the old one.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from netboot.errors import OperatorError
from netboot.pages.stores.cached import CachedFile, read_cached

KIND = "image"  # name by which a worker finds ``adopt``
# A device in Linux has whole sectors, and bytes after the last whole one would be hidden. So an
# image is padded with zeros to whole sectors.
SECTOR_BYTES = 512
HEAD_BYTES = 4096
BLOCK_BYTES = 4096  # of a hash tree (pages/verity.py)


class ImageFile(CachedFile):
    """A regular file or a block device. Its exports are read-only, so it is never written.

    Zeros fill it up to ``size_bytes``, by at most ``filled`` bytes.
    """

    def __init__(self, descriptor: int, size_bytes: int, filled: int = SECTOR_BYTES) -> None:
        super().__init__(descriptor, size_bytes)
        self._least_bytes = size_bytes - filled  # of the file; a shorter one was truncated

    @property
    def blocks(self) -> int:
        """The number of blocks that a hash tree covers: two at least, or it would have no level."""
        return max(2, -(-self._size_bytes // BLOCK_BYTES))

    def in_blocks(self) -> "ImageFile":
        """Return the same image in whole blocks, with a descriptor of its own."""
        return ImageFile(os.dup(self._descriptor), self.blocks * BLOCK_BYTES, 2 * BLOCK_BYTES)

    @property
    def generation(self) -> str:
        """A name of the content, 32 hexadecimal digits.

        Another image has another generation, even at the same path. The same generation has a copy
        with the same modification time, and a device with the same first bytes.
        """
        status = os.fstat(self._descriptor)
        written = 0 if stat.S_ISBLK(status.st_mode) else status.st_mtime_ns
        digest = hashlib.blake2b(f"{self._size_bytes} {written} ".encode(), digest_size=16)
        # The first 4 KiB of squashfs and ext4 contain the time of creation or change, and the size.
        digest.update(os.pread(self._descriptor, HEAD_BYTES, 0))
        return digest.hexdigest()

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer``. Raises OSError if the file was truncated."""
        done = 0
        while done < len(buffer):
            read = os.preadv(self._descriptor, (buffer[done:],), offset + done)
            if not read:
                break
            done += read
        if done < len(buffer):
            if offset + done <= self._least_bytes:
                raise OSError(errno.EIO, "image was truncated")
            buffer[done:] = bytes(len(buffer) - done)

    def read_now(self, offset: int, buffer: memoryview) -> None:
        """Read from the page cache. Raises BlockingIOError if a page is not there, or padding."""
        read_cached(self._descriptor, offset, buffer)

    def check(self) -> None:
        """Do nothing: nobody writes an image, so a read finds out."""

    def extents(self, offset: int, length: int) -> Iterator[tuple[int, bool]]:
        """Yield the extents that the file system reports; a device has no holes."""
        if length and stat.S_ISBLK(os.fstat(self._descriptor).st_mode):
            yield length, False
        else:
            yield from super().extents(offset, length)


class VerifiedFile(ImageFile):
    """An image in whole blocks of ``data_bytes``, and behind it its hash tree, the file ``tree``.

    Owns both descriptors.
    """

    def __init__(self, descriptor: int, tree: int, data_bytes: int) -> None:
        tree_bytes = os.fstat(tree).st_size
        super().__init__(descriptor, data_bytes + tree_bytes, tree_bytes + 2 * BLOCK_BYTES)
        self._tree = ImageFile(tree, tree_bytes, 0)
        self._data_bytes = data_bytes

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer``. Raises OSError if a file was truncated."""
        own = self._own_bytes(offset, len(buffer))
        if own:
            super().read_into(offset, buffer[:own])
        if own < len(buffer):
            self._tree.read_into(offset + own - self._data_bytes, buffer[own:])

    def read_now(self, offset: int, buffer: memoryview) -> None:
        """Read from the page cache. Raises BlockingIOError if a page is not there, or padding."""
        own = self._own_bytes(offset, len(buffer))
        if own:
            super().read_now(offset, buffer[:own])
        if own < len(buffer):
            self._tree.read_now(offset + own - self._data_bytes, buffer[own:])

    def fetch(self, offset: int, length: int) -> None:
        """Let the kernel begin to read from the disk."""
        own = self._own_bytes(offset, length)
        if own:
            super().fetch(offset, own)
        if own < length:
            self._tree.fetch(offset + own - self._data_bytes, length - own)

    def _own_bytes(self, offset: int, length: int) -> int:
        return max(0, min(length, self._data_bytes - offset))

    def extents(self, offset: int, length: int) -> Iterator[tuple[int, bool]]:
        """Yield one extent: a hole is hashed as any data is."""
        if length:
            yield length, False

    def descriptors(self) -> Sequence[int]:
        """Return the descriptors of the image and of its tree."""
        return (self._descriptor, *self._tree.descriptors())

    def close(self) -> None:
        """Close both."""
        super().close()
        self._tree.close()


def open_image(path: Path) -> ImageFile:
    """Open an image. Raises OperatorError."""
    hint = "give a file or a block device that this user may read"
    try:
        # O_NONBLOCK: to open a named pipe would block until it has a writer.
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
        reason = "it is a directory" if stat.S_ISDIR(mode) else "it is no file and no block device"
    os.close(descriptor)
    raise OperatorError(f"image {path}: {reason}", hint=hint)


def image_of(descriptor: int, tree: int | None = None) -> ImageFile:
    """Return the image of a file's or block device's descriptor, which it owns from now on.

    ``tree`` is the descriptor of its hash tree, if it is served with one.
    """
    size_bytes = os.lseek(descriptor, 0, os.SEEK_END)
    found = ImageFile(descriptor, -(-size_bytes // SECTOR_BYTES) * SECTOR_BYTES)
    return found if tree is None else VerifiedFile(descriptor, tree, found.blocks * BLOCK_BYTES)


def adopt(descriptors: Sequence[int], size_bytes: int) -> ImageFile:
    """Return the image of descriptors that another process sent."""
    descriptor, *trees = descriptors
    if not trees:
        return ImageFile(descriptor, size_bytes)
    (tree,) = trees
    return VerifiedFile(descriptor, tree, size_bytes - os.fstat(tree).st_size)
