"""The directory of a store: private, locked by the running server, kept for the next one."""

import contextlib
import errno
import fcntl
import logging
import os
import re
import shutil
import stat
import tempfile
from pathlib import Path

from netboot.errors import OperatorError
from netboot.pages.stores import holder
from netboot.pages.stores.sparse import NO_ROOM

PREFIX = "netboot-pages-"  # of directories without a name: removed when their server is dead
KEPT_PREFIX = "netboot-kept-"
SUFFIX = ".pages"
_TAIL = "_"  # no name has one: what follows is a number of dice, not another server's name

log = logging.getLogger(__name__)


class Folder:
    """A directory of page files below ``parent``."""

    def __init__(self, parent: Path, name: str = "", *, reachable: bool = False) -> None:
        """Open or create the directory of the server ``name``; if ``name`` is empty, a new one.

        ``reachable``: servers of other machines may have it as well (holder.py).

        Raises OperatorError if ``parent`` cannot hold files, or if a server of that name runs.
        """
        if name and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*", name):
            raise OperatorError(
                f"{name!a} is no name for a server",
                hint="begin with a letter or digit; then letters, digits, dots and hyphens",
            )
        self.kept = bool(name)
        try:
            _sweep(parent)
            self.path = _kept(parent, name) if name else _fresh(parent)
            self._lock = _open_own(self.path)
        except OSError as error:
            raise _failure(parent, error) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise holder.refusal(self.path) from None
        if not name:  # renamed only when locked, so that no other server's _sweep removes it
            self.path = self.path.rename(parent / self.path.name.removeprefix("."))
        try:
            self._hold = self._take_hold() if reachable else None
        except OSError as error:
            os.close(self._lock)
            raise _failure(parent, error) from error
        except OperatorError:
            os.close(self._lock)
            raise

    def mend(self) -> bool:
        """Make the directory again if it was removed; return whether it was. Raises OSError.

        logind removes what a user has in /dev/shm at the end of that user's last session, a server
        that was started by hand included (RemoveIPC, logind.conf(5)).
        """
        self.check()
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(self.path.lstat(), os.fstat(self._lock)):
                return False
        with contextlib.suppress(FileExistsError):
            self.path.mkdir(mode=0o700, parents=True)
        lock = _open_own(self.path)
        os.close(self._lock)
        self._lock = lock
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if self._hold is not None:
            self._hold.release()
            try:
                self._hold = self._take_hold()
            except OperatorError as error:
                raise OSError(errno.EBUSY, str(error)) from None
        log.warning(
            "pages: %s was removed, and is made again: PCs that have swap keep it until this server "
            "ends; boot them again before that",
            self.path,
        )
        return True

    def _take_hold(self) -> holder.Hold | None:
        """Hold the directory against other machines. Raises OperatorError and OSError.

        A directory of an earlier release on a full disk has no file for that. Its pages are served.
        """
        try:
            return holder.Hold(self.path)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            text = "pages: %s/%s cannot be made: %s; make room there, and start the server again"
            log.warning(text, self.path, holder.HOLDER, error.strerror)
            return None

    def check(self) -> None:
        """Raise OSError if a server of another machine has taken the directory."""
        if self._hold is not None:
            self._hold.check()

    def create(self, name: str, size_bytes: int, *, alone: bool = False) -> int:
        """Create a file of holes; return its descriptor. Raises OSError. ``alone``: see ``hold``."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
        descriptor = os.open(self.path_of(name), flags, 0o600)
        try:
            if alone:
                hold(descriptor)
            os.ftruncate(descriptor, size_bytes)
        except OSError:  # the file system allows no file of this size
            os.close(descriptor)
            self.path_of(name).unlink()
            raise
        return descriptor

    def open(self, name: str, size_bytes: int, *, alone: bool = False) -> int:
        """Open a file; return its descriptor. ``alone``: see ``hold``.

        Raises FileNotFoundError, also for another size, and OSError.
        """
        descriptor = os.open(self.path_of(name), os.O_RDWR)
        try:
            if os.fstat(descriptor).st_size != size_bytes:
                raise FileNotFoundError(f"page file {name} has another size")
            if alone:
                hold(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def has(self, name: str) -> bool:
        """Return whether there is a page file of this name, without a look at all the others."""
        return self.path_of(name).exists()

    def names(self) -> list[str]:
        """Return the names of the page files."""
        return sorted(path.name.removesuffix(SUFFIX) for path in self.path.glob(f"*{SUFFIX}"))

    def remove(self, name: str) -> None:
        """Truncate and unlink a file, so that a worker with the file open keeps no pages alive."""
        os.truncate(self.path_of(name), 0)
        self.path_of(name).unlink()

    def close(self) -> None:
        """Unlock the directory; remove it if it has no name."""
        if not self.kept:
            for name in self.names():
                self.remove(name)
            shutil.rmtree(self.path, ignore_errors=True)
        if self._hold is not None:
            self._hold.release()
        os.close(self._lock)

    def path_of(self, name: str) -> Path:
        """Return the path of a page file, which need not exist."""
        return self.path / f"{name}{SUFFIX}"


def hold(descriptor: int) -> None:
    """Lock a page file until all copies of ``descriptor`` are closed, those of workers included.

    So a worker that is stopped, or that a disk keeps from its end, still holds what it could write.
    Raises OSError with EBUSY then: its pages must not be served before it has ended.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OSError(errno.EBUSY, "a process of the server before still has them open") from None


def beside(name: str, kind: str) -> str:
    """Return the name of the directory of the server ``name`` for a store that is remote.

    It has no page files: those of a store in memory are in the directory ``name``.
    """
    return f"{name}.{kind}"


def _failure(parent: Path, error: OSError) -> OperatorError:
    return OperatorError(
        f"cannot keep pages in {parent}: {error.strerror}",
        hint="check that the folder exists and that this user may write to it",
    )


def _fresh(parent: Path) -> Path:
    return Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=parent))


def find_kept(parent: Path, name: str, owner: int) -> Path | None:
    """Return the directory of ``owner`` that keeps the pages of the server ``name``, or None."""
    usual = parent / f"{KEPT_PREFIX}{name}"
    for path in (usual, *sorted(parent.glob(f"{usual.name}{_TAIL}*"))):
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode) and status.st_uid == owner:
                return path
    return None


def _kept(parent: Path, name: str) -> Path:
    """Return the directory of the server ``name``, made if there is none yet.

    All users can tell its name, and may make files in /dev/shm: if another user was first, ours
    gets a name that nobody can tell. Root's is never passed over: it may hold our seats' pages.
    """
    found = find_kept(parent, name, os.geteuid())
    if found is not None:
        return found
    path = parent / f"{KEPT_PREFIX}{name}"
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        owner = path.lstat().st_uid
        if owner in (0, os.geteuid()) or not parent.stat().st_mode & stat.S_IWOTH:
            return path
        path = Path(tempfile.mkdtemp(prefix=f"{path.name}{_TAIL}", dir=parent))
        log.warning("%s%s belongs to user %d: pages are in %s", KEPT_PREFIX, name, owner, path)
    return path


def _open_own(path: Path) -> int:
    """Open a directory that no other user can have made: any user may write to /dev/shm."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        os.close(descriptor)
        raise PermissionError(
            1, f"{path} belongs to another user or is open to others; remove it if no PC uses it"
        )
    return descriptor


def _sweep(parent: Path) -> None:
    """Remove the directories of dead servers, whose memory would be lost until a reboot."""
    if holder.is_remote(parent):
        return  # the server of one may live on another machine
    for path in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # another user's directory, or one that was just removed
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path)
            finally:
                os.close(descriptor)
