"""Run other programs to their end: captured, in English, without input, and with one error message.

A program that keeps running (a server, a virtual PC) is started by its owner, with Popen.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from netboot.errors import FailedError, OperatorError
from netboot.host.scheduling import give_way

ENGLISH = {"LC_ALL": "C.UTF-8"}  # `cause` looks for English words
# nft, ip and modinfo are there; the PATH that su(1) and cron(8) give to root has neither.
SYSTEM_FOLDERS = "/usr/sbin:/sbin"
COMMAND_CHARACTERS = 80  # of a command in a message: a compiler's has hundreds
MOST_ERRORS = 3  # later ones mostly follow from the first

# A line with an error: of apt (E:, Err:1), dpkg, gcc and ld, ip, pip, virsh, xorriso, zstd.
_ERROR = re.compile(r"^E:|^Err:\d|error\b|\bfailure\b|\bfatal\b|undefined reference", re.IGNORECASE)
_REMARK = re.compile(r"^\s*(W:|warning:|note:)", re.IGNORECASE)
_LABEL = re.compile(r"^(E|Err:\d+|error|fatal):?\s+", re.IGNORECASE)


def run(
    command: Sequence[str],
    *,
    problem: str = "",
    hint: str = "",
    package: str = "",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run a program and return its status and output. ``env`` is added to our environment.

    Raises OperatorError if the program is not installed, naming its Debian ``package``, and with
    ``check`` also if it fails: "``problem``: cause", with ``hint`` as the remedy. The default
    problem is the failed command.
    """
    done = _finished(command, b"", package=package, hint=hint, env=env, cwd=cwd)
    output, errors = _text(done.stdout), _text(done.stderr)
    if check and done.returncode:
        _fail(command, problem, cause(done.returncode, errors, output), hint)
    return subprocess.CompletedProcess(done.args, done.returncode, output, errors)


def convert(command: Sequence[str], data: bytes, *, package: str = "") -> bytes:
    """Send ``data`` through a program and return its output. Raises OperatorError as ``run``."""
    done = _finished(command, data, package=package)
    if done.returncode:
        _fail(command, "", cause(done.returncode, _text(done.stderr)), "")
    return done.stdout


def cause(status: int, errors: str, output: str = "") -> str:
    """Return on one line why a program failed: its first errors, else the start of its messages.

    ``output`` counts if there are no messages in ``errors``, and ``status`` if there are none at all.
    """
    lines = [line.strip() for line in (errors.strip() or output).splitlines() if line.strip()]
    found = [line for line in lines if _ERROR.search(line) and not _REMARK.match(line)]
    told = dict.fromkeys(_LABEL.sub("", line) for line in found or lines)
    if told:
        return "; ".join(list(told)[:MOST_ERRORS])
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def search_path() -> str:
    """Return the PATH for other programs: ours, then the folders of the system's programs."""
    return ":".join(filter(None, (os.environ.get("PATH", os.defpath), SYSTEM_FOLDERS)))


def is_installed(program: str) -> bool:
    """Return True if ``run`` finds ``program``."""
    return shutil.which(program, path=search_path()) is not None


def check_installed(packages: Mapping[str, str]) -> None:
    """Raise OperatorError for a program of ``packages`` that is not installed.

    ``packages`` gives the Debian package of each program.
    """
    for program, package in packages.items():
        if not is_installed(program):
            raise _not_installed(program, package)


def _finished(
    command: Sequence[str],
    data: bytes,
    *,
    package: str,
    hint: str = "",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[bytes]:
    pipe = subprocess.PIPE
    environment = {**os.environ, "PATH": search_path(), **ENGLISH, **(env or {})}
    try:
        with subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, cwd=cwd
        ) as process:
            give_way(process.pid)
            try:
                output, errors = process.communicate(data)
            except BaseException:
                process.kill()
                raise
            return subprocess.CompletedProcess(command, process.returncode, output, errors)
    except FileNotFoundError as error:
        if error.filename != command[0]:
            raise  # the folder ``cwd`` is missing: a bug
        raise _not_installed(command[0], package, hint) from None
    except PermissionError as error:
        problem = f"{command[0]} cannot be started"
        raise OperatorError(f"{problem}: {error.strerror}", hint=hint) from None


def _not_installed(program: str, package: str, hint: str = "") -> OperatorError:
    install = f"sudo apt install {package}" if package else hint
    return OperatorError(f"{program} is not installed", hint=install)


def _fail(command: Sequence[str], problem: str, why: str, hint: str) -> None:
    if not problem:
        text = shlex.join([Path(command[0]).name, *command[1:]])
        problem = f"{textwrap.shorten(text, COMMAND_CHARACTERS, placeholder=' ...')} failed"
    raise FailedError(f"{problem}: {why}", hint=hint)


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
