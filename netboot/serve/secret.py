"""The server's secret, from which tickets and order keys are made."""

import contextlib
import secrets
from pathlib import Path

from netboot.boot import ticket
from netboot.errors import OperatorError
from netboot.host.files import PRIVATE, create_file
from netboot.host.state import set_aside

SECRET_FILE = "secret"  # in the state folder


def load_secret(path: Path, *, make: bool = True) -> bytes:
    """Return the server's secret, made on first use, so that tickets stay good across a restart.

    A secret that is damaged is set aside, and its spare copy takes its place; without one a new
    secret is made. Without ``make`` it is another server's, and has to be there. Raises
    OperatorError if it can be neither read nor made, or if others can read it.
    """
    spare = path.with_name(f".{path.name}.spare")
    try:
        if not path.exists():
            spare.unlink(missing_ok=True)  # an operator who removes the secret wants another one
        else:
            try:
                secret = _read(path)
            except ValueError as error:
                secret = _replaced(path, spare, error, make=make)
            with contextlib.suppress(OSError):  # no room: the next start tries again
                create_file(spare, secret, mode=PRIVATE)
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


def _replaced(path: Path, spare: Path, error: ValueError, *, make: bool) -> bytes:
    """Return the secret that takes the place of a damaged one."""
    try:
        secret = _read(spare)
    except (OSError, ValueError):
        if not make:
            raise OperatorError(
                f"{path}: {error}", hint="copy it again from the server that boots the PCs"
            ) from None
        spare.unlink(missing_ok=True)
        secret = secrets.token_bytes(ticket.SECRET_BYTES)
        set_aside(path, f"{error}; a new one is made, and PCs that are on have to boot again")
    else:
        set_aside(path, f"{error}; its spare copy takes its place")
    create_file(path, secret, mode=PRIVATE)
    return _read(path)


def _read(path: Path) -> bytes:
    """Return the secret in ``path``. Raises OSError, ValueError if damaged, OperatorError."""
    if path.is_dir():
        raise ValueError("damaged: the secret is a folder, expected a file")
    secret = path.read_bytes()
    if path.stat().st_mode & 0o077:
        raise OperatorError(f"{path}: others can read it", hint=f"chmod 600 {path}")
    if len(secret) != ticket.SECRET_BYTES:
        # An empty key is a key that everybody knows: tickets could be forged.
        raise ValueError(
            f"damaged: the secret has {len(secret)} bytes, expected {ticket.SECRET_BYTES}"
        )
    return secret
