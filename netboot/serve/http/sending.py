"""sendfile(2) in threads: the event loop stays free, and more than one CPU sends.

If a socket accepts all its data, one call stays in the kernel for a millisecond and more, without
Python's lock. With 32 downloads over a veth pair each call sent 3.3 MB.
"""

import asyncio
import contextlib
import os
import select
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass

from netboot.host.scheduling import give_way

MAX_THREADS = 4
_ONCE = select.EPOLLOUT | select.EPOLLONESHOT  # wakes one thread only


@dataclass(slots=True)
class _Job:
    """The unsent part of one file. It owns both descriptors."""

    connection: int
    file: int
    offset: int
    count: int
    ended: Callable[[OSError | None], None]


class Senders:
    """A thread for each CPU, up to four. Each serves any connection that is ready.

    The threads start with the first file, when the process has dropped its privileges already.
    """

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._jobs: dict[int, _Job] = {}  # by their connection
        self._counting = threading.Lock()
        self._sent = 0
        self._epoll = select.epoll()
        self._end = os.eventfd(0)
        self._epoll.register(self._end, select.EPOLLIN)

    @property
    def sent(self) -> int:
        """The bytes that were sent since the begin."""
        return self._sent

    @property
    def under_way(self) -> int:
        """The number of files that are sent now."""
        return len(self._jobs)

    async def send(self, connection: socket.socket, file: int, offset: int, count: int) -> None:
        """Send ``count`` bytes of ``file``, from ``offset`` on.

        Raises ConnectionError. If the call is cancelled, the connection is shut down.
        """
        if not self._threads:
            self._start()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def settle(failure: OSError | None) -> None:
            if done.cancelled():
                return
            if failure is None:
                done.set_result(None)
            else:
                done.set_exception(failure)

        def ended(failure: OSError | None) -> None:
            loop.call_soon_threadsafe(settle, failure)

        job = _Job(os.dup(connection.fileno()), os.dup(file), offset, count, ended)
        self._jobs[job.connection] = job
        self._epoll.register(job.connection, _ONCE)
        try:
            await done
        except asyncio.CancelledError:
            with contextlib.suppress(OSError):  # the connection has ended already
                connection.shutdown(socket.SHUT_RDWR)
            raise

    def stop(self) -> None:
        """End the threads, and abort their downloads."""
        os.eventfd_write(self._end, 1)
        for thread in self._threads:
            thread.join()
        for job in list(self._jobs.values()):
            self._close(job, ConnectionAbortedError("the server stops"))
        self._epoll.close()
        os.close(self._end)

    def _start(self) -> None:
        for _ in range(min(len(os.sched_getaffinity(0)), MAX_THREADS)):
            thread = threading.Thread(target=self._run, name="http sender", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self) -> None:
        # PCs on the same machine (netboot lab) get the CPU to read (docs/measurements/boot.md).
        give_way()
        while True:
            ((descriptor, _),) = self._epoll.poll(maxevents=1)
            if descriptor == self._end:
                return
            self._turn(self._jobs[descriptor])

    def _turn(self, job: _Job) -> None:
        """Send as much as the connection accepts."""
        try:
            sent = os.sendfile(job.connection, job.file, job.offset, job.count)
        except BlockingIOError:
            sent = None
        except OSError as error:
            # A PC that was switched off or takes nothing is "timed out" or "no route to host".
            lost = isinstance(error, ConnectionError)
            self._close(job, error if lost else ConnectionAbortedError(error.strerror))
            return
        if sent:
            with self._counting:
                self._sent += sent
        if sent is not None:
            job.offset, job.count = job.offset + sent, job.count - sent
        if not job.count:
            self._close(job, None)
        elif sent == 0:
            self._close(job, ConnectionAbortedError("the file has become shorter"))
        else:
            self._epoll.modify(job.connection, _ONCE)

    def _close(self, job: _Job, failure: OSError | None) -> None:
        self._epoll.unregister(job.connection)
        del self._jobs[job.connection]
        os.close(job.connection)
        os.close(job.file)
        job.ended(failure)
