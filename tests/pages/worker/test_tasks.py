"""Requests under way on a slow page file: any order of their ends keeps what NBD promises."""

import errno
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netboot.pages.nbd.backing import Busy, Damaged, Operation
from netboot.pages.nbd.export import Export
from netboot.pages.worker.buffers import Area
from netboot.pages.worker.tasks import READ_BYTES, Tasks
from tests.support.loop_client import Client
from tests.support.slow_file import Shelf, SlowArray
from tests.support.two_ways import (
    CACHE,
    DISC,
    FLUSH,
    FUA,
    NO_HOLE,
    READ,
    SIZE,
    TRIM,
    WRITE,
    WRITE_ZEROES,
)

KIB = 1 << 10
PAGE = bytes(range(256)) * 16


class Rig:
    """Connections to one area on a slow file."""

    def __init__(self, connections: int = 1, allowance: int = 16 << 20) -> None:
        self.pages, self.shelf = SlowArray(), Shelf()
        self.area = Area("lease", Export("a", SIZE), self.pages, allowance=allowance)
        self.area.tasks = self.tasks = Tasks(self.pages, self.shelf, self.area.done)
        self.clients = [Client(self.pages, area=self.area) for _ in range(connections)]
        self.client = self.clients[0]

    def complete(self, at: int = 0) -> None:
        """Do one order; its connection answers."""
        self.pages.complete(at)
        self.settle()

    def settle(self) -> None:
        """Let all connections answer what is done."""
        self.shelf.settle()
        for client in self.clients:
            client.turn()

    def finish(self) -> None:
        """Do all orders, the oldest first."""
        while self.pages.orders:
            self.complete()


def test_a_read_passes_another_one() -> None:
    rig = Rig()
    rig.pages.data[: 8 * KIB] = PAGE + PAGE[::-1]
    first, second = (rig.client.ask(READ, offset, 4096) for offset in (0, 4096))
    assert not rig.client.replies
    rig.complete(1)
    assert rig.client.replies.keys() == {second}
    rig.complete()
    assert [rig.client.replies[each][12:] for each in (first, second)] == [PAGE, PAGE[::-1]]
    assert rig.client.exchange.idle and rig.tasks.reading == 0


def test_reads_of_the_cache_need_no_order_beside_those_that_wait() -> None:
    rig = Rig()
    waits = rig.client.ask(READ, 0, 4096)
    rig.pages.prompt = True
    assert rig.client.read(4096, 4096) == bytes(4096)
    rig.finish()
    assert rig.client.result(waits) == 0


@pytest.mark.parametrize("length", [512, 4096, 128 * KIB, 512 * KIB])
def test_reads_and_writes_go_on_while_a_write_is_under_way(length: int) -> None:
    rig = Rig()
    write = rig.client.ask(WRITE, 0, length, PAGE[:512] * (length // 512))
    read = rig.client.ask(READ, 600 * KIB, 4096)
    other = rig.client.ask(WRITE, 700 * KIB, 4096, PAGE)
    assert len(rig.pages.orders) == 3
    rig.complete(2)
    rig.complete(1)
    assert rig.client.replies.keys() == {read, other}
    rig.complete()
    assert rig.client.result(write) == 0 and rig.area.held == 0
    assert rig.pages.data[:length] == PAGE[:512] * (length // 512)


@pytest.mark.parametrize("command", [WRITE, TRIM, WRITE_ZEROES])
def test_a_change_of_the_same_pages_begins_after_the_one_before(command: int) -> None:
    rig = Rig(connections=2)
    first = rig.clients[0].ask(WRITE, 0, 8192, PAGE * 2)
    data = PAGE[::-1] if command == WRITE else b""
    second = rig.clients[1].ask(command, 4096, 4096, data)
    rig.pages.prompt = True
    third = rig.clients[1].ask(WRITE, 4096, 512, bytes(512))
    assert len(rig.pages.orders) == 1
    rig.complete()
    assert rig.clients[0].result(first) == 0
    rig.complete()
    rig.complete()
    assert [rig.clients[1].result(each) for each in (second, third)] == [0, 0]
    assert rig.pages.data[:4608] == PAGE + bytes(512)
    assert rig.pages.data[4608:8192] == (data[512:] or bytes(3584))


def test_fua_is_answered_after_the_write_and_then_a_flush() -> None:
    rig = Rig()
    write = rig.client.ask(WRITE, 0, 4096, PAGE, FUA)
    rig.complete()
    assert [order.operation for order, _ in rig.pages.orders] == [Operation.FLUSH]
    assert rig.client.result(write) is None
    rig.complete()
    assert (rig.client.result(write), rig.pages.flushes) == (0, 1)


def test_a_flush_does_not_wait_for_writes_that_were_not_answered() -> None:
    rig = Rig()
    write = rig.client.ask(WRITE, 0, 4096, PAGE)
    flush = rig.client.ask(FLUSH)
    rig.complete(1)
    assert rig.client.replies.keys() == {flush}
    rig.finish()
    assert rig.client.result(write) == 0


def test_errors_and_lost_pages_are_told_in_the_end() -> None:
    rig = Rig()
    rig.pages.broken = range(1)
    asked = [rig.client.ask(READ, 0, 4096), rig.client.ask(WRITE, 0, 4096, PAGE)]
    asked += [rig.client.ask(CACHE, 0, 4096)]
    rig.finish()
    assert [rig.client.result(each) for each in asked] == [errno.EIO] * 3
    rig.client.ask(READ, 4096, 4096)
    order, desk = rig.pages.orders.pop()
    order.error = Damaged("its page file was truncated")
    desk.done(order)
    with pytest.raises(Damaged):
        rig.settle()


def test_without_room_a_write_under_way_waits_aside_and_a_newer_one_takes_its_place() -> None:
    rig = Rig()
    older = rig.client.ask(WRITE, 0, 8192, PAGE * 2)
    newer = rig.client.ask(WRITE, 4096, 4096, PAGE[::-1])
    rig.pages.busy = 1
    rig.complete()
    assert rig.client.result(older) is None and rig.client.exchange.waiting
    assert len(rig.pages.orders) == 1, "the older one leaves the pages to the newer one"
    rig.complete()
    assert rig.client.result(newer) == 0
    rig.finish()
    assert rig.client.result(older) == 0
    assert rig.pages.data[:8192] == PAGE + PAGE[::-1]


def test_reads_under_way_are_bounded_and_each_connection_has_one() -> None:
    rig = Rig(connections=2)
    rig.tasks.allowance = 2 * (4096 + READ_BYTES)
    first, second = rig.clients
    asked = [first.ask(READ, at * 4096, 4096) for at in range(4)]
    assert len(rig.pages.orders) == 2 and first.exchange.blocked
    alone = second.ask(READ, 0, 4096)
    assert len(rig.pages.orders) == 3
    rig.finish()
    assert [first.result(each) for each in asked] == [0] * 4
    assert second.result(alone) == 0


def test_a_write_is_stored_in_place_if_too_much_is_held() -> None:
    rig = Rig(allowance=0)
    write = rig.client.ask(WRITE, 0, 512 * KIB, PAGE * 128)
    read = rig.client.ask(READ, 0, 4096)
    rig.finish()
    assert [rig.client.result(each) for each in (write, read)] == [0, 0]
    assert rig.pages.data[: 512 * KIB] == PAGE * 128


@pytest.mark.parametrize("command", [READ, CACHE])
def test_no_reply_comes_amid_a_long_one(command: int) -> None:
    rig = Rig()
    rig.pages.data[:] = PAGE * (SIZE // 4096)
    short = rig.client.ask(READ, 0, 4096)
    long = rig.client.ask(command, 0, SIZE)
    rig.complete(1)
    rig.complete()
    rig.finish()
    assert rig.client.result(short) == 0
    assert rig.client.result(long) == 0


def test_a_disconnection_comes_after_what_is_under_way() -> None:
    rig = Rig()
    read = rig.client.ask(READ, 0, 4096)
    rig.client.ask(DISC)
    assert not rig.client.exchange.closed
    rig.finish()
    assert (rig.client.result(read), rig.client.exchange.closed) == (0, True)


def test_what_an_ended_connection_left_is_late_until_it_is_done() -> None:
    rig = Rig()
    rig.client.ask(WRITE, 0, 4096, PAGE)
    rig.client.ask(WRITE, 0, 4096, PAGE[::-1])
    rig.client.ask(READ, 0, 4096)
    rig.client.exchange.abandon()
    assert (rig.tasks.late, rig.tasks.under_way, rig.area.held) == (1, 2, 0)
    assert rig.area.is_fenced
    rig.tasks.close()
    rig.complete()
    assert (rig.tasks.late, rig.area.is_fenced) == (0, False)
    rig.complete()
    assert rig.tasks.under_way == 0
    assert rig.pages.data[:4096] == PAGE, "the second one had not begun"


STEPS = st.lists(
    st.tuples(
        st.sampled_from("rrwwwtznfkcccccpb"),
        st.integers(0, 15),
        st.sampled_from([1, 1, 2, 8, 40]),
        st.integers(0, 99),
    ),
    max_size=60,
)


@settings(max_examples=150)
@given(steps=STEPS, connections=st.sampled_from([1, 2]), small=st.booleans())
def test_the_pages_are_what_order_demands(
    steps: list[tuple[str, int, int, int]], connections: int, small: bool
) -> None:
    """A byte model: a read never gets less than what was answered when it was asked."""
    rig = Rig(connections, allowance=64 * KIB if small else 16 << 20)
    if small:
        rig.tasks.allowance = 8 * KIB
    changes: defaultdict[int, list[tuple[object, bytes]]]
    changes = defaultdict(lambda: [(None, bytes(4096))])
    reads: dict[tuple[int, int], tuple[range, dict[int, int]]] = {}
    durable: list[tuple[tuple[int, int], int]] = []

    def answered(key: object) -> bool:
        if key is None:
            return True
        assert isinstance(key, tuple)
        return key[1] in rig.clients[key[0]].replies

    def oldest(block: int) -> int:
        return max(at for at, (key, _) in enumerate(changes[block]) if answered(key))

    def check() -> None:
        for (which, cookie), (blocks, since) in list(reads.items()):
            if answered((which, cookie)):
                del reads[which, cookie]
                reply = rig.clients[which].replies[cookie][12:]
                for at, block in enumerate(blocks):
                    values = [value for _, value in changes[block][since[block] :]]
                    assert reply[at * 4096 : (at + 1) * 4096] in values
        for key, flushes in durable:
            assert not answered(key) or rig.pages.flushes > flushes

    for number, (step, begin, count, chance) in enumerate(steps):
        which = chance % connections
        client, begin = rig.clients[which], begin + 64 * which  # NBD orders no two connections
        blocks = range(begin, begin + count)
        offset, length = begin * 4096, count * 4096
        value = bytes(4096)
        match step:
            case "c":
                if rig.pages.orders:
                    rig.complete(chance % len(rig.pages.orders))
            case "p":
                rig.pages.prompt = not rig.pages.prompt
            case "b":
                rig.pages.busy = chance % 3
            case "r":
                since = {block: oldest(block) for block in blocks}
                reads[which, client.ask(READ, offset, length)] = (blocks, since)
            case "f":
                durable.append(((which, client.ask(FLUSH)), rig.pages.flushes))
            case _:
                if step in "wk":
                    value = number.to_bytes(4, "big") * 1024
                    flags = FUA if step == "k" else 0
                    cookie = client.ask(WRITE, offset, length, value * count, flags)
                    if step == "k":
                        durable.append(((which, cookie), rig.pages.flushes))
                elif step == "t":
                    cookie = client.ask(TRIM, offset, length)
                else:
                    flags = NO_HOLE if step == "n" else 0
                    cookie = client.ask(WRITE_ZEROES, offset, length, flags=flags)
                for block in blocks:
                    changes[block].append(((which, cookie), value))
        check()
    rig.pages.busy = 0
    for _ in range(4):
        rig.finish()
        rig.settle()
        check()
    assert not reads and rig.tasks.under_way == 0 and rig.area.held == 0
    assert all(client.exchange.idle for client in rig.clients)
    for block, history in changes.items():
        assert rig.pages.data[block * 4096 : (block + 1) * 4096] == history[-1][1]


def test_busy_is_told_by_no_reply() -> None:
    rig = Rig()
    write = rig.client.ask(WRITE_ZEROES, 0, 4096, flags=NO_HOLE)
    for _ in range(3):
        order, _ = rig.pages.orders[0]
        rig.pages.busy = 1
        rig.complete()
        assert isinstance(order.error, Busy) and rig.client.result(write) is None
        rig.settle()
    rig.finish()
    assert rig.client.result(write) == 0
