"""The abilities of the fast loop beyond its specification: it waits, counts, and takes turns."""

from itertools import pairwise

import pytest

from netboot.pages.nbd.dialect import SIMPLE, Dialect
from netboot.pages.nbd.export import Export
from netboot.pages.worker.exchange import BUFFER_BYTES, Area, Buffers, Counters, Exchange
from netboot.pages.worker.work import ERASED_AT_ONCE_BYTES
from tests.support.two_ways import (
    CACHE,
    DIALECTS,
    FLUSH,
    FUA,
    READ,
    SIZE,
    STRUCTURED,
    TRIM,
    WRITE,
    WRITE_ZEROES,
    ArrayFile,
    answers,
    fast,
    output,
    request,
    specified,
)

PAGE = bytes(range(256)) * 16
each_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda each: each.headers.name)


class Loop:
    """An exchange and its buffers. ``answer`` returns its output."""

    def __init__(self, pages: ArrayFile, dialect: Dialect = SIMPLE) -> None:
        self.area = Area("lease", Export("a", pages.size_bytes), pages)
        self.exchange = Exchange(self.area, dialect)
        self.buffers = Buffers()

    def feed(self, data: bytes) -> None:
        kept = bytes(self.buffers.input[self.buffers.position : self.buffers.end])
        self.buffers.position, self.buffers.end = 0, len(kept + data)
        self.buffers.input[: self.buffers.end] = kept + data

    def answer(self) -> bytes:
        self.exchange.answer(self.buffers)
        return output(self.buffers)


@each_dialect
@pytest.mark.parametrize("busy", [1, 2, 5])
def test_busy_store_delays_and_loses_nothing(dialect: Dialect, busy: int) -> None:
    data = request(WRITE, 0, 4096, 0, dialect) + PAGE
    data += request(WRITE, 8192, 4096, FUA, dialect) + PAGE
    data += request(TRIM, 0, 512, 0, dialect) + request(WRITE_ZEROES, 512, 512, 0, dialect)
    data += request(WRITE, 65536, SIZE // 2, 0, dialect) + PAGE * (SIZE // 8192)
    data += request(READ, SIZE - 4096, 4096, 0, dialect)
    export, pages = Export("a", SIZE), ArrayFile()
    expected, _ = specified(export, pages, [data], dialect)

    for at in (3, 100, 4200, 8000):
        slow = ArrayFile(busy=busy)
        said, _ = fast(export, slow, [data[:at], data[at:]], dialect)
        assert sorted(said) == sorted(expected), "the same replies, perhaps in another order"
        assert slow.data == pages.data


def test_a_write_without_room_waits_until_retry_and_a_read_does_not() -> None:
    loop = Loop(ArrayFile(busy=2))
    loop.feed(request(FLUSH) + request(WRITE, 0, 4096) + PAGE + request(READ, 0, 16))
    assert len(loop.answer()) == 16 and loop.exchange.heavy  # a FLUSH ends an answer
    assert len(loop.answer()) == 32, "the READ"
    state = loop.exchange
    assert (state.waiting, state.blocked, state.hungry, state.idle) == (True, False, True, False)
    assert loop.answer() == b""
    loop.exchange.retry(loop.buffers)
    assert len(loop.answer()) == 16
    assert (state.waiting, state.blocked, state.hungry, state.idle) == (False, False, True, True)


def test_only_whole_requests_are_idle() -> None:
    """The received part of a short write is not stored yet, so another process may do the write."""
    loop = Loop(ArrayFile())
    for piece in (request(WRITE, 0, 4096)[:20], b"", request(WRITE, 0, 4096)[20:] + PAGE[:100]):
        loop.feed(piece)
        assert (loop.answer(), loop.exchange.idle, loop.exchange.hungry) == (b"", True, True)
    loop.feed(PAGE[100:])
    assert (len(loop.answer()), loop.exchange.idle) == (16, True)
    loop.feed(request(WRITE, 0, 128 << 10) + PAGE[:100])
    assert (loop.answer(), loop.exchange.idle, loop.exchange.hungry) == (b"", False, True)


def test_a_long_write_goes_to_where_it_is_stored() -> None:
    pages = ArrayFile(mapped=True)
    loop = Loop(pages)
    loop.feed(request(WRITE, 0, 128 << 10) + bytes(128 << 10))
    loop.answer()
    loop.feed(request(WRITE, 0, 128 << 10))
    loop.answer()
    sink = loop.exchange.sink
    assert sink is not None
    assert len(sink) == 128 << 10
    sink[:] = PAGE * 32
    loop.exchange.sunk(100 << 10)
    loop.feed(b"")
    loop.answer()
    assert loop.exchange.sink is not None
    assert len(loop.exchange.sink) == 28 << 10
    loop.exchange.sunk(28 << 10)
    loop.feed(b"")
    assert len(loop.answer()) == 16
    assert pages.data[: 128 << 10] == PAGE * 32


def test_a_write_waits_until_what_it_changes_was_sent() -> None:
    pages = ArrayFile(mapped=True)
    pages.write(0, memoryview(PAGE))
    loop = Loop(pages)
    loop.feed(
        request(READ, 0, 4096) + request(WRITE, 0, 4096) + bytes(4096) + request(READ, 0, 4096)
    )
    assert loop.answer()[16:] == PAGE
    assert loop.answer()[32:] == bytes(4096)


@each_dialect
def test_counters_count_what_was_done(dialect: Dialect) -> None:
    loop = Loop(ArrayFile(broken=range(SIZE - 1, SIZE)), dialect)
    loop.feed(
        request(WRITE, 0, 4096, 0, dialect)
        + PAGE
        + request(WRITE, 4096, 4096, FUA, dialect)
        + PAGE
        + request(READ, 0, 512, 0, dialect)
        + request(READ, 0, 1024, FUA, dialect)
        + request(READ, SIZE - 1, 1, 0, dialect)
        + request(READ, SIZE, 1, 0, dialect)
        + request(TRIM, 0, 512, 0, dialect)
        + request(WRITE_ZEROES, 0, 512, 0, dialect)
        + request(TRIM, SIZE - 1, 1, 0, dialect)
    )
    while not loop.exchange.hungry:
        loop.answer()
    assert loop.area.counters == Counters(2, 2, 2, 1536, 8192)


@each_dialect
@pytest.mark.parametrize("command", [READ, CACHE])
def test_long_reads_take_turns(dialect: Dialect, command: int) -> None:
    loop = Loop(ArrayFile(), dialect)
    loop.area.pages.write(0, memoryview(PAGE * (SIZE // 4096)))
    loop.feed(request(command, 0, SIZE, 0, dialect))
    said, turns = b"", 0
    while not loop.exchange.hungry:
        said += loop.answer()
        turns += 1
    assert turns > SIZE // BUFFER_BYTES
    assert len(answers(said, SIZE if command == READ else 0)) == (
        8 if dialect.structured and command == READ else 1
    )


def test_long_erasures_take_turns() -> None:
    class Recorded(ArrayFile):
        def zero(self, offset: int, length: int, *, allocate: bool) -> None:
            erased.append((offset, offset + length))

    erased: list[tuple[int, int]] = []
    loop = Loop(Recorded(size_bytes=SIZE))
    loop.area.export = Export("a", 1 << 40)
    loop.feed(request(TRIM, 5, 3 * ERASED_AT_ONCE_BYTES))
    for _ in range(2):
        assert (loop.answer(), loop.exchange.hungry) == (b"", False)
    assert len(loop.answer()) == 16
    assert (erased[0][0], erased[-1][1]) == (5, 5 + 3 * ERASED_AT_ONCE_BYTES)
    assert all(end == begin for (_, end), (begin, _) in pairwise(erased))


def test_output_is_never_overrun() -> None:
    """Replies of every size near the end of the buffer."""
    read = request(READ, 0, 4096, 0, STRUCTURED)
    for length in range(1, 4200, 61):
        loop = Loop(ArrayFile(), STRUCTURED)
        loop.feed(request(READ, 0, length, 0, STRUCTURED) + read * 150)
        said = b""
        while not loop.exchange.hungry:
            said += loop.answer()
        assert len(said) == 28 + length + 150 * (28 + 4096)
