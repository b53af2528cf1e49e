"""The worker processes as the server sees them: started, given transfers, started anew."""

import asyncio
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable

from netboot.serve.tftp import handover
from netboot.serve.tftp.handover import Ended, Job

log = logging.getLogger(__name__)

RESTART_SECONDS = 0.5  # what cannot even start must not be started as fast as it dies


class Worker:
    """One worker process. ``on_ended`` hears of every transfer that it was given."""

    def __init__(self, on_ended: Callable[[Ended], None], on_death: Callable[["Worker"], None]):
        self._on_ended = on_ended
        self._on_death = on_death
        self._restart: asyncio.TimerHandle | None = None
        self.transfers: set[int] = set()
        self._start()

    def _start(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setblocking(False)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "netboot.serve.tftp.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        asyncio.get_running_loop().add_reader(self._socket, self._readable)

    @property
    def pid(self) -> int:
        """Process id of the running worker, or of the one that just died."""
        return self._process.pid

    def give(self, job: Job, transfer: socket.socket, file: int) -> bool:
        """Hands a transfer over; False if the worker is dead or does not keep up."""
        try:
            handover.send_job(self._socket, job, transfer, file)
        except OSError:
            return False
        self.transfers.add(job.number)
        return True

    def _readable(self) -> None:
        try:
            ended = handover.receive_ended(self._socket)
        except BlockingIOError:
            return
        except ConnectionError:
            ended = None
        if ended is not None:
            self.transfers.discard(ended.number)
            self._on_ended(ended)
            return
        self._close()
        log.error("TFTP worker %d died, status %s", self.pid, self._process.wait())
        self._restart = asyncio.get_running_loop().call_later(RESTART_SECONDS, self._start)
        self._on_death(self)

    def _close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def stop(self) -> None:
        """Ends the process and what it has under way."""
        if self._restart is not None:
            self._restart.cancel()
        if self._socket.fileno() >= 0:
            self._close()
        self._process.kill()
        self._process.wait()


def number_of_workers() -> int:
    """One for each CPU that this process may use."""
    return len(os.sched_getaffinity(0))
