"""State files: what the next server must know, kept where there may be no room to write.

A state file is replaced as a whole. The new content goes to a spare file beside it, and the two
change their names in one step (renameat2(2)). Both were filled with spaces before, so a save on a
full disk, or with no inode or descriptor left, needs nothing that it has not. JSON ignores spaces,
and so do releases that know no spares. A reader, and a start after a power cut, finds the old
content or the new one.
"""

import contextlib
import ctypes
import errno
import hashlib
import json
import logging
import os
import shutil
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from netboot.host.files import PRIVATE

T = TypeVar("T")

RESERVE_BYTES = 64 << 10  # at the least; a lease has 600 bytes
MAX_BYTES = 64 << 20  # of a file that is read: a larger one is none of ours
MAX_ASIDE = 3  # files that are set aside
CHECK = "check"  # key of the digest in a sealed content
_PIECE = b" " * (64 << 10)

_RENAME_EXCHANGE = 2  # linux/fs.h
_AT_FDCWD = -100
_NO_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)  # NFS, some overlays, an old libc
_libc = ctypes.CDLL(None, use_errno=True)

log = logging.getLogger(__name__)


class StateFile:
    """The state file ``path``, of the access ``mode``. Its methods may be called in any thread.

    The folder is made if it is missing. Between two saves the descriptors of both files stay open.
    """

    def __init__(self, path: Path, *, mode: int = PRIVATE) -> None:
        self.path = path
        self._mode = mode
        self._spare_path = path.with_name(f".{path.name}.spare")
        self._lock = threading.Lock()
        self._spare: int | None = None
        self._live: int | None = None
        self._folder: int | None = None
        self._used: dict[int, int] = {}  # bytes of each descriptor's file that may not be spaces

    def prepare(self) -> None:
        """Keep room back for the next save. Raises OSError."""
        with self._lock:
            self._open_spare(0)

    def write(self, text: str) -> None:
        """Save ``text``, durably. Raises OSError; the file has the old content or this one then."""
        content = text.encode()
        with self._lock:
            try:
                self._write(content)
            except FileNotFoundError:  # the folder was removed
                self._close()
                self._write(content)

    def read(self, parse: Callable[[bytes], T]) -> tuple[T, bool] | None:
        """Return what ``parse`` makes of the file, and True if no save is missing in it.

        A file that cannot be read, or for which ``parse`` raises ValueError, is set aside with one
        warning. The spare file, which has the save before, takes its place. None without both, or if
        somebody has removed the file.
        """
        try:
            return parse(read_regular(self.path)), True
        except FileNotFoundError:
            # Else a server was killed after it had set the file aside.
            if not any(os.path.lexists(each) for each in (self.path, *_names_aside(self.path))):
                return None
        except (OSError, ValueError) as error:
            set_aside(self.path, error.strerror if isinstance(error, OSError) else str(error))
        with contextlib.suppress(OSError, ValueError):
            return parse(read_regular(self._spare_path)), False
        return None

    def close(self) -> None:
        """Close the descriptors."""
        with self._lock:
            self._close()

    def __del__(self) -> None:
        self._close()

    def _close(self) -> None:
        for descriptor in (self._spare, self._live, self._folder):
            if descriptor is not None:
                os.close(descriptor)
        self._spare = self._live = self._folder = None
        self._used.clear()

    def _write(self, content: bytes) -> None:
        spare = self._open_spare(len(content))
        used = self._used.get(spare, os.fstat(spare).st_size)
        self._used[spare] = max(used, len(content))
        _write_all(spare, content, 0)
        _fill(spare, len(content), used)
        self._used[spare] = len(content)
        os.fdatasync(spare)
        self._exchange()
        assert self._folder is not None, "opened with the spare"
        os.fsync(self._folder)
        with contextlib.suppress(OSError):  # the next save tries again, and says so
            self._open_spare(len(content))

    def _open_spare(self, length: int) -> int:
        """Return the spare file, made and enlarged as ``length`` bytes need it."""
        if self._spare is not None and not os.fstat(self._spare).st_nlink:
            self._close()  # the folder was removed, or somebody has cleaned up
        if self._spare is None:
            self._spare = self._make_spare()
        if self._folder is None:
            self._folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        size = os.fstat(self._spare).st_size
        self._used.setdefault(self._spare, size)
        if size < max(2 * length, RESERVE_BYTES):
            try:
                # Ahead of the need: the day on which the state grows may be that of the full disk.
                _enlarge(self._spare, size, max(4 * length, RESERVE_BYTES))
            except OSError:
                if size < length:
                    _enlarge(self._spare, size, length)
        return self._spare

    def _make_spare(self) -> int:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            descriptor = os.open(self._spare_path, flags, PRIVATE)
        except OSError as error:
            if error.errno not in (errno.EISDIR, errno.ELOOP, errno.ENXIO):
                raise
            _rename_aside(self._spare_path)
            descriptor = os.open(self._spare_path, flags, PRIVATE)
        os.fchmod(descriptor, self._mode)
        return descriptor

    def _exchange(self) -> None:
        """Give the spare file the name of the state, and the state's file that of the spare."""
        if self._has_exchanged():
            # The descriptors change their roles; without a second one it is opened by its name.
            self._spare, self._live = self._live, self._spare
        else:
            os.replace(self._spare_path, self.path)
            if self._live is not None:
                self._used.pop(self._live, None)
                os.close(self._live)
            self._spare, self._live = None, self._spare

    def _has_exchanged(self) -> bool:
        if not hasattr(_libc, "renameat2") or not self.path.exists():
            return False
        old, new = os.fsencode(self._spare_path), os.fsencode(self.path)
        if _libc.renameat2(_AT_FDCWD, old, _AT_FDCWD, new, _RENAME_EXCHANGE) == 0:
            return True
        number = ctypes.get_errno()
        if number in _NO_EXCHANGE:
            return False
        raise OSError(number, os.strerror(number), str(self.path))


def seal(content: dict[str, Any]) -> str:
    """Return ``content`` as JSON, with a digest. Its values must be JSON values."""
    return json.dumps({**content, CHECK: digest(content)})


def unseal(data: bytes, version: int) -> dict[str, Any]:
    """Return the content of ``seal``, or of a release that knew no seal. Ignore all behind it.

    Raises ValueError if it is damaged, or of a newer form than ``version``.
    """
    content = parse_json(data)
    if not isinstance(content, dict):
        raise ValueError(f"expected an object, found {type(content).__name__}")  # noqa: TRY004
    check = content.pop(CHECK, None)
    if check is not None and check != digest(content):
        raise ValueError("damaged: its digest is another one")
    found = content.get("version", version)
    if not isinstance(found, int) or found > version:
        raise ValueError(f"of a newer release: version {found}, expected at most {version}")
    return content


def parse_json(data: bytes) -> Any:
    """Return the JSON value at the start of ``data``. Raises ValueError."""
    text = data.decode(errors="replace").strip()
    if not text:
        raise ValueError("empty")
    try:
        return json.JSONDecoder().raw_decode(text)[0]
    except (ValueError, RecursionError) as error:
        raise ValueError(f"damaged: {error}") from None


def digest(value: Any) -> str:
    """Return a digest of a JSON value, which is the same after it was written and read."""
    return digest_of_text(json.dumps(value, sort_keys=True))


def digest_of_text(text: str) -> str:
    """Return the ``digest`` of a JSON value that ``text`` is, with its keys in their order."""
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def set_aside(path: Path, reason: str | None) -> None:
    """Rename a state file that cannot be used, with one warning."""
    log.warning("%s: %s; it is set aside as %s", path, reason, _rename_aside(path))


def _rename_aside(path: Path) -> str:
    """Rename ``path``; the oldest of those that were set aside goes. Return what to tell."""
    names = _names_aside(path)
    try:
        free = next((each for each in names if not os.path.lexists(each)), None)
        if free is None:
            free = min(names, key=lambda each: each.lstat().st_mtime)
            if free.is_dir() and not free.is_symlink():
                shutil.rmtree(free)
            else:
                free.unlink()
        os.rename(path, free)
    except OSError as error:
        return f"nothing ({error.strerror})"
    return str(free)


def _names_aside(path: Path) -> list[Path]:
    return [path.with_name(f"{path.name}.aside-{n}") for n in range(1, MAX_ASIDE + 1)]


def read_regular(path: Path) -> bytes:
    """Return the content of a file. Raises ValueError for anything else, or if it is too large."""
    # O_NONBLOCK: to open a named pipe would block until it has a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("damaged: expected a file")
        if status.st_size > MAX_BYTES:
            raise ValueError(f"{status.st_size} bytes, expected at most {MAX_BYTES}")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def _enlarge(descriptor: int, size: int, wanted: int) -> None:
    try:
        _fill(descriptor, size, -(-wanted // 4096) * 4096)
    except OSError:
        os.ftruncate(descriptor, size)
        raise


def _fill(descriptor: int, begin: int, end: int) -> None:
    for at in range(begin, end, len(_PIECE)):
        _write_all(descriptor, _PIECE[: min(len(_PIECE), end - at)], at)


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    done = 0
    while done < len(data):  # a file system that runs full takes a part; the next call raises
        done += os.pwrite(descriptor, data[done:], offset + done)
