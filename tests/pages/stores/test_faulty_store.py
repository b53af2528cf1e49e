"""The faulty stores fail exactly as they promise. Other tests rely on this."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from netboot.pages.nbd.backing import Busy, PageFile
from netboot.pages.stores.memory import MemoryStore
from tests.support.faulty_store import Failing, Full, Short, Slow

DATA = memoryview(bytes(range(256)) * 32)


@pytest.fixture
def pages() -> Iterator[PageFile]:
    with closing(MemoryStore()) as store, closing(store.create("a", 1 << 20)) as made:
        yield made


def read(pages: PageFile, offset: int, length: int) -> bytes:
    buffer = bytearray(length)
    pages.read_into(offset, memoryview(buffer))
    return bytes(buffer)


def test_failing_fails_where_it_is_broken(pages: PageFile) -> None:
    failing = Failing(pages, 8192, 12288)
    failing.write(0, DATA)
    assert read(failing, 0, 8192) == DATA
    failing.write(12288, DATA)
    for offset in (4096, 12287):
        with pytest.raises(OSError, match="Input/output error"):
            failing.write(offset, DATA)
        with pytest.raises(OSError, match="Input/output error"):
            read(failing, offset, 8192)


def test_slow_takes_its_time(pages: PageFile) -> None:
    slept: list[float] = []
    slow = Slow(pages, 0.5, slept.append)
    slow.write(0, DATA)
    assert read(slow, 0, 8192) == DATA
    assert slept == [0.5, 0.5]


def test_short_stores_half_and_takes_all_of_it_later(pages: PageFile) -> None:
    short = Short(pages, times=1)
    with pytest.raises(Busy):
        short.write(0, DATA)
    assert read(short, 0, 8192) == bytes(DATA[:4096]) + bytes(4096)
    short.write(0, DATA)
    assert read(short, 0, 8192) == DATA


def test_full_refuses_and_then_has_room(pages: PageFile) -> None:
    full = Full(pages, refusals=3)
    with pytest.raises(Busy, match="disk full"):
        full.write(0, DATA)
    with pytest.raises(Busy, match="disk full"):
        full.trim(0, 4096)
    with pytest.raises(Busy, match="disk full"):
        full.zero(0, 4096, allocate=True)
    full.write(0, DATA)
    full.trim(0, 4096)
    full.flush()
    assert read(full, 0, 8192) == bytes(4096) + bytes(DATA[4096:])
    assert list(full.extents(0, 8192)) == [(4096, True), (4096, False)]
    assert full.size_bytes == 1 << 20
    assert len(full.descriptors()) == 1
