"""Where a worker waits for disks: threads, and an eventfd that wakes the epoll loop.

A thread costs 30 microseconds of CPU for each read. So threads only watch a few reads, the oldest of
each page file, and when one of them has its pages the loop looks whether others have theirs, by
reads that do not wait (docs/adr/0019-disk-reads-without-waiting.md).
"""

import contextlib
import os
import threading
import time
import weakref
from collections import Counter, deque
from dataclasses import dataclass

from netboot.pages.nbd.backing import Order, SlowFile, perform

THREADS = 16
# Of one page file: another one may be on a disk that answers.
THREADS_OF_A_FILE = 4
WATCHED = 4
WATCHED_OF_A_FILE = 1
# The loop stops to look after so many reads that still wait: the others are younger.
LOOKS = 8
# If no watched read ends, the loop looks after this time.
LOOK_SECONDS = 0.001


@dataclass(slots=True, eq=False)
class _Job:
    pages: SlowFile
    order: Order
    watched: bool = False
    over: bool = False


class Desk:
    """Orders that are under way. The loop may call all methods, other threads only ``done``.

    A thread may still say ``done`` on a closed desk: the loop has taken the order before the thread came
    to wake it. So the descriptor is closed when no thread has the desk any more.

    ``take`` may return something only if the desk was ``woken`` or has ``reads``.
    """

    def __init__(self) -> None:
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        weakref.finalize(self, os.close, self.descriptor).atexit = False
        self._done: deque[Order] = deque()
        self.woken = False
        self.reads: deque[_Job] = deque()  # the oldest first
        self._look_at = 0.0
        self._watched: Counter[SlowFile] = Counter()
        # Shared with the threads, under the lock. The file whose turn it is comes first.
        self._changed = threading.Condition()
        self._jobs: dict[SlowFile, deque[_Job]] = {}
        self._running: Counter[SlowFile] = Counter()
        self._threads = self._idle = self._waiting = 0
        self._closed = False

    @property
    def looks_again(self) -> bool:
        """True if a read is under way that no thread watches: ``take`` should follow soon."""
        return any(not job.watched for job in self.reads)

    def done(self, order: Order) -> None:
        """Note that ``order`` is done, and wake the loop."""
        self._done.append(order)
        if not self.woken:
            self.woken = True
            os.eventfd_write(self.descriptor, 1)

    def employ(self, pages: SlowFile, order: Order, *, looks: bool = False) -> None:
        """Do an order by a thread; with ``looks`` by the loop, if it finds the pages first."""
        job = _Job(pages, order)
        if looks:
            self.reads.append(job)
            self._watch(job)
        else:
            self._hire(job)

    def take(self) -> list[Order]:
        """Return the orders that are done now."""
        looks = bool(self.reads) and (self.woken or time.monotonic() >= self._look_at)
        if self.woken:
            self.woken = False
            with contextlib.suppress(BlockingIOError):  # its writer is about to write
                os.eventfd_read(self.descriptor)
        if looks:
            self._look()
        done = []
        while self._done:
            done.append(self._done.popleft())
        return done

    def close(self) -> None:
        """End the threads that have nothing to do. All orders are done."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    # Reads.

    def _look(self) -> None:
        """Complete the reads whose pages have come, and have others watched instead."""
        left: list[_Job] = []
        looks, self._look_at = 0, time.monotonic() + LOOK_SECONDS
        while self.reads and looks < LOOKS:
            job = self.reads.popleft()
            if job.watched:
                if job.over:
                    _take_off(self._watched, job.pages)
                else:
                    left.append(job)
            elif job.order.abandoned or _has_come(job):
                self._done.append(job.order)
            else:
                looks += 1
                left.append(job)
        self.reads.extendleft(reversed(left))
        for job in left:
            if not job.watched:
                self._watch(job)

    def _watch(self, job: _Job) -> None:
        if self._watched[job.pages] < WATCHED_OF_A_FILE and self._watched.total() < WATCHED:
            self._watched[job.pages] += 1
            job.watched = True
            self._hire(job)

    # Threads.

    def _hire(self, job: _Job) -> None:
        with self._changed:
            self._jobs.setdefault(job.pages, deque()).append(job)
            self._waiting += 1
            if self._waiting > self._idle and self._threads < THREADS:
                self._threads += 1
                threading.Thread(target=self._work, name="disk", daemon=True).start()
            else:
                self._changed.notify()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            if not job.order.abandoned:
                try:
                    perform(job.pages, job.order)
                except Exception as error:  # noqa: BLE001 - the loop raises it where it is told
                    job.order.error = error
            with self._changed:
                _take_off(self._running, job.pages)
                self._changed.notify()  # one of its file may begin
            job.over = True
            self.done(job.order)

    def _next(self) -> _Job | None:
        """Wait for a job, of each file in turn; None at the end."""
        with self._changed:
            self._idle += 1
            try:
                while not self._closed:
                    for pages, jobs in self._jobs.items():
                        if self._running[pages] < THREADS_OF_A_FILE:
                            job = jobs.popleft()
                            del self._jobs[pages]
                            if jobs:
                                self._jobs[pages] = jobs  # behind the others
                            self._running[pages] += 1
                            self._waiting -= 1
                            return job
                    self._changed.wait()
                return None
            finally:
                self._idle -= 1


def _take_off(count: Counter[SlowFile], pages: SlowFile) -> None:
    """Count one less, and forget a file that has none: it may be closed."""
    count[pages] -= 1
    if not count[pages]:
        del count[pages]


def _has_come(job: _Job) -> bool:
    """Complete a read if its pages are there; return whether it is done."""
    order = job.order
    try:
        job.pages.read_now(order.offset, order.data)
    except BlockingIOError:
        return False
    except Exception as error:  # noqa: BLE001 - likewise
        order.error = error
    return True
