"""Who starts and stops the server on this machine: systemd, or nobody and then we do."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Protocol

from netboot.deploy import layout
from netboot.errors import OperatorError
from netboot.host.programs import run

SYSTEMD_RUNS = Path("/run/systemd/system")  # sd_booted(3)
STOP_SECONDS = 10.0
POLL_SECONDS = 0.05
EXEC_SECONDS = 1.0  # execve(2) of a server shows an empty command line for 4 to 7 ms (measured)


class Supervisor(Protocol):
    """Each method raises OperatorError if it cannot be done."""

    name: str

    def install(self, unit: str) -> None:
        """Has the server start with the machine, if that is possible here."""

    def start(self) -> None:
        """Starts the server, which is not running."""

    def restart(self) -> None:
        """Stops and starts it."""

    def stop(self) -> None:
        """Stops the server if it runs; it keeps the pages of seats."""

    def pid(self) -> int | None:
        """The server's process id while it runs."""

    def remove(self) -> None:
        """Undoes ``install``."""


def supervisor() -> Supervisor:
    """The one of this machine."""
    return Systemd() if SYSTEMD_RUNS.is_dir() else Detached()


class Systemd:
    """The unit ``netboot.service``."""

    name = "systemd"

    def install(self, unit: str) -> None:
        if not layout.UNIT.exists() or layout.UNIT.read_text() != unit:
            layout.UNIT.write_text(unit)
            _systemctl("daemon-reload")
        _systemctl("enable", "--quiet", layout.SERVICE)

    def start(self) -> None:
        # It returns when the server says that it serves, or has failed to.
        _systemctl("start", layout.SERVICE)

    def restart(self) -> None:
        _systemctl("restart", layout.SERVICE)

    def stop(self) -> None:
        if layout.UNIT.exists():
            _systemctl("stop", layout.SERVICE)

    def pid(self) -> int | None:
        shown = _systemctl("show", "--property=MainPID", "--value", layout.SERVICE)
        return int(shown) or None

    def remove(self) -> None:
        if layout.UNIT.exists():
            _systemctl("disable", "--quiet", "--now", layout.SERVICE)
            layout.UNIT.unlink()
            _systemctl("daemon-reload")


class Detached:
    """A process of its own, without anybody to start it anew: for machines without systemd."""

    name = "no systemd"

    def install(self, unit: str) -> None:
        pass

    def start(self) -> None:
        with layout.LOG.open("ab") as log:
            process = subprocess.Popen(
                [*layout.serve_command(), "--user", layout.USER],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )
        layout.PID_FILE.write_text(f"{process.pid}\n")

    def restart(self) -> None:
        self.stop()
        self.start()

    def stop(self) -> None:
        pid = self.pid()
        if pid is None:
            return
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while self.pid() == pid:
            if time.monotonic() > deadline:
                raise OperatorError(f"the server, process {pid}, does not stop")
            time.sleep(POLL_SECONDS)

    def pid(self) -> int | None:
        # A number may be another process's by now: ours has the server's command line.
        with contextlib.suppress(OSError, ValueError, ChildProcessError):
            pid = int(layout.PID_FILE.read_text())
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # if we started it, it may be ours to bury
            if str(layout.PROFILE).encode() in _command_line(pid):
                return pid
        return None

    def remove(self) -> None:
        self.stop()
        layout.PID_FILE.unlink(missing_ok=True)


def _command_line(pid: int) -> list[bytes]:
    """Of a process. Raises OSError if there is none."""
    proc = Path(f"/proc/{pid}")
    deadline = time.monotonic() + EXEC_SECONDS
    while True:
        words = (proc / "cmdline").read_bytes()
        ended = (proc / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
        # One that goes over to another program has none for a moment, and is not gone.
        if words or ended or time.monotonic() > deadline:
            return words.split(b"\0")
        time.sleep(EXEC_SECONDS / 1000)


def _systemctl(*words: str) -> str:
    return run(["systemctl", *words], hint=f"journalctl -u {layout.SERVICE}").stdout.strip()
