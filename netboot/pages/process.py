"""A worker process as its parent sees it: start, send messages, restart after a crash, stop."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from netboot.pages import control

log = logging.getLogger(__name__)

# A worker that dies at its start must not be restarted in a busy loop.
RESTART_SECONDS = 0.5
LONG_LIFE_SECONDS = 2.0
# A SIGTERM may be for the whole process group, ourselves included. Then it is no news.
TERMINATED_SECONDS = 0.5
STOP_SECONDS = 0.5
RETRY_SECONDS = 0.01
KILLED_SECONDS = 1.0
# A worker that is stopped, or waits for a disk, answers nobody. Pings are counted, and not seconds:
# the control plane may have been stopped as well.
PING_SECONDS = 1.0
MAX_UNANSWERED = 10


class WorkerProcess:
    """One page worker. ``on_report(message)`` and ``on_death()`` are called in the event loop.

    With a ``folder`` the worker outlives this process; the next server connects to it there.
    """

    def __init__(
        self,
        folder: Path | None,
        on_report: Callable[[control.Message], None],
        on_death: Callable[[], None],
    ) -> None:
        self._folder = folder
        self._meeting: Path | None = None
        self.ready = asyncio.Event()
        self._on_report = on_report
        self._on_death = on_death
        self._told = False  # that it cannot be started
        self._restart: asyncio.TimerHandle | None = None
        self._pinging: asyncio.TimerHandle | None = None
        self._unanswered = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the running worker, or of the one that has just died."""
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self) -> None:
        """Start the process. Messages can be sent at once: they wait in the socket.

        Raises OSError. Without a socket in the folder, which has no room or is gone, the worker
        ends with this process: its PCs attach again then.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with contextlib.ExitStack() as theirs_alone, contextlib.ExitStack() as undo:
            undo.callback(ours.close)
            descriptors = [theirs_alone.enter_context(theirs).fileno()]
            listener = self._listen()
            if listener is not None:
                descriptors.append(theirs_alone.enter_context(listener).fileno())
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", control.WORKER, *map(str, descriptors)],
                stdin=subprocess.DEVNULL,
                pass_fds=descriptors,
            )
            undo.pop_all()
        self._control = ours
        self._born = time.monotonic()
        self._alive = True
        asyncio.get_running_loop().add_reader(self._control, self._readable)

    def _listen(self) -> socket.socket | None:
        self._meeting = None
        if self._folder is None:
            return None
        try:
            listener, name = control.listen(self._folder)
        except OSError as error:
            log.warning(
                "pages: %s: no socket for a worker: %s; make room there: its PCs attach again when "
                "this server is upgraded or ends",
                self._folder,
                error.strerror,
            )
            return None
        self._meeting = self._folder / name
        return listener

    def _start_again(self) -> None:
        """Start the process, and try again until it can be started."""
        try:
            self.start()
        except OSError as error:
            if not self._told:
                self._told = True
                log.error("pages: cannot start a worker: %s; trying again", error)
            self._start_in(RESTART_SECONDS)
        else:
            self._told = False

    def _start_in(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._restart = loop.call_later(seconds, self._start_again)

    async def send(self, message: control.Message, descriptors: Sequence[int] = ()) -> None:
        """Send a message, to the next process if this one is dead. The caller sets a time limit."""
        while True:
            if self._alive:
                with contextlib.suppress(BlockingIOError, ConnectionError):
                    control.send(self._control, message, descriptors)
                    return
            await asyncio.sleep(RETRY_SECONDS)

    def _readable(self) -> None:
        try:
            received = control.receive(self._control)
        except BlockingIOError:
            return
        except ConnectionError:
            received = None
        if received is not None:
            self._unanswered = 0
            self._report(received[0])
            return
        self._end()
        status = self._reap()
        if status == -signal.SIGTERM:
            loop = asyncio.get_running_loop()
            self._restart = loop.call_later(TERMINATED_SECONDS, self._died, status)
        else:
            self._died(status)

    def _report(self, message: control.Message) -> None:
        match message["event"]:
            case "ready":
                self.ready.set()
                if message.get("ping"):
                    self._ping()
            case "pong":
                pass
            case _:
                self._on_report(message)

    def _ping(self) -> None:
        """Ping the process every second, and kill it if it does not answer."""
        if self._unanswered == MAX_UNANSWERED:
            assert self._process is not None, "it was ready"
            log.error(
                "page worker %d left %d pings unanswered; killing it", self.pid, MAX_UNANSWERED
            )
            self._process.kill()  # its socket tells when it is dead
            return
        self._unanswered += 1
        with contextlib.suppress(OSError):  # a full socket: the worker reads nothing
            control.send(self._control, {"do": "ping"})
        self._pinging = asyncio.get_running_loop().call_later(PING_SECONDS, self._ping)

    def _died(self, status: int) -> None:
        log.error("page worker %d died, status %s", self.pid, status)
        lived = time.monotonic() - self._born
        delay = 0 if lived > LONG_LIFE_SECONDS else RESTART_SECONDS
        self._restart = asyncio.get_running_loop().call_later(delay, self._start_again)
        self._on_death()

    def _end(self) -> None:
        self._alive = False
        self._unanswered = 0
        if self._pinging is not None:
            self._pinging.cancel()
        asyncio.get_running_loop().remove_reader(self._control)
        self._control.close()
        if self._meeting is not None:
            with contextlib.suppress(OSError):
                self._meeting.unlink()

    def _reap(self) -> int:
        assert self._process is not None
        self._process.kill()  # its socket is closed, so it exits anyway
        return self._process.wait()

    async def stop(self) -> None:
        """Stop the process and its connections, within STOP_SECONDS."""
        if self._restart is not None:
            self._restart.cancel()
        if self._process is None:
            return
        if self._alive:
            # Without this message the worker would serve on, as after a crash of ours.
            with contextlib.suppress(OSError):
                control.send(self._control, {"do": "stop"})
            self._end()
        deadline = time.monotonic() + STOP_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            await asyncio.sleep(RETRY_SECONDS)
        self._reap()


async def collect(
    worker: socket.socket, take: Callable[[control.Message, Sequence[int]], Awaitable[None]]
) -> None:
    """Make a worker of another process give its clients to ``take`` and exit.

    Returns when the worker has exited. ``descriptors`` are closed after each call of ``take``.
    """
    loop, descriptor = asyncio.get_running_loop(), worker.fileno()
    worker.setblocking(False)
    readable = asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        # One without clients ends by itself, perhaps between our connection and this order.
        control.send(worker, {"do": "leave"})
        while True:
            await readable.wait()
            readable.clear()
            with contextlib.suppress(BlockingIOError):
                while received := control.receive(worker):
                    message, descriptors = received
                    try:
                        if message["event"] == "moved":
                            await take(message, descriptors)
                    finally:
                        for each in descriptors:
                            os.close(each)
                return
    except ConnectionError:
        return
    finally:
        loop.remove_reader(descriptor)


async def kill(worker: socket.socket) -> None:
    """Kill a worker of another process that does not answer, and wait until it is dead.

    It may have been stopped or frozen in front of a client's request. If it went on later, it would
    write pages that are older than those that our own workers have stored meanwhile.
    """
    process = control.process_of(worker)
    if process is None:
        with contextlib.suppress(OSError):
            control.send(worker, {"do": "stop"})
        return
    loop, dead = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(process, dead.set)
    try:
        signal.pidfd_send_signal(process, signal.SIGKILL)
        # A slow disk may keep it from its end. The kernel may finish a call of it even then, so its
        # page files stay locked until it is dead (stores/folder.py).
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KILLED_SECONDS):
                await dead.wait()
    finally:
        loop.remove_reader(process)
        os.close(process)
