"""The hash tree of a root image, as the kernel's dm-verity reads it: format 1, SHA-256, no salt.

Documentation/admin-guide/device-mapper/verity.rst. The image itself is not changed: its tree is a
file of its own, which an export has behind the image. `veritysetup verify --no-superblock
--salt=-` agrees (tests/pages/test_verity.py).
"""

import contextlib
import errno
import hashlib
import logging
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from netboot.boot.plan import HashTree
from netboot.errors import OperatorError
from netboot.host.files import PRIVATE, replace_file
from netboot.pages.stores.image import BLOCK_BYTES, ImageFile, VerifiedFile

log = logging.getLogger(__name__)

SUFFIX = ".tree"
DIGEST_BYTES = 32
BLOCKS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Verified:
    """An image with its hash tree behind it, and what its PCs must know of the tree."""

    pages: VerifiedFile
    tree: HashTree


def verify_images(images: dict[str, ImageFile], folder: Path) -> dict[str, Verified]:
    """Return the images by their names, each with its tree; the images remain the caller's.

    ``folder`` keeps the trees for the next start. Making one takes 2 s for each GB of an image, and
    five times that on a CPU without SHA instructions. Raises OperatorError.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        paths = {name: _kept(pages, folder) for name, pages in images.items()}
        found = {name: _open(pages, paths[name]) for name, pages in images.items()}
        for stray in set(folder.glob(f"*{SUFFIX}")) - set(paths.values()):
            stray.unlink(missing_ok=True)
    except OSError as error:
        raise OperatorError(
            f"the hash tree of a root image cannot be kept in {folder}: {error.strerror}",
            hint="free room there: a tree has 1 % of the size of its image",
        ) from error
    return found


def _kept(pages: ImageFile, folder: Path) -> Path:
    """Return the path of the image's tree, which is made unless ``folder`` has it."""
    status = os.fstat(pages.descriptors()[0])
    facts = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    key = hashlib.blake2b(repr(facts).encode(), digest_size=16).hexdigest()
    if not stat.S_ISBLK(status.st_mode):  # the times of a device say nothing of its content
        for path in folder.glob(f"{key}-*{SUFFIX}"):
            if _is_whole(path, pages.blocks):
                return path
            log.warning("%s: damaged; the hash tree of a root image is made again", path)
    tree = make_tree(pages)
    path = folder / f"{key}-{_root_hash(tree)}{SUFFIX}"
    try:
        replace_file(path, tree, mode=PRIVATE, durable=True)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        log.warning("%s: no room for the hash tree of a root image: it is kept in memory", path)
        return _in_memory(tree)
    return path


def _in_memory(content: bytes) -> Path:
    """Return the path of an unnamed file in memory, which lives as long as this process."""
    descriptor = os.memfd_create("netboot-tree")
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(content)
    return Path(f"/proc/{os.getpid()}/fd/{descriptor}")


def _open(pages: ImageFile, path: Path) -> Verified:
    descriptor = os.open(path, os.O_RDONLY)
    root_hash = _root_hash(os.pread(descriptor, BLOCK_BYTES, 0))
    verified = VerifiedFile(os.dup(pages.descriptors()[0]), descriptor, pages.blocks * BLOCK_BYTES)
    return Verified(verified, HashTree(pages.blocks, root_hash))


def tree_bytes(blocks: int) -> int:
    """Return the size of the tree of that many blocks."""
    return sum(_levels(blocks)) * BLOCK_BYTES


def make_tree(pages: ImageFile) -> bytes:
    """Return the tree: the levels one after the other, the top one first. Each is whole blocks."""
    levels = [_padded(b"".join(_digests(pages)))]
    while len(levels[0]) > BLOCK_BYTES:
        levels.insert(0, _above(levels[0]))
    return b"".join(levels)


def _above(level: bytes) -> bytes:
    """Return the level above one: the hashes of its blocks."""
    below = memoryview(level)
    starts = range(0, len(below), BLOCK_BYTES)
    return _padded(b"".join(hashlib.sha256(below[at : at + BLOCK_BYTES]).digest() for at in starts))


def _root_hash(tree: bytes) -> str:
    return hashlib.sha256(tree[:BLOCK_BYTES]).hexdigest()


def _is_whole(path: Path, blocks: int) -> bool:
    """Return whether a tree is as it was made: each level by the one above, the top by the name.

    10 ms for each GB of the image. PCs would find each damaged byte as a root that they cannot read.
    """
    try:
        if not path.is_file() or path.stat().st_size != tree_bytes(blocks):
            return False
        tree = path.read_bytes()
    except OSError:
        return False
    levels, end = [], len(tree)
    for count in _levels(blocks):
        levels.append(tree[end - count * BLOCK_BYTES : end])
        end -= count * BLOCK_BYTES
    agree = all(_above(below) == above for below, above in pairwise(levels))
    return agree and path.stem.endswith(f"-{_root_hash(tree)}")


def _digests(pages: ImageFile) -> Iterator[bytes]:
    """Yield the hash of each block of an image; the last one is filled up with zeros."""
    sha256, buffer = hashlib.sha256, bytearray(BLOCKS_AT_ONCE * BLOCK_BYTES)
    with contextlib.closing(pages.in_blocks()) as padded:
        for first in range(0, pages.blocks, BLOCKS_AT_ONCE):
            count = min(BLOCKS_AT_ONCE, pages.blocks - first)
            view = memoryview(buffer)[: count * BLOCK_BYTES]
            padded.read_into(first * BLOCK_BYTES, view)
            for at in range(0, len(view), BLOCK_BYTES):
                yield sha256(view[at : at + BLOCK_BYTES]).digest()


def _levels(blocks: int) -> Iterator[int]:
    """Yield the number of blocks in each level, the lowest one first."""
    while True:
        blocks = -(-blocks * DIGEST_BYTES // BLOCK_BYTES)
        yield blocks
        if blocks == 1:
            return


def _padded(level: bytes) -> bytes:
    return level + bytes(-len(level) % BLOCK_BYTES)
