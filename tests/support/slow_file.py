"""Page files that take their time: what they are asked for is done when a test says so."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from netboot.pages.nbd.backing import Desk, Order, PageFile, perform
from netboot.pages.worker.tasks import Task
from tests.support.faulty_store import FaultyFile
from tests.support.two_ways import ArrayFile


class Shelf:
    """A desk without threads."""

    def __init__(self) -> None:
        self._done: list[Order] = []

    def done(self, order: Order) -> None:
        self._done.append(order)

    def employ(self, pages: object, order: Order, *, looks: bool = False) -> None:
        raise AssertionError("no thread is needed")

    def settle(self) -> None:
        """Tell the owners of all that is done."""
        while self._done:
            task = self._done.pop(0)
            assert isinstance(task, Task) and task.tasks is not None
            task.tasks.settle(task)


def complete(pages: PageFile, order: Order) -> None:
    """Do an order, as a thread does."""
    try:
        perform(pages, order)
    except Exception as error:  # noqa: BLE001 - told with the order
        order.error = error


@dataclass
class SlowArray(ArrayFile):
    """An ArrayFile that does at once only what ``prompt`` says; its orders wait in ``orders``."""

    prompt: bool = False
    orders: list[tuple[Order, Desk]] = field(default_factory=list)

    def read_now(self, offset: int, buffer: memoryview) -> None:
        if not self.prompt:
            raise BlockingIOError
        self.read_into(offset, buffer)

    def write_now(self, offset: int, data: memoryview) -> None:
        if not self.prompt:
            raise BlockingIOError
        self.write(offset, data)

    def submit(self, order: Order, desk: Desk) -> None:
        for other, _ in self.orders:
            overlap = other.offset < order.offset + order.length
            overlap &= order.offset < other.offset + other.length
            assert not (overlap and other.changes and order.changes)
        self.orders.append((order, desk))

    def complete(self, at: int = 0) -> None:
        """Do one of the orders."""
        order, desk = self.orders.pop(at)
        complete(self, order)
        desk.done(order)


class Stalled(FaultyFile):
    """A slow file over ``pages`` whose orders of the page at 0 wait for ``release``.

    All others are done at once, and writes wait only with ``writes``.
    """

    def __init__(self, pages: PageFile, *, writes: bool = False) -> None:
        super().__init__(pages)
        self.writes = writes
        self.held: list[tuple[Order, Desk]] = []
        self.closed = False

    def view(self, offset: int, length: int) -> memoryview | None:
        return None

    def read_now(self, offset: int, buffer: memoryview) -> None:
        raise BlockingIOError

    def write_now(self, offset: int, data: memoryview) -> None:
        if self.writes:
            raise BlockingIOError
        self.write(offset, data)

    def submit(self, order: Order, desk: Desk) -> None:
        if order.length and order.offset == 0:
            self.held.append((order, desk))
        else:
            complete(self.pages, order)
            desk.done(order)

    def release(self, error: Exception | None = None) -> None:
        """Do what is held, or let it fail with ``error``."""
        while self.held:
            order, desk = self.held.pop(0)
            if error is None:
                complete(self.pages, order)
            order.error = order.error or error
            desk.done(order)

    def descriptors(self) -> Sequence[int]:
        return self.pages.descriptors()

    def close(self) -> None:
        self.closed = True
        super().close()
