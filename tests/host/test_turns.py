"""Short turns: how many sockets a turn takes, in which order, and what asyncio makes of them."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from selectors import EVENT_READ, EVENT_WRITE

import pytest

from netboot.host import turns
from netboot.host.turns import SOCKETS_OF_TURN, ShortTurns

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    with contextlib.ExitStack() as stack:
        made = [socket.socketpair() for _ in range(2 * SOCKETS_OF_TURN + 1)]
        for each in (end for pair in made for end in pair):
            stack.enter_context(each)
        yield made


@pytest.fixture
def selector(pairs: list[Pair]) -> Iterator[ShortTurns]:
    with ShortTurns() as made:
        for reader, _ in pairs:
            made.register(reader, EVENT_READ)
        yield made


def _ready(selector: ShortTurns) -> set[int]:
    return {key.fd for key, _ in selector.select(0)}


def test_a_turn_takes_a_few_and_the_next_ones_the_others(
    selector: ShortTurns, pairs: list[Pair]
) -> None:
    for _, writer in pairs:
        writer.send(b"x")  # nobody reads: all stay ready
    first, second, third = _ready(selector), _ready(selector), _ready(selector)
    assert len(first) == len(second) == SOCKETS_OF_TURN
    assert first | second | third == {reader.fileno() for reader, _ in pairs}


def test_what_comes_first_is_in_each_turn(selector: ShortTurns, pairs: list[Pair]) -> None:
    urgent = pairs[-1][0]
    selector.put_first(urgent.fileno())
    selector.put_first(urgent.fileno())
    for _, writer in pairs:
        writer.send(b"x")
    for _ in range(4):
        ready = selector.select(0)
        assert urgent.fileno() in {key.fd for key, _ in ready}
        assert len(ready) <= SOCKETS_OF_TURN + 1
        assert all(events == EVENT_READ for _, events in ready)
    urgent.recv(1)
    assert urgent.fileno() not in _ready(selector) | _ready(selector) | _ready(selector)


def test_what_is_taken_away_comes_no_more(selector: ShortTurns, pairs: list[Pair]) -> None:
    urgent, closed = pairs[0][0], pairs[1][0]
    for each in (urgent, closed):
        selector.put_first(each.fileno())
    for _, writer in pairs:
        writer.send(b"x")
    gone = {urgent.fileno(), closed.fileno()}
    selector.unregister(urgent)
    descriptor = closed.fileno()
    closed.close()
    selector.unregister(descriptor)
    for _ in range(4):
        assert not gone & _ready(selector)
    with pytest.raises(KeyError):
        selector.unregister(urgent)


def test_both_directions_are_told(selector: ShortTurns, pairs: list[Pair]) -> None:
    reader, writer = pairs[0]
    selector.modify(reader, EVENT_READ | EVENT_WRITE)
    assert selector.select() == [(selector.get_key(reader), EVENT_WRITE)]
    writer.send(b"x")
    assert selector.select() == [(selector.get_key(reader), EVENT_READ | EVENT_WRITE)]


def test_a_loop_serves_a_reader_that_comes_first(pairs: list[Pair]) -> None:
    arrived: list[bytes] = []

    async def main() -> None:
        loop, (reader, writer) = asyncio.get_running_loop(), pairs[0]
        got = asyncio.Event()

        def take() -> None:
            arrived.append(reader.recv(1))
            got.set()

        turns.read_first(loop, reader.fileno(), take)
        writer.send(b"x")
        await got.wait()
        assert loop.remove_reader(reader.fileno())
        assert await asyncio.to_thread(lambda: "other threads wake it") == "other threads wake it"

    turns.run(main())
    assert arrived == [b"x"]


def test_another_loop_only_adds_the_reader(pairs: list[Pair]) -> None:
    async def main() -> None:
        reader = pairs[0][0].fileno()
        turns.read_first(asyncio.get_running_loop(), reader, lambda: None)
        assert asyncio.get_running_loop().remove_reader(reader)

    asyncio.run(main())
