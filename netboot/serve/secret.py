"""The server's secret: what tickets and order keys are made of."""

import contextlib
import os
import secrets
from pathlib import Path

from netboot.boot import ticket
from netboot.errors import OperatorError


def load_secret(path: Path, *, make: bool = True) -> bytes:
    """The server's secret, made on first use, so that tickets stay good across a restart.

    Without ``make`` it is another server's, and has to be there. Raises OperatorError if it can be
    neither read nor made, or if others can read it.
    """
    try:
        with contextlib.suppress(FileNotFoundError):
            secret = path.read_bytes()
            if path.stat().st_mode & 0o077:
                raise OperatorError(f"{path}: others can read it", hint=f"chmod 600 {path}")
            return secret
        if not make:
            raise OperatorError(
                f"{path}: there is no secret", hint="copy it from the server that boots the PCs"
            )
        secret = secrets.token_bytes(ticket.SECRET_BYTES)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secret)
    except OSError as error:
        raise OperatorError(
            f"{path}: cannot keep the server's secret: {error.strerror}",
            hint="serving needs root (sudo); --state names another folder",
        ) from error
    return secret
