"""Shell functions of the initramfs, run by dash and, if there is one, by busybox as on a PC."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests import ROOT

INITRAMFS = ROOT / "initramfs"
SHELLS = [["sh"]] + ([["busybox", "sh"]] if shutil.which("busybox") else [])
# Variables that a PC has when its server is known.
BEFORE = "server=http://10.0.0.1:8080 ticket=abc\n"

# Stands in for wget: notes the URL and the posted text, and fails while the server is "down".
WGET = """#!/bin/sh
[ ! -e "$RUN/down" ] || exit 1
while [ "$1" != --post-file ]; do shift; done
echo "$3 $(tr '\\n' ' ' <"$2")" >>"$RUN/posted"
"""
# busybox takes its own applets before any program of the PATH.
TIMEOUT = 'timeout() { shift 2; "$run/wget" "$@"; }'


def run(
    shell: Sequence[str], text: str, environment: Mapping[str, str], wrapper: Sequence[str] = ()
) -> str:
    """Return what ``text`` prints after lib.sh. Raises AssertionError if it prints an error.

    ``wrapper``: the command before the shell's own, such as unshare(1).
    """
    done = subprocess.run(
        [*wrapper, *shell, "-c", f"set -u\n. {INITRAMFS / 'lib.sh'}\n{text}"],
        check=False,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    return done.stdout


class Lib:
    """A runner of shell text after lib.sh, with a /proc and a /run of its own."""

    def __init__(self, shell: list[str], folder: Path) -> None:
        self.shell, self.folder = shell, folder
        (folder / "beacons").mkdir()
        (folder / "wget").write_text(WGET)
        (folder / "wget").chmod(0o755)
        self.uptime("7.05")

    def uptime(self, seconds: str) -> None:
        (self.folder / "uptime").write_text(f"{seconds} 1.00\n")

    def run(self, text: str, command_line: str = "") -> str:
        (self.folder / "cmdline").write_text(command_line + "\n")
        environment = {
            "proc": str(self.folder),
            "sys": str(self.folder),
            "run": str(self.folder),
            "RUN": str(self.folder),
        }
        return run(self.shell, f"{TIMEOUT}\n{text}\n", environment)

    def posted(self) -> list[str]:
        path = self.folder / "posted"
        return path.read_text().splitlines() if path.exists() else []
