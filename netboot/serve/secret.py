"""The server's secret, from which tickets and order keys are made."""

import contextlib
import secrets
from pathlib import Path

from netboot.boot import ticket
from netboot.errors import OperatorError
from netboot.host.files import PRIVATE, create_file


def load_secret(path: Path, *, make: bool = True) -> bytes:
    """Return the server's secret, made on first use, so that tickets stay good across a restart.

    Without ``make`` it is another server's, and has to be there. Raises OperatorError if it can be
    neither read nor made, if others can read it, or if it is cut short.
    """
    try:
        with contextlib.suppress(FileNotFoundError):
            return _read(path, make=make)
        if not make:
            raise OperatorError(
                f"{path}: there is no secret", hint="copy it from the server that boots the PCs"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        create_file(path, secrets.token_bytes(ticket.SECRET_BYTES), mode=PRIVATE)
        return _read(path, make=make)  # another server's, if that was first
    except OSError as error:
        raise OperatorError(
            f"{path}: cannot keep the server's secret: {error.strerror}",
            hint="serving needs root (sudo); --state names another folder",
        ) from error


def _read(path: Path, *, make: bool) -> bytes:
    secret = path.read_bytes()
    if path.stat().st_mode & 0o077:
        raise OperatorError(f"{path}: others can read it", hint=f"chmod 600 {path}")
    if len(secret) != ticket.SECRET_BYTES:
        # An empty key is a key that everybody knows: tickets could be forged.
        raise OperatorError(
            f"{path}: damaged: the secret has {len(secret)} bytes, expected {ticket.SECRET_BYTES}",
            hint=(
                f"rm {path}: the next start makes a new one, and PCs that are on must boot again"
                if make
                else "copy it again from the server that boots the PCs"
            ),
        )
    return secret
