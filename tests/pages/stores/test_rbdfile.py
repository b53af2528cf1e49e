"""A page file in Ceph, over a played librbd: orders, what becomes of errors, who has an image open."""

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from netboot.pages.nbd.backing import (
    Busy,
    Damaged,
    Fenced,
    NumberedFile,
    Operation,
    Order,
    SlowFile,
)
from netboot.pages.stores import rbdfile
from netboot.pages.stores.librbd import BLOCKLISTED, Access, Started
from netboot.pages.stores.rbdfile import RbdFile, describe, described

ACCESS = Access("netboot", "[global]\n", "key", "swap", "")


class PlayedImage:
    """An image whose operations are done when a test says so."""

    def __init__(self, cluster: "PlayedCluster") -> None:
        self.cluster = cluster
        self.started: list[Order] = []
        self.results: list[tuple[int, int]] = []
        self.closed = False

    def own(self) -> None:
        self.cluster.calls.append("own")
        self.cluster.noted += self.cluster.rivals.pop(0) if self.cluster.rivals else 0

    def set_number(self) -> int:
        return self.cluster.noted

    def note_set(self, number: int) -> None:
        self.cluster.may_note.wait(10)
        if self.cluster.note_error is not None:
            raise self.cluster.note_error
        self.cluster.noted = number

    def notify(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def start(self, order: Order) -> Started:
        self.started.append(order)
        return Started(len(self.started), None)

    def complete(self, number: int, result: int = 0) -> None:
        self.results.append((number, result))
        os.eventfd_write(self.descriptor, 1)

    def poll(self) -> Iterator[tuple[int, int]]:
        while self.results:
            yield self.results.pop(0)

    def close(self) -> None:
        self.closed = True


class PlayedCluster:
    """All connections of this class, and what the next ``open`` raises.

    ``noted`` is the number in the image, which goes up by that of a rival when the lock is taken.
    """

    made: list["PlayedCluster"] = []  # noqa: RUF012 - of one test
    errors: list[OSError] = []  # noqa: RUF012 - likewise
    rivals: list[int] = []  # noqa: RUF012 - likewise
    noted = 0
    note_error: OSError | None = None
    may_note = threading.Event()

    def __init__(self, access: Access) -> None:
        self.access = access
        self.fenced, self.images, self.closed = False, 0, False
        self.calls: list[str] = []
        self.opened: list[PlayedImage] = []
        self.made.append(self)

    def open(self, name: str) -> PlayedImage:
        if self.errors:
            raise self.errors.pop()
        self.opened.append(PlayedImage(self))
        return self.opened[-1]

    def close(self) -> None:
        self.closed = True


class Place:
    """A desk that notes."""

    def __init__(self) -> None:
        self.orders: list[Order] = []

    def done(self, order: Order) -> None:
        self.orders.append(order)

    def employ(self, pages: SlowFile, order: Order, *, looks: bool = False) -> None:
        raise AssertionError("no thread is needed")


@pytest.fixture(autouse=True)
def played(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rbdfile, "Cluster", PlayedCluster)
    monkeypatch.setattr(rbdfile, "OPEN_AGAIN_SECONDS", 0.001)
    monkeypatch.setattr(PlayedCluster, "made", [])
    monkeypatch.setattr(PlayedCluster, "errors", [])
    monkeypatch.setattr(PlayedCluster, "rivals", [])
    monkeypatch.setattr(PlayedCluster, "may_note", threading.Event())
    PlayedCluster.may_note.set()


@pytest.fixture
def pages() -> Iterator[RbdFile]:
    found = described(describe(ACCESS, "a"), 8192)
    yield found
    found.close()


def until(is_so: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.001)


def image_of(number: int = 0) -> PlayedImage:
    until(lambda: len(PlayedCluster.made) > number and PlayedCluster.made[number].opened)
    return PlayedCluster.made[number].opened[0]


def read_order() -> Order:
    return Order(Operation.READ, 0, 4096, memoryview(bytearray(4096)))


def test_the_description_has_all_that_a_worker_needs() -> None:
    descriptor = describe(ACCESS, "a")
    found = described(descriptor, 8192)
    assert isinstance(found, NumberedFile)
    assert (found._access, found._name, found.size_bytes) == (ACCESS, "a", 8192)
    assert list(found.descriptors()) == [descriptor]
    found.close()


def test_orders_wait_for_the_image_and_come_back_in_any_order(pages: RbdFile) -> None:
    desk, orders = Place(), [read_order(), Order(Operation.TRIM, 4096, 4096)]
    for order in orders:
        pages.submit(order, desk)
    image = image_of()
    until(lambda: image.started == orders)
    assert image.cluster.calls == ["own"]
    image.complete(2)
    image.complete(1, 4096)
    until(lambda: len(desk.orders) == 2)
    assert desk.orders == [orders[1], orders[0]]
    assert [each.error for each in orders] == [None, None]


@pytest.mark.parametrize(
    ("result", "kind"),
    [
        (-errno.ENOSPC, Busy),
        (-errno.EDQUOT, Busy),
        (-BLOCKLISTED, Fenced),
        (-errno.EROFS, Fenced),
        (-errno.EIO, OSError),
        (100, Damaged),
    ],
)
def test_errors_say_what_to_do(pages: RbdFile, result: int, kind: type[Exception]) -> None:
    desk = Place()
    pages.submit(read_order(), desk)
    image = image_of()
    until(lambda: image.started)
    image.complete(1, result)
    until(lambda: desk.orders)
    assert isinstance(desk.orders[0].error, kind)


def test_a_fenced_connection_is_used_by_no_later_page_file(pages: RbdFile) -> None:
    desk = Place()
    pages.submit(read_order(), desk)
    image = image_of()
    until(lambda: image.started)
    image.complete(1, -BLOCKLISTED)
    until(lambda: desk.orders)
    later = described(describe(ACCESS, "a"), 8192)
    later.submit(read_order(), desk)
    assert image_of(1).cluster is not image.cluster
    until(lambda: image_of(1).started)
    image_of(1).complete(1, 4096)
    until(lambda: len(desk.orders) == 2)
    assert desk.orders[1].error is None
    later.close()


def test_an_image_that_cannot_be_opened_yet_is_waited_for(pages: RbdFile) -> None:
    PlayedCluster.errors += [OSError(errno.ETIMEDOUT, "x"), OSError(BLOCKLISTED, "y")]
    desk = Place()
    pages.submit(read_order(), desk)
    until(lambda: any(each.opened for each in PlayedCluster.made))
    assert desk.orders == []
    assert PlayedCluster.made[0].closed


def test_an_image_that_is_gone_is_damage(pages: RbdFile) -> None:
    PlayedCluster.errors += [OSError(errno.ENOENT, "no such file")]
    with pytest.raises(Damaged, match="its image a is gone"):
        pages.flush()
    with pytest.raises(Damaged):  # the next one as well
        pages.flush()


def test_two_page_files_of_a_process_share_the_image(pages: RbdFile) -> None:
    desk, other = Place(), described(describe(ACCESS, "a"), 8192)
    pages.submit(read_order(), desk)
    other.submit(read_order(), desk)
    image = image_of()
    until(lambda: len(image.started) == 2)
    other.close()
    assert not image.closed
    assert not image.cluster.closed
    for number in (1, 2):
        image.complete(number, 4096)
    until(lambda: len(desk.orders) == 2)


def test_the_last_one_closes_image_and_connection() -> None:
    found = described(describe(ACCESS, "a"), 8192)
    waiting = threading.Thread(target=found.flush)
    waiting.start()
    image = image_of()
    until(lambda: image.started)
    image.complete(1)
    waiting.join()
    found.close()
    until(lambda: image.closed and image.cluster.closed)


def test_orders_of_a_set_wait_until_the_image_has_its_number(pages: RbdFile) -> None:
    desk = Place()
    pages.enter(5)
    pages.submit(read_order(), desk)
    image = image_of()
    until(lambda: image.started)
    assert image.cluster.noted == 5
    PlayedCluster.may_note.clear()
    pages.enter(4)
    pages.submit(read_order(), desk)
    assert len(image.started) == 2, "an older set changes nothing"
    pages.enter(6)
    pages.enter(7)
    pages.submit(read_order(), desk)
    image.complete(1, 4096)
    until(lambda: desk.orders)
    assert len(image.started) == 2
    PlayedCluster.may_note.set()
    until(lambda: len(image.started) == 3)
    assert image.cluster.noted == 7


def test_an_image_that_a_newer_set_has_had_is_left_alone(
    pages: RbdFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PlayedCluster, "noted", 6)
    desk = Place()
    pages.enter(5)
    pages.submit(read_order(), desk)
    until(lambda: desk.orders)
    assert isinstance(desk.orders[0].error, Fenced)
    image = image_of()
    assert image.closed and not image.started and image.cluster.calls == []
    later = described(describe(ACCESS, "a"), 8192)
    later.enter(7)
    later.submit(read_order(), desk)
    until(lambda: image_of(1).started)
    later.close()


def test_a_newer_set_that_comes_just_before_the_lock_keeps_the_pages(pages: RbdFile) -> None:
    PlayedCluster.rivals.append(6)
    desk = Place()
    pages.enter(5)
    pages.submit(read_order(), desk)
    until(lambda: desk.orders)
    assert isinstance(desk.orders[0].error, Fenced)
    image = image_of()
    assert image.closed and not image.started
    assert (image.cluster.calls, image.cluster.noted) == (["own"], 6)


def test_a_set_that_cannot_be_noted_because_another_server_has_the_image_is_fenced(
    pages: RbdFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Place()
    pages.enter(5)
    pages.submit(read_order(), desk)
    image = image_of()
    until(lambda: image.started)
    monkeypatch.setattr(PlayedCluster, "note_error", OSError(BLOCKLISTED, "blocklisted"))
    pages.enter(6)
    pages.submit(read_order(), desk)
    until(lambda: desk.orders)
    assert isinstance(desk.orders[0].error, Fenced)
    assert image.cluster.fenced
    image.complete(1, -BLOCKLISTED)
    until(lambda: len(desk.orders) == 2)


def test_a_page_file_that_is_closed_while_its_number_is_noted_closes_the_image() -> None:
    found, desk = described(describe(ACCESS, "a"), 8192), Place()
    found.submit(read_order(), desk)
    image = image_of()
    until(lambda: image.started)
    image.complete(1, 4096)
    until(lambda: desk.orders)
    PlayedCluster.may_note.clear()
    found.enter(1)
    found.close()
    assert not image.closed
    PlayedCluster.may_note.set()
    until(lambda: image.closed and image.cluster.closed)


def test_a_page_file_that_nobody_uses_lets_the_image_go_until_the_next_set() -> None:
    found, desk = described(describe(ACCESS, "a"), 8192), Place()
    found.enter(5)
    image = image_of()
    found.rest()
    until(lambda: image.closed and image.cluster.closed)
    found.enter(6)
    again = image_of(1)
    until(lambda: again.cluster.noted == 6)
    found.submit(read_order(), desk)
    until(lambda: again.started)
    again.complete(1, 4096)
    until(lambda: desk.orders)
    found.close()


def test_an_image_is_opened_again_only_when_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its worker would break its own lock, and fence all of its seats."""
    found, may_close = described(describe(ACCESS, "a"), 8192), threading.Event()
    found.enter(5)
    image = image_of()
    until(lambda: image.cluster.noted == 5)
    close = image.close

    def slow() -> None:
        may_close.wait(60)
        close()

    monkeypatch.setattr(image, "close", slow)
    found.rest()
    found.enter(6)
    assert len(image.cluster.opened) == 1
    may_close.set()
    until(lambda: image.closed)
    until(lambda: sum(len(each.opened) for each in PlayedCluster.made) == 2)
    found.close()
