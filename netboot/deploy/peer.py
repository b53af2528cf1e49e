"""Another server over SSH: scripts that run there, and files that rsync brings there.

rsync and OpenSSH do this better than code of ours: rsync continues a file that was interrupted,
sends no block twice, and checks what has arrived. Both are programs of the operator's, with the
keys and settings of ~/.ssh/config. No password is asked for.
"""

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from netboot.errors import FailedError, NobodyError, OperatorError
from netboot.host.programs import ENGLISH, check_installed
from netboot.host.scheduling import give_way

PACKAGES = {"rsync": "rsync", "ssh": "openssh-client"}
CONNECT_SECONDS, SILENT_SECONDS = 10, 30  # without an answer; a peer that hangs ends the command
# A name of SSH, not an option of ssh or a path of rsync.
HOST = re.compile(r"(?:[\w.-]+@)?\w[\w.-]*", re.ASCII)

_OPTIONS = (
    *("-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_SECONDS}"),
    *("-o", f"ServerAliveInterval={SILENT_SECONDS // 3}", "-o", "ServerAliveCountMax=3"),
)
_DONE = re.compile(r"^\s*[\d,]+\s+(\d+)%")
_SENT = re.compile(r"^Literal data: (\d+)", re.MULTILINE)
_UNREACHABLE = 255  # exit status of ssh, and of rsync if ssh ends so
_NO_PROGRAM = (12, 127)  # exit statuses of rsync
_SILENT = (10, 30, 35)

# $1: folder, $2: file, $3: mode, $4: bytes. A connection that ends early must not make a short file.
# A spare copy of other content must not take its place (netboot.serve.secret).
_PUT = """[ "$3" != 600 ] || umask 077
mkdir -p "$1"; umask 077; aside=$1/.$2.new; cat >"$aside"
[ "$(wc -c <"$aside")" -eq "$4" ] || { rm "$aside"; echo "$2 has not arrived whole" >&2; exit 1; }
if cmp -s "$aside" "$1/$2"; then rm "$aside"; exit; fi
chown --reference "$1" "$aside"; chmod "$3" "$aside"
sync "$aside"; rm -f "$1/.$2.spare"; mv -f "$aside" "$1/$2"; sync "$1"; echo changed"""


class Peer:
    """The server ``host``, reached by the command ``ssh`` and its options."""

    def __init__(self, host: str, ssh: Sequence[str] = ("ssh",)) -> None:
        if HOST.fullmatch(host) is None:
            raise OperatorError(f"HOST: expected root@10.0.0.2 or a name of SSH, found {host!r}")
        check_installed(PACKAGES)
        self.host = host
        self._ssh = [*ssh, *_OPTIONS]

    def run(self, script: str, *arguments: str, data: bytes = b"") -> str:
        """Run a script with sh there, with ``data`` as its input; return its output.

        Raises OperatorError.
        """
        words = shlex.join(["env", "LC_ALL=C", "sh", "-euc", script, "sh", *arguments])
        status, output, errors = self._finished([*self._ssh, self.host, words], data)
        if status:
            raise self._failed(status, errors)
        return output

    def put(self, path: Path, content: bytes, mode: int) -> bool:
        """Give a small file there this content, in one step. Return True if it had another.

        Its owner is that of its folder. Raises OperatorError.
        """
        words = (str(path.parent), path.name, f"{mode:o}", str(len(content)))
        return self.run(_PUT, *words, data=content) != ""

    def send(
        self, names: Sequence[str], folder: Path, target: Path, tell: Callable[[int, int], None],
        *, like: str = "",
    ) -> int:  # fmt: skip
        """Send the files ``names`` of ``folder`` to the folder ``target`` there.

        Continue files that have arrived in part. ``like`` is a folder beside ``target`` whose equal
        files are copied there. ``tell`` gets the percent that are done, and 100. Return the bytes
        that were sent. Raises OperatorError; what has arrived stays.
        """
        command = ["rsync", "--mkpath", "--recursive", "--times", "--perms", "--chmod=D755,F644"]
        # In place: what has arrived is where the next run finds it, however this one ends.
        command += ["--inplace", "--protect-args", f"--timeout={SILENT_SECONDS}"]
        command += ["--checksum", f"--copy-dest=../{like}/"] if like else []
        command += ["--info=progress2", "--stats", "--no-human-readable", "--files-from=-"]
        command += ["--rsh", shlex.join(self._ssh), f"{folder}/", f"{self.host}:{target}/"]
        listed = "".join(f"{name}\n" for name in names).encode()
        status, output, errors = self._finished(command, listed, tell)
        if status:
            raise self._failed(status, errors)
        found = _SENT.search(output)
        return int(found[1]) if found else 0

    def _finished(
        self, command: Sequence[str], data: bytes, tell: Callable[[int, int], None] | None = None
    ) -> tuple[int, str, str]:
        """Run a program; return its status, output and errors. ``tell`` as for ``send``."""
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, env={**os.environ, **ENGLISH}
        ) as process:
            give_way(process.pid)
            try:
                if tell is None:
                    output, errors = process.communicate(data)
                else:
                    output, errors = _followed(process, data, tell)
            except BaseException:
                process.terminate()
                raise
        return process.returncode, output.decode(errors="replace"), errors.decode(errors="replace")

    def _failed(self, status: int, errors: str) -> OperatorError:
        """Return the failure of ssh or rsync, or of a script there."""
        # rsync's last line names its own source file.
        told = [each.strip() for each in errors.splitlines() if each.strip()]
        told = [each for each in told if not each.startswith("rsync error:")] or told
        cause = told[-1] if told else f"exit status {status}"
        if "No space left on device" in errors:
            return FailedError(
                f"{self.host}: no room there: {cause}", hint=f"make room there, {_AGAIN}"
            )
        if status in _NO_PROGRAM and "not found" in errors:
            return OperatorError(
                f"{self.host}: rsync is not installed there",
                hint=f"ssh {self.host} apt install rsync",
            )
        if status == _UNREACHABLE or status in _SILENT or "connection unexpectedly" in errors:
            return NobodyError(
                f"{self.host} does not answer over SSH: {cause}", hint=self._remedy(errors)
            )
        hint = "connect as root: root@HOST" if "Permission denied" in errors else ""
        return FailedError(f"{self.host}: {cause}", hint=hint)

    def _remedy(self, errors: str) -> str:
        if "Permission denied" in errors:
            return f"ssh-copy-id {self.host}"
        if "Host key verification failed" in errors:
            return f"connect once by hand: ssh {self.host}"
        return f"is it switched on, and does 'ssh {self.host}' work? Then {_AGAIN}"


_AGAIN = "run the same command again: it goes on from here"


def _followed(
    process: "subprocess.Popen[bytes]", data: bytes, tell: Callable[[int, int], None]
) -> tuple[bytes, bytes]:
    """Give a program its input, and tell the percents in its output. Return output and errors.

    The input is a list of names, shorter than a pipe; the errors are a few lines.
    """
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    process.stdin.write(data)
    process.stdin.close()
    output = b""
    while piece := os.read(process.stdout.fileno(), 1 << 16):
        output = (output + piece)[-(1 << 16) :]
        done = _DONE.match(output.rsplit(b"\r", 1)[-1].decode(errors="replace"))
        if done:
            tell(int(done[1]), 100)
    return output, process.stderr.read()
