"""The server's secret, from which tickets and order keys are made.

The file has the 32 bytes of the secret, as in each release so far. For a day after a rotation it
has the previous secret as well, in a form with a version (``Secrets.serialize``). The spare copy
beside it never has the previous one.
"""

import contextlib
import fcntl
import logging
import math
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from netboot.boot import ticket
from netboot.errors import OperatorError
from netboot.host.files import PRIVATE, create_file, replace_file, rewrite_file
from netboot.host.state import read_regular, seal, set_aside, unseal

log = logging.getLogger(__name__)

SECRET_FILE = "secret"  # in the state folder
MANY_ZEROS = 8  # bytes; no random secret ends so
VERSION = 2  # of the form with two secrets
DAY_SECONDS = 86400.0  # for which the previous secret is accepted


@dataclass(frozen=True, slots=True)
class Secrets:
    """The ``current`` secret, and the ``previous`` one, which is empty if there is none.

    The previous one is accepted for ``left`` further seconds, as servers count them, and not after
    ``until`` (seconds since the epoch by a server's clock; None: no server has taken it up yet). A
    clock that jumps back does not lengthen that time.
    """

    current: bytes = field(repr=False)
    previous: bytes = field(default=b"", repr=False)
    left: float = 0.0
    until: float | None = None

    def serialize(self) -> bytes:
        """Return the content of the file."""
        if not self.previous:
            return self.current
        row = {"current": self.current.hex(), "previous": self.previous.hex()}
        return seal({"version": VERSION, **row, "left": self.left, "until": self.until}).encode()

    @classmethod
    def parse(cls, content: bytes) -> "Secrets":
        """Parse the content of the file. Raises ValueError if it is damaged."""
        if len(content) == ticket.SECRET_BYTES:
            return cls(content)
        if not content.startswith(b"{"):
            # An empty key is a key that everybody knows: tickets could be forged.
            raise ValueError(
                f"damaged: the secret has {len(content)} bytes, expected {ticket.SECRET_BYTES}"
            )
        row = unseal(content, VERSION)
        try:
            current, previous = (bytes.fromhex(row[name]) for name in ("current", "previous"))
            until = None if row["until"] is None else float(row["until"])
            left = float(row["left"])
        except (KeyError, TypeError, ValueError, OverflowError):
            raise ValueError("damaged: it has no two secrets") from None
        if {len(current), len(previous)} != {ticket.SECRET_BYTES} or not math.isfinite(left):
            raise ValueError("damaged: it has no two secrets")
        return cls(current, previous, min(left, DAY_SECONDS), until)


def rotate(path: Path) -> Secrets:
    """Make a new secret; the one so far is the previous one then. Return what was before.

    Running servers take it up by themselves (netboot.serve.rotation). Raises OperatorError.
    """
    if not path.exists():
        raise OperatorError(
            f"{path}: there is no secret to rotate",
            hint="the first 'netboot serve' makes one; --state names another folder",
        )
    try:
        with alone(path):
            before = load_secrets(path, make=False)
            current = secrets.token_bytes(ticket.SECRET_BYTES)
            # First the spare copy: from now on it has neither of the secrets before.
            rewrite_file(path.with_name(f".{path.name}.spare"), current)
            rewrite_file(path, Secrets(current, before.current, DAY_SECONDS).serialize())
    except OSError as error:
        raise OperatorError(
            f"{path}: cannot be rotated, the secret so far stays: {error.strerror}",
            hint="this needs root (sudo), and room on the disk",
        ) from error
    return before


def save(path: Path, found: Secrets) -> None:
    """Save ``found`` unless the file has another current secret by now. Raises OSError."""
    with alone(path):
        try:
            if read(path).current != found.current:
                return
        except (FileNotFoundError, ValueError, OperatorError):
            return
        rewrite_file(path, found.serialize())


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep other writers of a secret away. Raises OSError."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def load_secret(path: Path, *, make: bool = True) -> bytes:
    """Return the server's current secret (see ``load_secrets``)."""
    return load_secrets(path, make=make).current


def load_secrets(path: Path, *, make: bool = True) -> Secrets:
    """Return the server's secret, made on first use, so that tickets stay good across a restart.

    A secret that is damaged is set aside, and its spare copy takes its place; without one a new
    secret is made. Without ``make`` it is another server's, and has to be there. Raises
    OperatorError if it can be neither read nor made, or if others can read it.
    """
    spare, coming = (path.with_name(f".{path.name}.{end}") for end in ("spare", "next"))
    try:
        if coming.exists():  # a server has ended in the middle of ``_replaced``
            coming.replace(spare if path.exists() else path)
        if not path.exists():
            spare.unlink(missing_ok=True)  # an operator who removes the secret wants another one
        else:
            try:
                found = read(path)
                if not found.previous:  # else a digest tells a damage
                    _check_end(found.current, spare)
            except ValueError as error:
                found = Secrets(_replaced(path, spare, coming, error, make=make))
            with contextlib.suppress(OSError):  # no room: the next start tries again
                if not _is_copy(spare, found.current):
                    replace_file(spare, found.current, mode=PRIVATE, durable=True)
                    owner = path.stat()  # not root, whose command this may be
                    os.chown(spare, owner.st_uid, owner.st_gid)
            return found
        if not make:
            raise OperatorError(
                f"{path}: there is no secret", hint="copy it from the server that boots the PCs"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        create_file(path, secrets.token_bytes(ticket.SECRET_BYTES), mode=PRIVATE)
        return read(path)  # another server's, if that was first
    except OSError as error:
        raise OperatorError(
            f"{path}: cannot keep the server's secret: {error.strerror}",
            hint="serving needs root (sudo); --state names another folder",
        ) from error


def _replaced(path: Path, spare: Path, coming: Path, error: ValueError, *, make: bool) -> bytes:
    """Return the secret that takes the place of a damaged one, which is on disk before that goes.

    The spare copy needs no room: it is renamed. Raises OSError if there is no room for a new one.
    """
    try:
        secret = read(spare).current
    except (OSError, ValueError):
        if not make:
            raise OperatorError(
                f"{path}: {error}", hint="copy it again from the server that boots the PCs"
            ) from None
        secret = secrets.token_bytes(ticket.SECRET_BYTES)
        create_file(coming, secret, mode=PRIVATE)
        set_aside(path, f"{error}; a new one is made, and PCs that are on have to boot again")
        coming.replace(path)
        return secret
    try:
        spare.replace(coming)
        set_aside(path, f"{error}; its spare copy takes its place")
        coming.replace(path)
    except OSError as failure:
        log.warning("%s: %s; its spare copy is used: %s", path, error, failure.strerror)
    return secret


def _check_end(secret: bytes, spare: Path) -> None:
    """Raise ValueError if a power cut has put zeros in the place of the secret's end.

    A secret that an operator has put there does not begin as the spare copy of the one before.
    """
    known = secret.rstrip(b"\0")
    many = len(secret) - len(known) >= MANY_ZEROS
    try:
        kept = read(spare).current
    except (OSError, ValueError, OperatorError):
        kept = b""
    if many or (known != secret != kept and kept.startswith(known)):
        raise ValueError("damaged: zeros are in the place of its end")


def _is_copy(spare: Path, secret: bytes) -> bool:
    try:
        return read(spare) == Secrets(secret)
    except (OSError, ValueError, OperatorError):
        return False


def read(path: Path) -> Secrets:
    """Return the secrets in ``path``. Raises OSError, ValueError if damaged, OperatorError."""
    content = read_regular(path)
    if path.stat().st_mode & 0o077:
        raise OperatorError(f"{path}: others can read it", hint=f"chmod 600 {path}")
    return Secrets.parse(content)
