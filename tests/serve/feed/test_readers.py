"""Readers of the feed: each at its own pace, and a slow one goes."""

import asyncio

import pytest

from netboot.serve.feed import readers as readers_module
from netboot.serve.feed.readers import PIECE_BYTES, Reader, Readers, chunks


def test_a_reader_gets_all_lines_in_order_and_in_pieces() -> None:
    async def work() -> None:
        readers, reader = Readers(), Reader(lambda: None)
        readers.add(reader)
        assert len(readers) == 1
        lines = [b"%d\n" % number for number in range(100_000)]
        for line in lines:
            readers.put(line)
        found = b""
        while len(found) < sum(map(len, lines)):
            piece = await reader.take()
            assert 0 < len(piece) <= PIECE_BYTES + 10
            found += piece
        assert found == b"".join(lines)
        waiting = asyncio.get_running_loop().create_task(reader.take())
        await asyncio.sleep(0)
        assert not waiting.done()
        readers.put(b"news\n")
        assert await waiting == b"news\n"
        readers.discard(reader)
        assert len(readers) == 0

    asyncio.run(work())


def test_a_slow_reader_is_dropped_and_the_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers_module, "MOST_BYTES", 100)

    async def work() -> None:
        readers, dropped = Readers(), list[str]()
        slow, fast = Reader(lambda: dropped.append("slow")), Reader(lambda: dropped.append("fast"))
        readers.add(slow)
        readers.add(fast)
        for _ in range(20):
            readers.put(b"x" * 10)
            assert await fast.take() == b"x" * 10
        assert dropped == ["slow"] and slow.is_dropped and not fast.is_dropped
        assert await slow.take() == b""
        readers.end()
        assert await fast.take() == b"" and dropped == ["slow"]

    asyncio.run(work())


def test_there_is_room_for_a_few() -> None:
    readers = Readers(2)
    for is_full in (False, False, True):
        assert readers.is_full == is_full
        readers.add(Reader(lambda: None))


def test_chunks_are_whole_lines() -> None:
    lines = [b"a" * 30 + b"\n"] * 10
    found = list(chunks(iter(lines), 64))
    assert b"".join(found) == b"".join(lines)
    assert all(chunk.endswith(b"\n") for chunk in found) and len(found) == 4
    assert list(chunks(iter([]))) == []
