"""Run a program that takes minutes, and follow what it prints.

It runs in namespaces of its own: what it mounts, and each process that it leaves behind, are gone
when it ends or is interrupted. So its folder can be removed without harm to what was mounted there.
"""

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from netboot.errors import OperatorError
from netboot.host.programs import ENGLISH, cause, check_installed, search_path

APART = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
CHUNK = 1 << 16
KEPT_BYTES = 1 << 18  # of the output, for the cause of a failure


def follow(
    command: Sequence[str],
    heard: Callable[[bytes], None] = lambda chunk: None,
    *,
    problem: str,
    hint: str = "",
    package: str = "",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> None:
    """Run a program to its end and pass its output on in chunks. ``env`` is added to ours.

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
            raise
    if status:
        text = kept.replace(b"\r", b"\n").decode(errors="replace")
        raise OperatorError(f"{problem}: {cause(status, text)}", hint=hint)
