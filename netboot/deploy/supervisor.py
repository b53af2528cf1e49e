"""Start and stop the server on this machine: by systemd, or ourselves if there is none.

systemd runs the panel as well, as a user of its own. Without systemd it is a child of the server.
"""

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
    """The way to start and stop the server. Each method raises OperatorError if it fails."""

    name: str

    def install(self, unit: str) -> None:
        """Have the server start with the machine, if that is possible here."""

    def install_panel(self, unit: str) -> None:
        """Have the panel run by ``unit``, if that is possible here; an empty one removes it."""

    def restart_panel(self) -> None:
        """Begin to start the panel, if it is installed, with the release of now."""

    def start(self) -> None:
        """Start the server, which does not run."""

    def restart(self) -> None:
        """Stop and start the server."""

    def stop(self) -> None:
        """Stop the server if it runs; it keeps the pages of seats."""

    def pid(self) -> int | None:
        """Return the server's process id, or None if it does not run."""

    def remove(self) -> None:
        """Undo ``install``."""


def supervisor() -> Supervisor:
    """Return the supervisor of this machine."""
    return Systemd() if SYSTEMD_RUNS.is_dir() else Detached()


class Systemd:
    """The unit ``netboot.service``."""

    name = "systemd"

    def install(self, unit: str) -> None:
        if not layout.UNIT.exists() or layout.UNIT.read_text() != unit:
            layout.UNIT.write_text(unit)
            _systemctl("daemon-reload")
        _systemctl("enable", "--quiet", layout.SERVICE)

    def install_panel(self, unit: str) -> None:
        if not unit:
            self._remove(layout.PANEL_UNIT, layout.PANEL_SERVICE)
            return
        if not layout.PANEL_UNIT.exists() or layout.PANEL_UNIT.read_text() != unit:
            layout.PANEL_UNIT.write_text(unit)
            _systemctl("daemon-reload")
        _systemctl("enable", "--quiet", layout.PANEL_SERVICE)

    def restart_panel(self) -> None:
        if layout.PANEL_UNIT.exists():
            _systemctl("restart", "--no-block", layout.PANEL_SERVICE)

    def start(self) -> None:
        # Returns after the server has reported that it serves, or has failed.
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
        self._remove(layout.PANEL_UNIT, layout.PANEL_SERVICE)
        self._remove(layout.UNIT, layout.SERVICE)

    def _remove(self, unit: Path, service: str) -> None:
        if unit.exists():
            _systemctl("disable", "--quiet", "--now", service)
            unit.unlink()
            _systemctl("daemon-reload")


class Detached:
    """A process that nothing restarts after a crash, for machines without systemd."""

    name = "no systemd"

    def install(self, unit: str) -> None:
        pass

    def install_panel(self, unit: str) -> None:
        pass

    def restart_panel(self) -> None:
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
                raise OperatorError(f"server process {pid} ignores SIGTERM for {STOP_SECONDS:g} s")
            time.sleep(POLL_SECONDS)

    def pid(self) -> int | None:
        # Another process may have the number by now: ours has the server's command line.
        with contextlib.suppress(OSError, ValueError, ChildProcessError):
            pid = int(layout.PID_FILE.read_text())
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # if we started it, we must reap it
            if str(layout.PROFILE).encode() in _command_line(pid):
                return pid
        return None

    def remove(self) -> None:
        self.stop()
        layout.PID_FILE.unlink(missing_ok=True)


def _command_line(pid: int) -> list[bytes]:
    """Return the command line of a process. Raises OSError if there is none."""
    proc = Path(f"/proc/{pid}")
    deadline = time.monotonic() + EXEC_SECONDS
    while True:
        words = (proc / "cmdline").read_bytes()
        ended = (proc / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
        # During execve(2) a process has none for a moment, and has not ended.
        if words or ended or time.monotonic() > deadline:
            return words.split(b"\0")
        time.sleep(EXEC_SECONDS / 1000)


def _systemctl(*words: str) -> str:
    return run(["systemctl", *words], hint=f"journalctl -u {layout.SERVICE}").stdout.strip()
