"""The cache folder: results that are made once, kept by key, and shared by a user's builds."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from netboot.errors import OperatorError
from netboot.host import folders
from netboot.images.progress import Progress

KEPT = 6  # folders of one kind: enough for a few profiles, about 150 MB
UNFINISHED = "unfinished-"


def default_cache() -> Path:
    """Return systemd's folder for a service, /var/cache/netboot for root, else netboot/ in the user's.

    Raises OperatorError if that user has no folder for caches.
    """
    own_service = folders.given(folders.CACHE)
    if own_service is not None:
        return own_service
    if os.geteuid() == 0:
        return Path("/var/cache/netboot")
    home = os.path.expanduser("~")
    own = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    if not os.path.isabs(own):  # no HOME, and no such user in the list of users
        problem = "no folder for the cache: HOME is not set"
        raise OperatorError(problem, hint="export XDG_CACHE_HOME=FOLDER, with an absolute path")
    return Path(own) / "netboot"


WAITING = "waiting for another build"


class Cache:
    """Folders below ``path`` that are complete or absent: each is made elsewhere, then renamed.

    They are made and looked up within ``alone``: another build removes what is unfinished.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._is_alone = False

    def folder(self, kind: str, key: str, make: Callable[[Path], None]) -> Path:
        """Return the folder ``key`` of ``kind``; ``make`` fills it if it does not exist yet."""
        assert self._is_alone, "the cache is not locked"
        done = self.path / kind / key
        if done.is_dir():
            os.utime(done)  # the time of the last use, for _prune
            return done
        done.parent.mkdir(exist_ok=True)
        with self.scratch() as folder:
            (folder / "made").mkdir()
            make(folder / "made")
            os.rename(folder / "made", done)
        self._prune(done.parent)
        return done

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Yield a folder that is removed afterwards."""
        assert self._is_alone, "the cache is not locked"
        with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=self.path) as name:
            yield Path(name)

    @contextmanager
    def alone(self, progress: Progress, *, waits: bool = True) -> Iterator[None]:
        """Keep other builds out, and remove the leftovers of killed ones.

        If another build runs, wait for its end; without ``waits`` raise OperatorError.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = open(self.path / "lock", "w")  # noqa: SIM115
        except OSError as error:
            raise OperatorError(
                f"the image cache {self.path} cannot be written: {error.strerror}",
                hint="make it writable, or set XDG_CACHE_HOME to another folder",
            ) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not waits:
                    raise OperatorError(f"another build uses the image cache {self.path}") from None
                progress.step(WAITING)
                fcntl.flock(lock, fcntl.LOCK_EX)
            for left in self.path.glob(UNFINISHED + "*"):
                shutil.rmtree(left)
            self._is_alone = True
            try:
                yield
            finally:
                self._is_alone = False

    def _prune(self, kind: Path) -> None:
        oldest_last = sorted(kind.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in oldest_last[KEPT:]:
            shutil.rmtree(path)
