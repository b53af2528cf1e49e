"""The formats of root images: which one a file has, and how a folder becomes one.

The same folder gives the same bytes: files are sorted, and have neither times of the build nor a
random UUID. EROFS is read in far fewer requests than squashfs, because Linux keeps its metadata in
the page cache (docs/howto/root-image.md has the figures).
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from netboot.errors import OperatorError
from netboot.images.progress import Progress
from netboot.roots.running import follow

# The time of all that a build makes: a file that changed with each build would make each image a
# new one. Packages' own files keep their older times.
SOURCE_DATE_EPOCH = 1_735_689_600  # 2025-01-01
UUID = "6e657462-6f6f-7400-8000-000000000001"
SUPERBLOCKS = {  # format: (offset, magic); include/uapi/linux/magic.h
    "erofs": (1024, (0xE0F5E1E2).to_bytes(4, "little")),
    "squashfs": (0, b"hsqs"),
    "ext4": (1080, b"\x53\xef"),
}
SERVED = ("erofs", "squashfs")  # that the initramfs mounts
HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Packer:
    """A program that makes an image: its Debian package, and its command for folder and image."""

    package: str
    command: Callable[[Path, Path], list[str]]


PACKERS = {
    # 16 KiB: with 32 KiB NetSurf's start reads 51 MB instead of 48, in 1,800 requests instead of 1,930,
    # and the image is 3 % smaller. Cables are slower than requests. -x-1: from a folder without extended
    # attributes mkfs.erofs 1.5 fails otherwise. No -T: it gives all files one time, and caches of
    # fonts and icons compare times.
    "erofs": Packer(
        "erofs-utils",
        lambda folder, image: [
            "mkfs.erofs",
            "-zlz4hc",
            "-C16384",
            "-x-1",
            f"-U{UUID}",
            str(image),
            str(folder),
        ],
    ),
    # zstd decompresses fastest of the good compressors. The blocks are small, because a PC that is
    # short of RAM reads single pages.
    "squashfs": Packer(
        "squashfs-tools",
        lambda folder, image: [
            "mksquashfs",
            str(folder),
            str(image),
            *("-noappend", "-no-xattrs", "-no-exports", "-b", "64K"),
            *("-comp", "zstd", "-Xcompression-level", "9"),
        ],
    ),
}


def detect(path: Path) -> str:
    """Return the format of an image by its superblock; empty for none that we know. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    for name, (offset, magic) in SUPERBLOCKS.items():
        if head[offset : offset + len(magic)] == magic:
            return name
    return ""


def pack(folder: Path, image: Path, format: str, progress: Progress) -> None:
    """Make an image of a folder. Raises OperatorError.

    Files that are newer than SOURCE_DATE_EPOCH get that time, in the folder as well.
    """
    packer = PACKERS[format]
    progress.step(f"packing the image as {format}")
    files = clamp_times(folder)
    counter = Counter(progress, files)
    follow(
        packer.command(folder, image),
        counter.hear,
        problem="the image cannot be packed",
        package=packer.package,
        env={"SOURCE_DATE_EPOCH": str(SOURCE_DATE_EPOCH)},
    )
    if detect(image) != format:
        raise OperatorError(f"the image cannot be packed: {packer.package} made no {format}")


def clamp_times(folder: Path) -> int:
    """Give each file that is newer SOURCE_DATE_EPOCH as its time; return how many files there are."""
    files = 0
    for where, folders, names in os.walk(folder, topdown=False):
        for name in (*names, *folders):
            files += 1
            _clamp(os.path.join(where, name))
    _clamp(str(folder))
    return files


def _clamp(path: str) -> None:
    status = os.lstat(path)
    whole = status.st_mtime_ns // 10**9
    if status.st_mtime_ns % 10**9 or whole > SOURCE_DATE_EPOCH:
        # Whole seconds: squashfs keeps no more, and systemd compares /usr with /etc/.updated.
        time = min(whole, SOURCE_DATE_EPOCH) * 10**9
        os.utime(path, ns=(time, time), follow_symlinks=False)


class Counter:
    """Progress of a packer by its output: files of mkfs.erofs, percent of mksquashfs."""

    FILE = b"Processing "

    def __init__(self, progress: Progress, files: int) -> None:
        self._progress, self._files = progress, max(files, 1)
        self._rest, self._done = b"", 0

    def hear(self, chunk: bytes) -> None:
        """Report what a chunk of output says."""
        text = self._rest + chunk
        self._rest = text[-len(self.FILE) + 1 :]
        found = text.count(self.FILE)
        if found:
            self._done += found
            self._progress.advance(min(self._done, self._files), self._files)
        elif percents := re.findall(rb"(\d{1,3})%", chunk):
            self._progress.advance(int(percents[-1]), 100)
