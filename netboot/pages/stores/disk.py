"""Disk store: each page file is a sparse file in a directory, on any Linux file system.

Writes go through the page cache. An accepted page survives all processes; after a power failure
only flushed pages are left. So pages that another run of the kernel wrote are kept only if the
store was closed, which flushes them. Otherwise they are wiped: no client may ever read an old page
in place of a new one.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from netboot.errors import OperatorError
from netboot.host.boot import boot_id
from netboot.host.state import set_aside
from netboot.pages.stores.cached import CachedFile
from netboot.pages.stores.folder import Folder, hold
from netboot.pages.stores.sparse import raise_busy
from netboot.profile.stores import StoreSpec

WRITER = "state-boot"  # file in the folder: the boot id of the kernel that writes, or CLOSED
CLOSED = "closed"

log = logging.getLogger(__name__)


class DiskFile(CachedFile):
    """A page file on a disk."""

    def flush(self) -> None:
        """Wait until the disk has all writes."""
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            raise_busy(error)


class DiskStore:
    """A directory of page files below ``parent``, which is created if it does not exist."""

    kind = "disk"

    def __init__(self, parent: Path, name: str = "") -> None:
        """Open or create the directory. Raises OperatorError if ``parent`` cannot hold files."""
        make_folder(parent)
        self._folder = Folder(parent, name, reachable=True)
        self._writer = self._folder.path / WRITER
        boot = boot_id()
        try:
            noted = self._noted()
            if noted not in (boot, CLOSED):
                for lost in self._folder.names():
                    # Not truncated: a server of another machine that stood still may have it open,
                    # and would read zeros.
                    self._folder.path_of(lost).unlink()
            if noted != boot:  # a write that is cut by a power failure wipes all pages
                self._note(boot)
        except OSError as error:
            raise OperatorError(
                f"cannot keep pages in {parent}: {error.strerror}", hint="make room there"
            ) from error

    def _noted(self) -> str:
        """Return what ``_note`` wrote; an empty text if there is nothing that can be read."""
        try:
            return self._writer.read_text(errors="replace")
        except FileNotFoundError:
            return ""
        except OSError as error:
            set_aside(self._writer, error.strerror)
            return ""

    def _note(self, writer: str) -> None:
        """Write who writes the pages, durably, and on a full disk over what is there.

        If the power fails in the middle of it, the text is of nobody, and the pages are wiped.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW
        with open(os.open(self._writer, flags, 0o644), "wb") as file:
            file.write(writer.encode())
            file.truncate()
            file.flush()
            os.fsync(file.fileno())

    @property
    def directory(self) -> Path:
        """The directory of the page files."""
        return self._folder.path

    def mend(self) -> None:
        """Make the directory again if it was removed."""
        if self._folder.mend():
            self._note(boot_id())

    def create(self, name: str, size_bytes: int, *, alone: bool = False) -> DiskFile:
        """Create a file of holes."""
        return DiskFile(self._folder.create(name, size_bytes, alone=alone), size_bytes)

    def open(self, name: str, size_bytes: int, *, alone: bool = False) -> DiskFile:
        """Open an existing file."""
        return DiskFile(self._folder.open(name, size_bytes, alone=alone), size_bytes)

    def has(self, name: str) -> bool:
        """Return whether there is a page file of this name."""
        return self._folder.has(name)

    def making(self, name: str) -> None:
        """Return None: ``create`` has made the file."""

    def names(self) -> Sequence[str]:
        """Return the names of the page files."""
        return self._folder.names()

    def remove(self, name: str) -> None:
        """Wipe a file."""
        self._folder.remove(name)

    def close(self) -> None:
        """Wipe all files; if the store has a name, flush and keep them instead."""
        if self._folder.kept:
            try:
                for name in self.names():
                    descriptor = os.open(self._folder.path_of(name), os.O_RDWR)
                    try:
                        hold(descriptor)  # else a worker that was left may write once it is flushed
                        os.fsync(descriptor)
                    finally:
                        os.close(descriptor)
                self._folder.check()
                self._note(CLOSED)
            except FileNotFoundError:
                pass  # the folder was removed, with all pages
            except OSError as error:
                log.warning(
                    "pages: %s: pages are not flushed: %s; they are lost if this machine boots again",
                    self.directory,
                    error.strerror,
                )
        self._folder.close()


def make_folder(parent: Path) -> None:
    """Create the directory that the operator named. Raises OperatorError."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OperatorError(f"cannot keep pages in {parent}: {error.strerror}") from error


def make_store(spec: StoreSpec, name: str) -> DiskStore:
    """Return a store in the directory of ``spec``."""
    assert spec.directory is not None, "parse_store requires it"
    return DiskStore(spec.directory, name)


def adopt(descriptors: Sequence[int], size_bytes: int) -> DiskFile:
    """Return the page file of a descriptor that another process sent."""
    (descriptor,) = descriptors
    return DiskFile(descriptor, size_bytes)
