"""The panel of a server as a child process, which may fail and end without harm to the room."""

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import time
from collections import deque
from pathlib import Path

from netboot.cli.ending import REPORT
from netboot.cli.panel_command import Panel, open_state
from netboot.errors import Exit
from netboot.host.privileges import command_without
from netboot.host.scheduling import give_way
from netboot.host.text import printable

log = logging.getLogger(__name__)

HANDED_ON = "NETBOOT_PANEL"  # in the environment: process, descriptor and mark of a panel
OWN = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", HANDED_ON)  # of the server alone
TOLD = (Exit.FAILED, Exit.USAGE)  # of a command that has told in a line why it cannot work
FIRST_SECONDS, MOST_SECONDS, MISTAKE_SECONDS = 1.0, 300.0, 60.0  # until a panel is started again
HEALTHY_SECONDS = 60.0  # after which a panel that ends is no longer one that fails at its start
HELD_SECONDS = 0.5  # in which a line may turn out to be the reason for the end
STOP_SECONDS = 0.7
NICE, OOM_SCORE = 5, 500  # pages and DHCP come first, and the panel is killed first
MAX_LINES, MAX_CHARACTERS = 20, 300
LINE_BYTES = 4096


def _handed_on() -> tuple[int, int, str] | None:
    """Return process, descriptor and mark of the panel that the program before has left."""
    words = os.environ.pop(HANDED_ON, "").split()
    if len(words) != 3:
        return None
    pid, output = int(words[0]), int(words[1])
    with contextlib.suppress(OSError):
        os.set_inheritable(output, False)
    return pid, output, words[2]


def end_former() -> None:
    """End the panel that the program before has left, if this one is to have none."""
    found = _handed_on()
    if found is not None:
        pid, output, _ = found
        with contextlib.suppress(OSError):
            os.close(output)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


class PanelProcess:
    """Runs a panel for as long as the server runs. Starts it again if it ends."""

    def __init__(self, panel: Panel, state: Path) -> None:
        self._panel = panel
        self._state = state
        self._pid = 0
        self._output = -1  # the reading end of a pipe that has what the panel says
        self._rest = b""
        self._lines: deque[str] = deque(maxlen=MAX_LINES)
        self._told = ""  # the last reason for an end
        self._running: asyncio.Task[None] | None = None
        self._hands_on = False

    def start(self) -> None:
        """Start the panel in a moment, or take over the one that the program before left."""
        self._running = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End the panel."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)
            try:
                await asyncio.wait_for(self._ended(), STOP_SECONDS)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._pid, signal.SIGKILL)
                await self._ended()
        self._close()

    def hand_on(self) -> None:
        """Leave the panel to the program that replaces this one, also one that is started meanwhile."""
        self._hands_on = True
        if self._pid:
            self._pass_on(self._pid)
            os.set_inheritable(self._output, True)
            os.environ[HANDED_ON] = f"{self._pid} {self._output} {self._panel.mark}"

    def keep(self) -> None:
        """Keep the panel after all: no program has replaced this one."""
        self._hands_on = False
        if os.environ.pop(HANDED_ON, ""):
            os.set_inheritable(self._output, False)

    async def _run(self) -> None:
        failures = 0
        while True:
            begin = time.monotonic()
            if not await self._adopt():
                try:
                    self._begin()
                except OSError as error:
                    self._tell(f"it cannot be started: {error.strerror}", MOST_SECONDS)
                    await asyncio.sleep(MOST_SECONDS)
                    continue
            status = await self._ended()
            if time.monotonic() - begin >= HEALTHY_SECONDS:
                failures, self._told = 0, ""
            again = min(FIRST_SECONDS * 2**failures, MOST_SECONDS)
            again = max(again, MISTAKE_SECONDS) if status == Exit.USAGE else again
            self._tell(self._reason(status), again)
            self._close()
            failures += 1
            await asyncio.sleep(again)

    def _begin(self) -> None:
        """Start the process. Raises OSError."""
        open_state(self._panel, self._state)
        user = self._panel.user
        command = command_without(
            None if user is None else (user.pw_name, user.pw_gid), self._panel.command
        )
        environment = {key: value for key, value in os.environ.items() if key not in OWN}
        reading, writing = os.pipe()
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                env={**environment, **self._panel.environment},
                start_new_session=True,
            )
        except OSError:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        process.returncode = 0  # we wait for it ourselves, also after an upgrade
        give_way(process.pid, NICE)
        with contextlib.suppress(OSError):
            Path(f"/proc/{process.pid}/oom_score_adj").write_text(str(OOM_SCORE))
        self._watch(process.pid, reading)
        if self._hands_on:
            self.hand_on()

    async def _adopt(self) -> bool:
        """Take over the panel of the program before. A panel that is another one by now is ended."""
        found = _handed_on()
        if found is None:
            return False
        pid, output, mark = found
        self._watch(pid, output)
        if mark == self._panel.mark:
            return True
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        await self._ended()
        self._close()
        return False

    def _watch(self, pid: int, output: int) -> None:
        self._pid, self._output, self._rest = pid, output, b""
        self._lines.clear()
        os.set_blocking(output, False)
        asyncio.get_running_loop().add_reader(output, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._output, LINE_BYTES)
        except OSError:
            return
        if not data:
            asyncio.get_running_loop().remove_reader(self._output)
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[-LINE_BYTES:]
        told = [printable(line.decode("utf-8", "replace"), MAX_CHARACTERS) for line in lines]
        own = (line.strip().removeprefix("netboot: ") for line in told)
        self._lines.extend(line for line in own if line)
        if lines:
            asyncio.get_running_loop().call_later(HELD_SECONDS, self._pass_on, self._pid)

    def _pass_on(self, pid: int) -> None:
        """Log what a panel says that runs on."""
        while pid == self._pid and self._lines:
            log.warning("panel: %s", self._lines.popleft())

    async def _ended(self) -> int | None:
        """Wait until the process has ended. Return its status, None if that is not known."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        try:
            descriptor = os.pidfd_open(self._pid)
        except ProcessLookupError:
            return self._reaped()
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
        return self._reaped()

    def _reaped(self) -> int | None:
        pid, self._pid = self._pid, 0
        with contextlib.suppress(ChildProcessError):
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return None

    def _reason(self, status: int | None) -> str:
        self._read()
        lines = list(self._lines)
        self._lines.clear()
        if status in TOLD and lines and REPORT not in lines[-1]:
            return "; ".join(lines)
        if status is not None and status < 0:
            return f"killed by {signal.Signals(-status).name}"
        said = f": {lines[-1]}" if lines else ""
        return f"it ended{'' if status is None else f' with status {status}'}{said}"

    def _tell(self, reason: str, again: float) -> None:
        """Tell why there is no panel, once for each reason."""
        if reason != self._told:
            self._told = reason
            log.warning("no panel: %s; retried in %.0f s; the room is served", reason, again)

    def _close(self) -> None:
        # Its number may be another file's in a moment, and nobody may take that one over.
        os.environ.pop(HANDED_ON, "")
        if self._output >= 0:
            asyncio.get_running_loop().remove_reader(self._output)
            os.close(self._output)
            self._output = -1
