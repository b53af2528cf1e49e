"""Requests that wait for room: later requests go on, and the pages become what order demands."""

import errno
import random
from collections import defaultdict
from contextlib import suppress

import pytest

from netboot.pages.nbd.backing import Busy
from netboot.pages.worker.buffers import OVERHEAD_BYTES
from netboot.pages.worker.held import Held
from tests.support.loop_client import Client
from tests.support.two_ways import (
    DISC,
    FLUSH,
    FUA,
    NO_HOLE,
    READ,
    SIZE,
    TRIM,
    WRITE,
    WRITE_ZEROES,
    ArrayFile,
)

BLOCK = 512  # of an ArrayFile
PAGE = bytes(range(256)) * 16
KIB = 1 << 10


class Cramped(ArrayFile):
    """A page file with room for ``room`` bytes."""

    room: int = 0

    def write(self, offset: int, data: memoryview) -> None:
        self._need(offset, len(data))
        super().write(offset, data)

    def zero(self, offset: int, length: int, *, allocate: bool) -> None:
        if allocate:
            self._need(offset, length)
        super().zero(offset, length, allocate=allocate)

    def _need(self, offset: int, length: int) -> None:
        blocks = range(offset // BLOCK, -(-(offset + length) // BLOCK))
        if (len(self.written) + len(set(blocks) - self.written)) * BLOCK > self.room:
            raise Busy


def full(*, allowance: int = 16 << 20, size_bytes: int = SIZE) -> tuple[Client, Cramped]:
    """Return a client whose first page is stored, and its store without more room."""
    pages = Cramped(size_bytes)
    pages.room = 4096
    client = Client(pages, allowance)
    assert client.result(client.ask(WRITE, 0, 4096, PAGE)) == 0
    return client, pages


@pytest.mark.parametrize("length", [512, 4096, 64 * KIB, 128 * KIB, 512 * KIB])
def test_reads_rewrites_and_trims_pass_a_write_that_waits(length: int) -> None:
    client, pages = full()
    waits = client.ask(WRITE, 8192, length, PAGE[:512] * (length // 512))
    assert client.read(0, 4096) == PAGE
    assert client.result(client.ask(WRITE, 0, 4096, PAGE[::-1])) == 0
    assert client.read(0, 4096) == PAGE[::-1]
    assert client.result(client.ask(FLUSH)) == 0
    assert client.result(client.ask(TRIM, 4096, 4096)) == 0
    assert client.result(waits) is None
    assert not client.exchange.idle
    pages.room = SIZE
    client.turn()
    assert client.result(waits) == 0
    assert pages.data[8192 : 8192 + length] == PAGE[:512] * (length // 512)
    assert (client.area.held, client.exchange.idle, client.exchange.waiting) == (0, True, False)


def test_a_trim_makes_room_for_the_write_that_waits() -> None:
    client, pages = full()
    waits = client.ask(WRITE, 8192, 4096, PAGE)
    assert client.result(client.ask(TRIM, 0, 4096)) == 0
    client.turn()
    assert client.result(waits) == 0
    assert pages.data[8192:12288] == PAGE


@pytest.mark.parametrize("command", [TRIM, WRITE_ZEROES])
def test_a_trim_of_the_very_pages_takes_their_place(command: int) -> None:
    client, pages = full()
    waits = client.ask(WRITE, 8192, 8192, PAGE * 2)
    assert client.result(client.ask(command, 8192, 8192)) == 0
    client.turn()
    assert client.result(waits) == 0, "nothing is left of it"
    assert pages.data[8192:16384] == bytes(8192)


def test_of_two_writes_that_wait_the_later_one_stays() -> None:
    client, pages = full()
    older = client.ask(WRITE, 8192, 8192, PAGE * 2)
    newer = client.ask(WRITE, 12288, 8192, PAGE[::-1] * 2)
    pages.room = SIZE
    client.turn()
    assert (client.result(older), client.result(newer)) == (0, 0)
    assert pages.data[8192:20480] == PAGE + PAGE[::-1] * 2


def test_zeroes_that_are_to_take_room_wait_and_hold_up_nothing() -> None:
    client, pages = full()
    waits = client.ask(WRITE_ZEROES, 8192, 4096, flags=NO_HOLE)
    assert client.read(0, 4096) == PAGE
    assert client.result(waits) is None
    pages.room = SIZE
    client.turn()
    assert client.result(waits) == 0


def test_a_write_that_waits_is_flushed_if_it_asks_for_that() -> None:
    client, pages = full()
    waits = client.ask(WRITE, 8192, 4096, PAGE, FUA)
    client.ask(FLUSH)
    assert pages.flushes == 1
    pages.room = SIZE
    client.turn()
    assert (client.result(waits), pages.flushes) == (0, 2)


def test_a_failure_is_told_when_there_is_room() -> None:
    client, pages = full()
    waits = client.ask(WRITE, 8192, 4096, PAGE)
    pages.room, pages.broken = SIZE, range(8192, 8193)
    client.turn()
    assert client.result(waits) == 5


@pytest.mark.parametrize("command", [WRITE, TRIM, WRITE_ZEROES])
def test_a_request_that_fails_takes_no_place_of_a_write_that_waits(
    command: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the older write is answered as stored, and nobody has stored it."""
    client = Client(pages := Cramped(SIZE))
    first = client.ask(WRITE, 8 * KIB, 4096, PAGE)

    def fail(offset: int, *rest: object, **options: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        for name in ("write", "trim", "zero"):
            broken.setattr(pages, name, fail)
        data = PAGE[::-1] if command == WRITE else b""
        broken.setattr(client.exchange, "retry", lambda buffers: None)
        second = client.ask(command, 8 * KIB, 4096, data)
        assert client.result(first) is None and client.result(second) == errno.EIO
    pages.room = SIZE
    client.turn()
    assert client.result(first) == 0 and client.read(8 * KIB, 4096) == PAGE


def test_a_disconnection_comes_after_the_requests_before_it() -> None:
    client, pages = full()
    waits = client.ask(WRITE, 8192, 4096, PAGE)
    client.ask(DISC)
    assert not client.exchange.closed
    pages.room = SIZE
    client.turn()
    assert (client.result(waits), client.exchange.closed) == (0, True)


def test_what_an_area_holds_is_bounded() -> None:
    client, pages = full(allowance=3 * (4096 + OVERHEAD_BYTES))
    waits = [client.ask(WRITE, 8192 + 4096 * at, 4096, PAGE) for at in range(4)]
    assert client.area.held <= client.area.allowance
    assert client.exchange.blocked
    late = client.ask(READ, 0, 4096)
    assert client.result(late) is None, "the input waits behind the fourth"
    pages.room += 4096  # for one of them, and the fourth takes its place
    client.turn()
    assert client.result(late) == 0
    assert [client.result(each) for each in waits] == [0, None, None, None]
    pages.room = SIZE
    client.turn()
    assert [client.result(each) for each in waits] == [0, 0, 0, 0]


def test_a_write_that_is_larger_than_the_bound_waits_in_the_input() -> None:
    client, pages = full(allowance=64 * KIB, size_bytes=64 << 20)
    waits = client.ask(WRITE, 8192, 32 << 20, PAGE * (8 << 10))
    assert (client.area.held, client.exchange.blocked) == (0, True)
    pages.room = 64 << 20
    client.turn()
    assert client.result(waits) == 0


def test_a_connection_that_ends_holds_nothing() -> None:
    client, pages = full()
    client.ask(WRITE, 8192, 4096, PAGE)
    client.ask(WRITE, 16384, 128 * KIB, PAGE)  # the rest is under way
    assert client.area.held > 4096 + 128 * KIB
    client.exchange.abandon()
    assert client.area.held == 0
    assert pages.data[8192:12288] == bytes(4096)


def test_cutting_leaves_the_rest() -> None:
    held = Held([(0, 100)])
    held.cut(10, 20)
    held.cut(15, 30)
    held.cut(90, 200)
    assert held.spans == [(0, 10), (30, 90)]
    held.cut(0, 1000)
    assert held.spans == []


@pytest.mark.parametrize("seed", range(12))
def test_the_pages_become_what_order_demands(seed: int) -> None:
    """A byte model: each page has the value of a change that is not older than the last answered."""
    chance = random.Random(seed)
    pages = Cramped(SIZE, mapped=seed % 2 == 1)
    pages.room = 64 * KIB
    client = Client(pages, allowance=chance.choice([32 * KIB, 16 << 20]))
    changes: defaultdict[int, list[tuple[int, bytes]]] = defaultdict(lambda: [(0, bytes(BLOCK))])
    client.replies[0] = bytes(12)

    def allowed(block: int, answered: set[int]) -> set[bytes]:
        history = changes[block]
        last = max(at for at, (cookie, _) in enumerate(history) if cookie in answered)
        return {value for _, value in history[last:]}

    for step in range(300):
        blocks = range(
            begin := chance.randrange(SIZE // BLOCK // 4), begin + chance.choice([1, 8, 96])
        )
        offset, length = begin * BLOCK, len(blocks) * BLOCK
        answered = set(client.replies)
        match chance.choice("rrwwwtzn"):
            case "r":
                cookie = client.ask(READ, offset, length)
                with suppress(KeyError):  # it waits behind more than the area may hold
                    data = client.replies[cookie][12:]
                    for at, block in enumerate(blocks):
                        value = data[at * BLOCK : (at + 1) * BLOCK]
                        assert value in allowed(block, answered)
                continue
            case "w":
                value = step.to_bytes(4, "big") * (BLOCK // 4)
                cookie = client.ask(WRITE, offset, length, value * len(blocks))
            case "t":
                cookie, value = client.ask(TRIM, offset, length), bytes(BLOCK)
            case "z":
                cookie, value = client.ask(WRITE_ZEROES, offset, length), bytes(BLOCK)
            case _:
                cookie = client.ask(WRITE_ZEROES, offset, length, flags=NO_HOLE)
                value = bytes(BLOCK)
        for block in blocks:
            changes[block].append((cookie, value))
        if chance.random() < 0.1:
            pages.room = chance.choice([16 * KIB, 64 * KIB, 128 * KIB])
    pages.room = SIZE
    for _ in range(10):
        client.turn()
    assert client.exchange.idle and client.area.held == 0
    for block, history in changes.items():
        assert pages.data[block * BLOCK : (block + 1) * BLOCK] == history[-1][1]


def test_the_hot_path_is_back_when_nothing_waits() -> None:
    client, pages = full()
    client.ask(WRITE, 8192, 4096, PAGE)
    pages.room = SIZE
    client.turn()
    plain = client.exchange._plain
    assert client.read(8192, 4096) == PAGE
    assert client.exchange._plain is plain
