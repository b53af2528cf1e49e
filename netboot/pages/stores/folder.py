"""The directory of a store: private, locked by the server that lives, kept for its successor."""

import contextlib
import fcntl
import os
import re
import shutil
import stat
import tempfile
from pathlib import Path

from netboot.errors import OperatorError

PREFIX = "netboot-pages-"  # without a name: swept once its server is dead
KEPT_PREFIX = "netboot-kept-"
SUFFIX = ".pages"


class Folder:
    """A directory of page files below ``parent``."""

    def __init__(self, parent: Path, name: str = "") -> None:
        """Finds or makes the directory of the server ``name``, or a new one if that is empty.

        Raises OperatorError if there can be no files in ``parent``, or if a server of that name
        is running.
        """
        if name and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*", name):
            raise OperatorError(f"{name!a} is no name for a server")
        _sweep(parent)
        self.kept = bool(name)
        try:
            self.path = parent / f"{KEPT_PREFIX}{name}" if name else _fresh(parent)
            if name:
                self.path.mkdir(mode=0o700, exist_ok=True)
            self._lock = _open_own(self.path)
        except OSError as error:
            raise OperatorError(
                f"cannot keep pages in {parent}: {error.strerror}",
                hint="is it there, and may this user write to it?",
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise OperatorError(
                f"another server keeps its pages in {self.path}",
                hint="does it run already? Else give this one another name, or 'serve' another --state",
            ) from None
        if not name:  # locked before it has a name that another server's _sweep looks for
            self.path = self.path.rename(parent / self.path.name.removeprefix("."))

    def create(self, name: str, size_bytes: int) -> int:
        """The descriptor of a new file of holes. Raises OSError."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
        descriptor = os.open(self.path_of(name), flags, 0o600)
        try:
            os.ftruncate(descriptor, size_bytes)
        except OSError:  # larger than this file system's files may be
            os.close(descriptor)
            self.path_of(name).unlink()
            raise
        return descriptor

    def open(self, name: str, size_bytes: int) -> int:
        """The descriptor of a file. Raises FileNotFoundError, also if its size differs."""
        descriptor = os.open(self.path_of(name), os.O_RDWR)
        if os.fstat(descriptor).st_size != size_bytes:
            os.close(descriptor)
            raise FileNotFoundError(f"page file {name} has another size")
        return descriptor

    def names(self) -> list[str]:
        """The page files that are there."""
        return sorted(path.name.removesuffix(SUFFIX) for path in self.path.glob(f"*{SUFFIX}"))

    def remove(self, name: str) -> None:
        """Truncates and unlinks: a worker that still has the file open keeps no pages alive."""
        os.truncate(self.path_of(name), 0)
        self.path_of(name).unlink()

    def close(self) -> None:
        """Lets the directory go, and removes it if it has no name."""
        if not self.kept:
            for name in self.names():
                self.remove(name)
            shutil.rmtree(self.path)
        os.close(self._lock)

    def path_of(self, name: str) -> Path:
        """Where a page file is, or would be."""
        return self.path / f"{name}{SUFFIX}"


def _fresh(parent: Path) -> Path:
    return Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=parent))


def _open_own(path: Path) -> int:
    """Opens a directory that nobody else can have put there: /dev/shm is everybody's."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        os.close(descriptor)
        raise PermissionError(1, f"{path} is open to others or another user's")
    return descriptor


def _sweep(parent: Path) -> None:
    """Removes directories whose server is dead: their memory would be lost until a reboot."""
    for path in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # another user's, or just removed
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path)
            finally:
                os.close(descriptor)
