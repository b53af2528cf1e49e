"""The desk's threads, and reads that the loop finds done itself."""

import os
import threading
import time
from collections.abc import Callable

import pytest

from netboot.pages.nbd.backing import Desk as DeskProtocol
from netboot.pages.nbd.backing import Operation, Order, SlowFile
from netboot.pages.worker.desk import LOOK_SECONDS, THREADS_OF_A_FILE, WATCHED_OF_A_FILE, Desk
from tests.support.two_ways import ArrayFile

PATIENCE_SECONDS = 60.0


class Gated(ArrayFile):
    """A file whose methods wait for a gate; reads that do not wait find what is ``cached``."""

    __hash__ = object.__hash__

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.cached = False
        self.looks = True
        self.waiting: list[int] = []

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self.waiting.append(offset)
        assert self.gate.wait(PATIENCE_SECONDS)
        super().read_into(offset, buffer)

    def trim(self, offset: int, length: int) -> None:
        self.waiting.append(offset)
        assert self.gate.wait(PATIENCE_SECONDS)
        super().trim(offset, length)

    def read_now(self, offset: int, buffer: memoryview) -> None:
        if not self.cached:
            raise BlockingIOError
        super().read_into(offset, buffer)

    def write_now(self, offset: int, data: memoryview) -> None:
        raise BlockingIOError

    def submit(self, order: Order, desk: DeskProtocol) -> None:
        desk.employ(self, order, looks=order.operation is Operation.READ and self.looks)


def read(at: int) -> Order:
    return Order(Operation.READ, at * 4096, 4096, memoryview(bytearray(4096)))


def taken(desk: Desk, count: int) -> list[Order]:
    """Return the orders that are done, when there are ``count``."""
    found: list[Order] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(found) < count:
        assert time.monotonic() < deadline
        found += desk.take()
    return found


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def looks_again(desk: Desk) -> bool:
    return desk.looks_again


def test_few_reads_are_watched_and_the_loop_finds_the_others() -> None:
    desk, pages = Desk(), Gated()
    orders = [read(at) for at in range(20)]
    for order in orders:
        pages.submit(order, desk)
    wait_for(lambda: len(pages.waiting) == WATCHED_OF_A_FILE)
    assert desk.take() == []
    assert looks_again(desk)
    pages.cached = True
    time.sleep(LOOK_SECONDS)
    assert set(desk.take()) == set(orders[WATCHED_OF_A_FILE:])
    assert not looks_again(desk)
    pages.gate.set()
    assert set(taken(desk, WATCHED_OF_A_FILE)) == set(orders[:WATCHED_OF_A_FILE])
    assert len(pages.waiting) == WATCHED_OF_A_FILE
    desk.close()


def test_reads_without_a_cache_are_done_by_threads() -> None:
    desk, pages = Desk(), Gated()
    pages.looks = False
    orders = [read(at) for at in range(20)]
    for order in orders:
        pages.submit(order, desk)
    wait_for(lambda: len(pages.waiting) == THREADS_OF_A_FILE)
    pages.gate.set()
    assert set(taken(desk, 20)) == set(orders)
    desk.close()


def test_a_file_that_stands_still_leaves_threads_to_others() -> None:
    desk, still, other = Desk(), Gated(), Gated()
    other.gate.set()
    stuck = [Order(Operation.TRIM, at * 4096, 4096) for at in range(30)]
    for order in stuck:
        still.submit(order, desk)
    wait_for(lambda: len(still.waiting) == THREADS_OF_A_FILE)
    done = Order(Operation.TRIM, 0, 4096)
    other.submit(done, desk)
    assert taken(desk, 1) == [done]
    for order in stuck[10:]:
        order.abandoned = True
    still.gate.set()
    assert set(taken(desk, 30)) == set(stuck)
    assert len(still.waiting) <= 10 + THREADS_OF_A_FILE
    desk.close()


def test_an_order_may_be_done_after_the_end() -> None:
    """The loop took its pages before the thread came to wake it."""
    desk = Desk()
    desk.close()
    desk.done(read(0))
    descriptor = desk.descriptor
    del desk
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_an_error_comes_with_its_order() -> None:
    desk, pages = Desk(), Gated()
    pages.gate.set()
    pages.broken = range(8192)
    orders = [read(0), Order(Operation.TRIM, 4096, 4096)]
    for order in orders:
        pages.submit(order, desk)
    assert all(isinstance(order.error, OSError) for order in taken(desk, 2))
    desk.close()


def test_a_file_has_what_the_worker_looks_for() -> None:
    assert isinstance(Gated(), SlowFile)
    assert not isinstance(ArrayFile(), SlowFile)
