"""The orders of a swap area that its page file has under way. They have no socket and no thread.

Changes of the same pages are done in the order in which they came: a later one begins when those
before it are done. A change whose connection has ended is *late* until it is done: no newer
connection of the area may be answered before, and nobody else may get the page file.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from netboot.boot.limits import NBD_UNDER_WAY
from netboot.pages.nbd.backing import Desk, Operation, Order, SlowFile

# Memory of a read under way, beside its pages: so short reads are limited, too.
READ_BYTES = 1024


class Owner(Protocol):
    """The side that waits for a task."""

    def arrive(self, task: "Task") -> None:
        """Note that ``task`` is done."""


@dataclass(slots=True, eq=False)
class Task(Order):
    """An order of a connection. ``purpose`` is what its ``owner`` wants it for.

    ``retried``: it waited for room, so requests that wait still may be newer.
    """

    owner: Owner | None = None
    purpose: object = None
    retried: bool = False
    tasks: "Tasks | None" = None
    begun: bool = False
    finished: bool = False

    def overlaps(self, offset: int, length: int) -> bool:
        """Return whether a range has bytes of this order."""
        return self.offset < offset + length and offset < self.offset + self.length


class Tasks:
    """The tasks of one area, whose page file is ``pages``.

    ``changed`` is called with begin and end of a range that a change has taken from older requests
    that wait. ``late`` is the number of changes under way that nobody waits for. The reads under way take
    ``reading`` bytes, at most ``allowance`` and one read for each connection.
    """

    def __init__(self, pages: SlowFile, desk: Desk, changed: Callable[[int, int], None]) -> None:
        self._pages = pages
        self._desk = desk
        self._changed = changed
        self._changes: list[Task] = []  # in the order in which they came
        self._closing = False
        self._under_way: dict[Task, None] = {}  # in the order in which they came
        self.late = 0
        self.reading = 0
        self.allowance = NBD_UNDER_WAY.per_address or 0
        self.read_now = pages.read_now

    @property
    def under_way(self) -> int:
        """The number of tasks that are not done."""
        return len(self._under_way)

    @property
    def oldest(self) -> Task | None:
        """The task under way that came first."""
        return next(iter(self._under_way), None)

    def write_now(self, offset: int, data: memoryview) -> None:
        """Write at once. Raises BlockingIOError if that would wait, also for another change."""
        if self._changes and self.conflicts(offset, len(data)):
            raise BlockingIOError
        self._pages.write_now(offset, data)

    def conflicts(self, offset: int, length: int) -> bool:
        """Return whether a change of the range would have to wait for another one."""
        return any(each.overlaps(offset, length) for each in self._changes)

    def may_read(self, length: int) -> bool:
        """Return whether there is memory for one more read."""
        return self.reading + length + READ_BYTES <= self.allowance

    def submit(self, task: Task) -> None:
        """Begin a task, or let it wait for the changes before it. ``settle`` follows."""
        task.tasks = self
        self._under_way[task] = None
        if task.changes:
            waits = self.conflicts(task.offset, task.length)
            self._changes.append(task)
            if waits:
                return
        elif task.operation is Operation.READ:
            self.reading += task.length + READ_BYTES
        self._begin(task)

    def _begin(self, task: Task) -> None:
        task.begun = True
        self._pages.submit(task, self._desk)

    def settle(self, task: Task) -> None:
        """Note that a task is done; tell its owner, and begin the changes that waited for it."""
        del self._under_way[task]
        task.finished = True
        if task.changes:
            self._changes.remove(task)
            if task.error is None and not task.retried:
                self._changed(task.offset, task.offset + task.length)
            self._begin_next(task)
        elif task.operation is Operation.READ:
            self.reading -= task.length + READ_BYTES
        if task.owner is not None:
            task.owner.arrive(task)
        elif task.changes:
            self.late -= 1
        if self._closing and not self._under_way:
            self._pages.close()

    def _begin_next(self, done: Task) -> None:
        for at, each in enumerate(self._changes):
            if not each.begun and each.overlaps(done.offset, done.length):
                before = self._changes[:at]
                if not any(other.overlaps(each.offset, each.length) for other in before):
                    self._begin(each)

    def abandon(self, task: Task) -> None:
        """Give up a task whose connection has ended. It never begins if it has not begun."""
        task.owner, task.abandoned = None, True
        if task.begun:
            self.late += task.changes
        else:
            del self._under_way[task]
            self._changes.remove(task)
            self._begin_next(task)

    def close(self) -> None:
        """Close the page file, after the last task."""
        if self._under_way:
            self._closing = True
        else:
            self._pages.close()
