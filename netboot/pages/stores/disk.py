"""Disk store: each page file is a sparse file in a directory, on any Linux file system.

Written through the page cache: what was accepted survives every process, and when the server's
power fails it is what was flushed that is left. So pages that another run of the kernel wrote are
only kept if the store was closed, which flushes them; else they are wiped and nobody is ever
served an old page for a new one.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from netboot.errors import OperatorError
from netboot.host.files import replace_file
from netboot.pages.stores.folder import Folder
from netboot.pages.stores.sparse import SparseFile, raise_busy
from netboot.profile.stores import StoreSpec

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
WRITER = "state-boot"  # in the folder: the run of the kernel that writes, or CLOSED
CLOSED = "closed"


class DiskFile(SparseFile):
    """A page file on a disk."""

    def flush(self) -> None:
        """Waits for the disk."""
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            raise_busy(error)


class DiskStore:
    """A directory of page files below ``parent``, which is made if it is not there."""

    kind = "disk"

    def __init__(self, parent: Path, name: str = "") -> None:
        """Raises OperatorError if there can be no files in ``parent``."""
        make_folder(parent)
        self._folder = Folder(parent, name)
        self._writer = self._folder.path / WRITER
        boot = BOOT_ID.read_text()
        if not self._writer.exists() or self._writer.read_text() not in (boot, CLOSED):
            for lost in self._folder.names():
                self._folder.remove(lost)
        replace_file(self._writer, boot, durable=True)

    @property
    def directory(self) -> Path:
        """Of the page files."""
        return self._folder.path

    def create(self, name: str, size_bytes: int) -> DiskFile:
        """A new file of holes."""
        return DiskFile(self._folder.create(name, size_bytes), size_bytes)

    def open(self, name: str, size_bytes: int) -> DiskFile:
        """A file that is there."""
        return DiskFile(self._folder.open(name, size_bytes), size_bytes)

    def names(self) -> Sequence[str]:
        """The page files that are there."""
        return self._folder.names()

    def remove(self, name: str) -> None:
        """Wipes a file."""
        self._folder.remove(name)

    def close(self) -> None:
        """Wipes all files; if the store has a name, flushes and keeps them instead."""
        if self._folder.kept:
            for name in self.names():
                descriptor = os.open(self._folder.path_of(name), os.O_RDWR)
                os.fsync(descriptor)
                os.close(descriptor)
            replace_file(self._writer, CLOSED, durable=True)
        self._folder.close()


def make_folder(parent: Path) -> None:
    """Makes the directory an operator named. Raises OperatorError."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OperatorError(f"cannot keep pages in {parent}: {error.strerror}") from error


def make_store(spec: StoreSpec, name: str) -> DiskStore:
    """A store in the directory of ``spec``."""
    assert spec.directory is not None, "parse_store demands it"
    return DiskStore(spec.directory, name)


def adopt(descriptors: Sequence[int], size_bytes: int) -> DiskFile:
    """The page file behind a descriptor that was sent to this process."""
    (descriptor,) = descriptors
    return DiskFile(descriptor, size_bytes)
