"""The memory store where a process cannot map its page files."""

import errno
import mmap
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NoReturn

import pytest

from netboot.pages.stores import memory
from netboot.pages.stores.memory import TMPFS, MemoryStore, UnmappedFile
from netboot.pages.stores.sparse import SparseFile
from netboot.profile.stores import StoreSpec

PAGE = 4096


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MemoryStore]:
    with closing(MemoryStore(TMPFS)) as found:
        yield found


def fill_address_space(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process map nothing more."""

    def refuse(*arguments: object, **options: object) -> NoReturn:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", refuse)


def read(pages: SparseFile, offset: int) -> bytes:
    data = bytearray(4)
    pages.read_into(offset, memoryview(data))
    return bytes(data)


def test_the_process_that_makes_page_files_maps_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill_address_space(monkeypatch)
    with (
        closing(memory.make_store(StoreSpec("memory"), "")) as store,
        closing(store.create("a", 64 * PAGE)) as made,
        closing(store.open("a", 64 * PAGE)),
    ):
        assert len(made.descriptors()) == 1


def test_without_address_space_a_page_file_is_served_unmapped(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(store.create("a", 64 * PAGE)) as made:
        (descriptor,) = made.descriptors()
        fill_address_space(monkeypatch)
        unmapped = memory.adopt([os.dup(descriptor)], 64 * PAGE)
        assert isinstance(unmapped, UnmappedFile)
        assert "served without a mapping, more slowly: Cannot allocate memory" in caplog.text
        unmapped.write(0, memoryview(b"page" * 1024))
        monkeypatch.undo()
        assert read(made, 0) == b"page"
        made.write(PAGE, memoryview(b"more" * 1024))
        assert made.view(PAGE, PAGE) is not None, "noted as written"
        assert read(unmapped, PAGE) == b"more"
        unmapped.trim(0, 64 * PAGE)
        assert made.view(PAGE, PAGE) is None, "and its note is cleared"
        assert read(made, PAGE) == read(unmapped, 0) == bytes(4)
        unmapped.close()


def test_a_page_file_that_was_truncated_is_not_there(store: MemoryStore) -> None:
    with closing(store.create("a", 64 * PAGE)) as made:
        (descriptor,) = made.descriptors()
        os.truncate(descriptor, PAGE)
        copy = os.dup(descriptor)
        with pytest.raises(FileNotFoundError, match="truncated"):
            memory.adopt([copy], 64 * PAGE)
        os.close(copy)
