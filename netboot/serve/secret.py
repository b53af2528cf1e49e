"""The server's secret, from which tickets and order keys are made."""

import contextlib
import logging
import secrets
from pathlib import Path

from netboot.boot import ticket
from netboot.errors import OperatorError
from netboot.host.files import PRIVATE, create_file, replace_file
from netboot.host.state import read_regular, set_aside

log = logging.getLogger(__name__)

SECRET_FILE = "secret"  # in the state folder
MANY_ZEROS = 8  # bytes; no random secret ends so


def load_secret(path: Path, *, make: bool = True) -> bytes:
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
                secret = _read(path)
                _check_end(secret, spare)
            except ValueError as error:
                secret = _replaced(path, spare, coming, error, make=make)
            with contextlib.suppress(OSError):  # no room: the next start tries again
                if not _is_copy(spare, secret):
                    replace_file(spare, secret, mode=PRIVATE, durable=True)
            return secret
        if not make:
            raise OperatorError(
                f"{path}: there is no secret", hint="copy it from the server that boots the PCs"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        create_file(path, secrets.token_bytes(ticket.SECRET_BYTES), mode=PRIVATE)
        return _read(path)  # another server's, if that was first
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
        secret = _read(spare)
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
        kept = _read(spare)
    except (OSError, ValueError, OperatorError):
        kept = b""
    if many or (known != secret != kept and kept.startswith(known)):
        raise ValueError("damaged: zeros are in the place of its end")


def _is_copy(spare: Path, secret: bytes) -> bool:
    try:
        return _read(spare) == secret
    except (OSError, ValueError, OperatorError):
        return False


def _read(path: Path) -> bytes:
    """Return the secret in ``path``. Raises OSError, ValueError if damaged, OperatorError."""
    secret = read_regular(path)
    if path.stat().st_mode & 0o077:
        raise OperatorError(f"{path}: others can read it", hint=f"chmod 600 {path}")
    if len(secret) != ticket.SECRET_BYTES:
        # An empty key is a key that everybody knows: tickets could be forged.
        raise ValueError(
            f"damaged: the secret has {len(secret)} bytes, expected {ticket.SECRET_BYTES}"
        )
    return secret
