"""Run a program that takes minutes, and follow what it prints.

It runs in namespaces of its own: what it mounts, and each process that it leaves behind, are gone
when it ends or is interrupted. So its folder can be removed without harm to what was mounted there.
"""

import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from netboot.errors import OperatorError
from netboot.host.programs import ENGLISH, cause, check_installed, search_path

APART = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
CHUNK = 1 << 16
KEPT_BYTES = 1 << 18  # of the output, for the cause of a failure
# A file system of its own is seen only in these namespaces.
IN_ROOT = """
root=$1; shift
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
exec "$@"
"""


def follow(
    command: Sequence[str],
    heard: Callable[[bytes], None] = lambda chunk: None,
    *,
    problem: str,
    hint: str = "",
    package: str = "",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    errors: str = "",
) -> None:
    """Run a program to its end and pass its output on in chunks. ``env`` is added to ours.

    ``errors``: the expression of lines that tell a failure, if the output has many others.

    Raises OperatorError if it fails ("``problem``: cause") or is not installed, naming its Debian
    ``package``. Any other exception, such as KeyboardInterrupt, kills it with all its children.
    """
    check_installed({"unshare": "util-linux", command[0]: package})
    environment = {**os.environ, "PATH": search_path(), **ENGLISH, **(env or {})}
    kept = b""
    with subprocess.Popen(
        [*APART, "--", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        cwd=cwd,
    ) as process:
        assert process.stdout is not None
        try:
            while chunk := os.read(process.stdout.fileno(), CHUNK):
                heard(chunk)
                kept = (kept + chunk)[-KEPT_BYTES:]
            status = process.wait()
        except BaseException:
            process.kill()
            while os.read(process.stdout.fileno(), CHUNK):  # until its last child is gone
                pass
            raise
    if status:
        text = kept.replace(b"\r", b"\n").decode(errors="replace")
        told = [line for line in text.splitlines() if errors and re.search(errors, line)]
        text = "\n".join(told) or text
        raise OperatorError(f"{problem}: {cause(status, text)}", hint=hint)


def in_root(root: Path, command: Sequence[str], *, problem: str, env: Mapping[str, str]) -> None:
    """Run a program of the system in the folder ``root``. Raises OperatorError as ``follow``."""
    around(root, ["chroot", str(root), *command], problem=problem, env=env)


def around(root: Path, command: Sequence[str], *, problem: str, env: Mapping[str, str]) -> None:
    """Run a program of ours that works on the folder ``root``, with /proc and /run mounted there.

    Raises OperatorError as ``follow``.
    """
    script = ["sh", "-euc", IN_ROOT, "sh", str(root), *command]
    follow(script, problem=problem, env=env)
