"""The user that serves: root gives its rights up before the first packet is read."""

import contextlib
import os
import pwd
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from netboot.errors import OperatorError
from netboot.host.descriptors import raise_limit
from netboot.host.privileges import command_as, keep_from_programs
from netboot.host.programs import run
from netboot.pages import upgrade

ROOT = "root"
USER = "netboot"  # of a server that root starts, if there is such a user

# Nice value of the control plane: PCs that attach wait for it, while page workers may use all CPU.
# A server that was killed under load is back in half the time (docs/measurements/reliability.md).
FIRST = -10

# Run as that user. Prints the first thing that it cannot do, or nothing.
_TRY = """
import os, sys
try:
    import netboot.serve.services
except ImportError as error:
    sys.exit(print(f"cannot import the program ({error})"))
for word in sys.argv[1:]:
    needed, _, path = word.partition(":")
    folder = os.X_OK if os.path.isdir(path) else 0
    if not os.access(path, folder | (os.R_OK if needed == "read" else os.W_OK)):
        sys.exit(print(f"cannot {needed} {path}"))
"""


@dataclass(frozen=True, slots=True)
class Needs:
    """The paths that a server needs: those that it reads, and folders that it writes to.

    ``state`` is its own folder, which may be missing. ``pages`` is a folder of root's with pages
    of its seats, None if there is none.
    """

    state: Path
    read: Sequence[Path]
    write: Sequence[Path]
    pages: Path | None


def become(name: str, state: Path) -> None:
    """Restart this command as the user ``name``. Make a missing state folder, owned by that user.

    Returns if we are that user. Raises OperatorError.
    """
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        hint = f"sudo useradd --system --user-group {name}"
        raise OperatorError(f"--user: there is no user {name!r}", hint=hint) from None
    if os.geteuid() == user.pw_uid:
        return
    if os.geteuid() != 0:
        raise OperatorError(f"--user: only root can run this as {name}", hint="sudo")
    from netboot.serve.secret import SECRET_FILE

    secret = state / SECRET_FILE
    with contextlib.suppress(FileNotFoundError):
        if secret.stat().st_uid != user.pw_uid:
            raise OperatorError(
                f"--user: {secret} does not belong to {name}", hint=f"chown -R {name}: {state}"
            )
    _become(user, state, sys.orig_argv[1:])


def default_user() -> pwd.struct_passwd | None:
    """Return the user that a server of root becomes by itself; None if it stays what it is.

    A server that replaces its program (SIGHUP) keeps its user: the old one holds pages and sockets.
    """
    if os.geteuid() != 0 or upgrade.LISTENERS in os.environ:
        return None
    try:
        return pwd.getpwnam(USER)
    except KeyError:
        return None


def become_default(user: pwd.struct_passwd, needs: Needs, images: Path | None) -> str:
    """Restart this command as ``user`` if that user can serve; else return the reason.

    ``images`` are those that we built, to be named on the new command line: only root has them in
    its cache. An installation whose files are root's goes on as root, and loses nothing.
    """
    reason = obstacle(user, needs)
    if reason:
        return reason
    words = [] if images is None else ["--images", str(images.resolve())]
    _become(user, needs.state, [*sys.orig_argv[1:], *words])


def obstacle(user: pwd.struct_passwd, needs: Needs) -> str:
    """Return the reason why ``user`` cannot serve, with the remedy; empty if there is none."""
    stay = "or keep root by --user root"
    foreign = _not_owned(user, needs.state)
    if foreign is not None:
        remedy = f"stop the server, chown -R {user.pw_name}: {needs.state}, start it"
        return f"{foreign} does not belong to that user; {remedy}; {stay}"
    if needs.pages is not None:
        return f"{needs.pages} holds pages of seats for root; switch the PCs off, remove it; {stay}"
    words = [f"read:{path}" for path in needs.read] + [f"write to:{path}" for path in needs.write]
    command = command_as(user.pw_name, user.pw_gid, [sys.executable, "-c", _TRY, *words])
    done = run(command, check=False)
    said = done.stdout.strip() or (done.stderr.strip().splitlines() or [""])[-1]
    return f"that user {said}; let that user, {stay}" if said or done.returncode else ""


def _not_owned(user: pwd.struct_passwd, state: Path) -> Path | None:
    """Return what is another user's in a state folder; None if nothing is, or there is none."""
    return next((path for path in _tree(state) if path.lstat().st_uid != user.pw_uid), None)


def _tree(folder: Path) -> Iterable[Path]:
    if folder.exists():
        yield folder
        yield from folder.iterdir()


def _become(user: pwd.struct_passwd, state: Path, arguments: Sequence[str]) -> NoReturn:
    if not state.exists():
        state.mkdir(mode=0o700, parents=True)
        os.chown(state, user.pw_uid, user.pw_gid)
    go_first()  # only root may, and the priority stays
    command = command_as(user.pw_name, user.pw_gid, [sys.executable, *arguments])
    os.execvp(command[0], command)


def go_first() -> None:
    """Raise the limit of open files, and the priority of this process if its user may do that.

    Workers inherit both, but no capability.
    """
    raise_limit()
    keep_from_programs()
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, FIRST)
