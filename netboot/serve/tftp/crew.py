"""The worker processes as the server sees them: start, hand over transfers, restart."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable

from netboot.serve.tftp import handover
from netboot.serve.tftp.handover import Ended, Job, Stuck

log = logging.getLogger(__name__)

RESTART_SECONDS = 0.5  # a worker that dies at its start must not be restarted in a tight loop


class Worker:
    """One worker process, restarted if it dies.

    ``on_heard`` is called with the number of each transfer when it is acknowledged for the first
    time, ``on_stuck`` with that of each one whose first packet does not seem to arrive, ``on_ended``
    for every transfer that has ended. ``on_death`` is called with this object when the process has
    died; ``transfers`` then are the ones that were lost.
    """

    def __init__(
        self,
        on_heard: Callable[[int], None],
        on_stuck: Callable[[int], None],
        on_ended: Callable[[Ended], None],
        on_death: Callable[["Worker"], None],
    ):
        self._on_heard = on_heard
        self._on_stuck = on_stuck
        self._on_ended = on_ended
        self._on_death = on_death
        self._restart: asyncio.TimerHandle | None = None
        self._told = False  # that it cannot be started
        self.transfers: set[int] = set()
        self._start()

    def _start(self) -> None:
        """Start the process. Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with contextlib.ExitStack() as undo, theirs:
            undo.callback(ours.close)
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "netboot.serve.tftp.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
            undo.pop_all()
        self._socket = ours
        asyncio.get_running_loop().add_reader(self._socket, self._readable)

    @property
    def pid(self) -> int:
        """The process id of the running worker, or of the one that just died."""
        return self._process.pid

    def give(self, job: Job, transfer: socket.socket, file: int) -> bool:
        """Hand over a transfer. Return False if the worker is dead or its queue is full."""
        try:
            handover.send_job(self._socket, job, transfer, file)
        except OSError:
            return False
        self.transfers.add(job.number)
        return True

    def drop(self, number: int) -> bool:
        """Have an unproven transfer end. Return False if the worker cannot be told."""
        try:
            handover.send_drop(self._socket, number)
        except OSError:
            return False
        return True

    def _readable(self) -> None:
        try:
            report = handover.receive_report(self._socket)
        except BlockingIOError:
            return
        except ConnectionError:
            report = None
        if isinstance(report, int):
            self._on_heard(report)
            return
        if isinstance(report, Stuck):
            self._on_stuck(report.number)
            return
        if report is not None:
            self.transfers.discard(report.number)
            self._on_ended(report)
            return
        self._close()
        status = self._process.wait()
        self._start_later(status)
        if status != -signal.SIGTERM:
            self._tell(status)
        self._on_death(self)

    def _start_later(self, status: int) -> None:
        loop = asyncio.get_running_loop()
        self._restart = loop.call_later(RESTART_SECONDS, self._start_again, status)

    def _start_again(self, status: int) -> None:
        """Start the process, and try again until it can be started."""
        # A SIGTERM may have been for the whole process group, ourselves included: then it is no
        # news, and there is no next start.
        if status == -signal.SIGTERM:
            self._tell(status)
        try:
            self._start()
        except OSError as error:
            if not self._told:
                self._told = True
                log.error("TFTP: cannot start a worker: %s; trying again", error)
            self._start_later(0)
        else:
            self._told = False

    def _tell(self, status: int) -> None:
        log.error("TFTP worker %d died, status %s", self.pid, status)

    def _close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def stop(self) -> None:
        """Kill the process and drop its transfers."""
        if self._restart is not None:
            self._restart.cancel()
        if self._socket.fileno() >= 0:
            self._close()
        self._process.kill()
        self._process.wait()


def number_of_workers() -> int:
    """Return the number of CPUs that this process may use: one worker for each."""
    return len(os.sched_getaffinity(0))
