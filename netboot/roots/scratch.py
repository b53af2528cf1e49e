"""The folder in which an image is made: on the library's file system, and removed in any case."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = ".making-"
LOCK_FILE = ".making.lock"


@contextlib.contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """Yield a new folder in ``folder``, which is made too. Remove it afterwards.

    Those of builds that were killed are removed as well. Raises OSError.
    """
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    with _alone(folder):
        for stray in folder.glob(f"{PREFIX}*"):
            _remove_unless_used(stray)
        made = Path(tempfile.mkdtemp(prefix=PREFIX, dir=folder))
        descriptor = os.open(made, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(descriptor)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / LOCK_FILE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove_unless_used(folder: Path) -> None:
    """Remove a folder whose owner, which locks it, is gone."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)
