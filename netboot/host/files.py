"""Replace a file in one step: a reader, and a start after a power cut, finds all of it or none.

The content is written to another name in the same folder, which then gets the file's name.
Two writers at once are safe: the last one wins. A writer that is killed leaves its other name behind.
"""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

READABLE = 0o644  # by all, whatever the umask: images are built by root and served by another user
PRIVATE = 0o600


def replace_file(
    path: Path, content: bytes | str, *, mode: int = READABLE, durable: bool = False
) -> None:
    """Give ``path`` this content and ``mode``. Raises OSError; ``path`` is unchanged then.

    A ``durable`` file is on disk when this returns: a power cut does not bring the old one back.
    """
    with _aside(path) as aside:
        _write(aside, content, mode, durable=durable)
        aside.replace(path)
    if durable:
        _sync_folder(path.parent)


def rewrite_file(path: Path, content: bytes | str) -> None:
    """Give a file that exists other content, durably; its mode stays, and its owner if we may.

    A symbolic link stays one: the file that it names is replaced. Raises OSError; the file is
    unchanged then.
    """
    path = path.resolve()
    was = path.stat()
    with _aside(path) as aside:
        _write(aside, content, stat.S_IMODE(was.st_mode), durable=True)
        for owner in ((-1, was.st_gid), (was.st_uid, -1)):
            with contextlib.suppress(PermissionError):  # a file of another user, who lets us write
                os.chown(aside, *owner)
        aside.replace(path)
    _sync_folder(path.parent)


def create_file(path: Path, content: bytes | str, *, mode: int = READABLE) -> bool:
    """Make ``path`` with this content, durably; return False if there is one already.

    Of several that create the same file one succeeds, and all can read its content then. Raises
    OSError.
    """
    with _aside(path) as aside:
        _write(aside, content, mode, durable=True)
        try:
            os.link(aside, path)  # unlike a rename, it replaces nothing
        except FileExistsError:
            return False
    _sync_folder(path.parent)
    return True


def replace_link(path: Path, target: str) -> None:
    """Make ``path`` a symbolic link to ``target``. Raises OSError; ``path`` is unchanged then."""
    with _aside(path) as aside:
        aside.symlink_to(target)
        aside.replace(path)


@contextlib.contextmanager
def _aside(path: Path) -> Iterator[Path]:
    """A name that nobody else uses, beside ``path``; a file that still has it is removed."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    try:
        yield aside
    finally:
        aside.unlink(missing_ok=True)


def _write(path: Path, content: bytes | str, mode: int, *, durable: bool) -> None:
    # A secret is private from its first byte, so the mode comes before the content.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
    with open(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(content.encode() if isinstance(content, str) else content)
        if durable:
            file.flush()
            os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
