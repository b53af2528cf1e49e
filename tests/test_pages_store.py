"""What every page store must do, over the table of kinds; and what only the memory store does."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netboot.errors import OperatorError
from netboot.pages.memory import TMPFS, MemoryStore
from netboot.pages.store import BY_NAME, PageFile, PageStore, load

PAGE = bytes(range(1, 256)) * 16 + bytes(16)
SIZE = 64 << 10


@pytest.fixture(params=BY_NAME)
def store(request: pytest.FixtureRequest) -> Iterator[PageStore]:
    made = load(request.param).make_store()
    yield made
    made.close()


def read(pages: PageFile, offset: int, length: int) -> bytes:
    buffer = bytearray(length)
    pages.read_into(offset, memoryview(buffer))
    return bytes(buffer)


def adopted(store: PageStore, pages: PageFile) -> PageFile:
    """The same page file as a worker gets it: from copies of its descriptors."""
    descriptors = [os.dup(descriptor) for descriptor in pages.descriptors()]
    return load(store.kind).adopt(descriptors, pages.size_bytes)


def test_what_is_written_is_read_everywhere(store: PageStore) -> None:
    pages = store.create("a", SIZE)
    assert read(pages, 0, SIZE) == bytes(SIZE)
    worker = adopted(store, pages)
    worker.write(1000, memoryview(PAGE))
    worker.flush()
    assert read(pages, 1000, len(PAGE)) == PAGE
    worker.close()
    assert read(pages, 1000, len(PAGE)) == PAGE  # pages outlive the worker
    assert read(store.create("b", SIZE), 0, SIZE) == bytes(SIZE)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["write", "trim", "zero", "allocate"]),
            st.integers(0, SIZE),
            st.integers(0, SIZE),
        ),
        max_size=10,
    )
)
def test_like_a_bytearray(steps: list[tuple[str, int, int]]) -> None:
    for kind in BY_NAME:
        store, model = load(kind).make_store(), bytearray(SIZE)
        try:
            pages = store.create("a", SIZE)
            for number, (step, offset, length) in enumerate(steps, 1):
                length = min(length, SIZE - offset)
                model[offset : offset + length] = bytes(length)
                if step == "write":
                    model[offset : offset + length] = bytes([number]) * length
                    pages.write(offset, memoryview(model)[offset : offset + length])
                elif step == "trim":
                    pages.trim(offset, length)
                else:
                    pages.zero(offset, length, allocate=step == "allocate")
            assert read(pages, 0, SIZE) == model
            pages.close()
        finally:
            store.close()


def test_pages_are_gone_after_remove_for_whoever_has_them_open(store: PageStore) -> None:
    pages = store.create("a", SIZE)
    pages.write(0, memoryview(PAGE))
    store.remove("a")
    with pytest.raises(OSError, match="shorter"):
        read(pages, 0, len(PAGE))
    assert read(store.create("a", SIZE), 0, SIZE) == bytes(SIZE)


def test_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(OperatorError, match="no page store 'memroy'") as caught:
        load("memroy")
    assert caught.value.hint == "one of: memory"


# The memory store alone.


def stored_bytes(store: MemoryStore) -> int:
    """What ``du`` says."""
    return sum(path.stat().st_blocks * 512 for path in store.directory.iterdir())


def test_memory_holds_written_pages_only_and_gives_them_back() -> None:
    store = MemoryStore()
    try:
        pages = store.create("a", 1 << 40)  # far more than there is: nothing is taken for it
        read(pages, 123456, 1 << 20)
        assert stored_bytes(store) == 0
        for page in range(4):
            pages.write(page * 4096 * 1000, memoryview(PAGE))
        assert stored_bytes(store) == 4 * 4096
        pages.trim(0, 4096)
        pages.zero(4096 * 1000, 4096, allocate=False)
        assert stored_bytes(store) == 2 * 4096
        pages.zero(0, 8192, allocate=True)
        assert stored_bytes(store) == 4 * 4096
        assert read(pages, 0, 4096) == bytes(4096)
        pages.close()
    finally:
        store.close()
    assert not store.directory.exists()


def test_failures_are_oserrors() -> None:
    store = MemoryStore()
    try:
        pages = store.create("a", SIZE)
        with pytest.raises(FileExistsError):
            store.create("a", SIZE)
        with pytest.raises(OSError, match="Invalid argument") as caught:
            pages.trim(-1, 10)
        assert caught.value.errno == errno.EINVAL
        pages.close()
    finally:
        store.close()


def test_store_is_private_and_swept_after_its_server_died() -> None:
    code = (
        "import os; from netboot.pages.memory import MemoryStore; s = MemoryStore(); "
        "s.create('a', 4096); os.write(1, str(s.directory).encode()); os._exit(9)"
    )
    child = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=False)
    left_behind = Path(child.stdout.decode())
    mine = MemoryStore(TMPFS)
    assert not left_behind.exists()
    assert mine.directory.stat().st_mode & 0o777 == 0o700
    MemoryStore(TMPFS).close()
    assert mine.directory.exists()  # its server lives
    mine.close()


def test_no_tmpfs_is_the_operators_mistake(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="cannot keep pages in"):
        MemoryStore(tmp_path / "nowhere")
