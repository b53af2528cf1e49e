"""The tiered store on its own: places of pages, memory limit, write-behind and read-ahead."""

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netboot.pages.nbd.backing import Busy, Damaged, PageFile
from netboot.pages.stores import sparse, tieredfile
from netboot.pages.stores.tiered import TieredStore
from netboot.pages.stores.tieredfile import TieredFile
from netboot.pages.stores.tiermap import MAP_OFFSET, ON_DISK, map_bytes

pytestmark = pytest.mark.system

MIB = 1 << 20
LIMIT = 4 * MIB
PATIENCE_SECONDS = 60.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TieredStore]:
    with closing(TieredStore(tmp_path, LIMIT)) as made:
        yield made


def content(page: int, version: int = 0) -> bytes:
    return (page * 1000 + version + 1).to_bytes(8, "big") * 512


def write(pages: TieredFile, page: int, data: bytes) -> None:
    """Write a page as a worker does: retry while the store is busy."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return pages.write(page * 4096, memoryview(data))
        except Busy:
            assert time.monotonic() < deadline, "busy for too long"
            time.sleep(0.002)


def read(pages: TieredFile, page: int, count: int = 1) -> bytes:
    buffer = bytearray(count * 4096)
    pages.read_into(page * 4096, memoryview(buffer))
    return bytes(buffer)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def memory_bytes(store: TieredStore) -> int:
    """Return the bytes on the tmpfs: memory and maps of the page files.

    While another process moves pages from one file to another, a reading may count them twice. Only
    one that is the same twice is of one moment.
    """
    paths = sorted(store.directory.glob("*.pages"))
    before: list[int] = []
    while (blocks := [path.stat().st_blocks for path in paths]) != before:
        before = blocks
    return sum(blocks) * 512


def disk_bytes(pages: TieredFile) -> int:
    return os.fstat(pages.descriptors()[1]).st_blocks * 512


def test_limit_holds_for_all_files_together_and_everything_is_read_back(store: TieredStore) -> None:
    files = [store.create(name, 8 * MIB) for name in "ab"]
    most = 0
    for page in range(2048):
        for number, pages in enumerate(files):
            write(pages, page, content(page, number))
        most = max(most, memory_bytes(store))
    assert LIMIT * 0.7 < most <= LIMIT
    for page in range(2048):
        for number, pages in enumerate(files):
            assert read(pages, page) == content(page, number)
        assert memory_bytes(store) <= LIMIT
    for pages in files:
        pages.close()


def test_limit_holds_for_several_processes(store: TieredStore) -> None:
    """Two workers write 8 MiB each, and a third file, without an owner, is spilled for them."""
    idle = store.create("idle", 8 * MIB)
    for page in range(700):
        write(idle, page, content(page))
    code = """
import json, os, sys
from netboot.pages.stores.store import load
from tests.pages.stores.test_tiered import content, write, read
pages = load("tiered").adopt(json.loads(sys.argv[1]), 8 << 20)
for page in range(2048):
    write(pages, page, content(page))
for page in range(2048):
    assert read(pages, page) == content(page), page
"""
    workers, files = [], [idle]
    for name in "ab":
        files.append(store.create(name, 8 * MIB))
        given = list(files[-1].descriptors())
        command = [sys.executable, "-c", code, json.dumps(given)]
        workers.append(subprocess.Popen(command, pass_fds=given))
    most = 0
    while any(worker.poll() is None for worker in workers):
        most = max(most, memory_bytes(store))
        time.sleep(0.001)
    assert [worker.returncode for worker in workers] == [0, 0]
    assert LIMIT * 0.7 < most <= LIMIT
    assert disk_bytes(idle) > 0
    assert b"".join(read(idle, page) for page in range(700)) == b"".join(map(content, range(700)))
    for pages in files:
        pages.close()


def test_worker_killed_while_spilling_leaves_no_page_behind_and_no_page_lost(
    store: TieredStore,
) -> None:
    code = """
import json, os, sys
from netboot.pages.stores.store import load
from tests.pages.stores.test_tiered import content, write
descriptors, base = json.loads(sys.argv[1])
pages = load("tiered").adopt(descriptors, 16 << 20)
for count in range(1 << 30):
    page = (count * 7919) % 4096
    write(pages, page, content(page, base + count // 4096))
    os.write(1, b".")
"""
    pages = store.create("a", 16 * MIB)
    acknowledged: dict[int, int] = {}
    chance = random.Random(1)
    for round_number in range(3):
        base = 100 * round_number
        given = list(pages.descriptors())
        argument = json.dumps([given, base])
        command = [sys.executable, "-c", code, argument]
        with subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=given) as worker:
            assert worker.stdout is not None
            done = len(worker.stdout.read(1500 + chance.randrange(1500)))
            os.kill(worker.pid, signal.SIGKILL)
            done += len(worker.stdout.read())
        for count in range(done):
            acknowledged[(count * 7919) % 4096] = base + count // 4096
        unsure = (done * 7919) % 4096  # may have been written but was not acknowledged
        acknowledged.pop(unsure, None)
    for page, version in acknowledged.items():
        assert read(pages, page) == content(page, version), page
    wait_for(lambda: memory_bytes(store) <= LIMIT)
    pages.trim(0, 16 * MIB)
    assert memory_bytes(store) == map_bytes(16 * MIB)
    assert disk_bytes(pages) == 0
    pages.close()


def test_rewritten_and_trimmed_pages_never_show_an_older_copy(store: TieredStore) -> None:
    pages, chance, model = store.create("a", 8 * MIB), random.Random(2), dict[int, bytes]()
    for version in range(8000):
        page = chance.randrange(2048)
        if chance.random() < 0.1:
            count = min(chance.randrange(1, 40), 2048 - page)
            pages.trim(page * 4096, count * 4096)
            for gone in range(page, page + count):
                model.pop(gone, None)
        else:
            model[page] = content(page, version)
            write(pages, page, model[page])
        page = chance.randrange(2048)
        assert read(pages, page) == model.get(page, bytes(4096))
    for page in range(2048):
        assert read(pages, page) == model.get(page, bytes(4096))
    pages.close()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "trim", "zero", "spill", "read"]),
        st.integers(0, 50000),
        st.integers(0, 20000),
    ),
    max_size=30,
)


@settings(max_examples=60)
@given(steps=STEPS)
def test_like_a_bytearray_while_pages_go_to_disk_and_come_back(
    steps: list[tuple[str, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    size, folder = 50000, tmp_path_factory.getbasetemp() / "tiers"
    with pytest.MonkeyPatch.context() as patch, closing(TieredStore(folder, LIMIT)) as store:
        patch.setattr(TieredFile, "_is_short", lambda *_, **__: True)
        pages, model = store.create("a", size), bytearray(size)
        for number, (step, offset, length) in enumerate(steps, 1):
            length = min(length, size - offset)
            if step == "write":
                model[offset : offset + length] = bytes([number]) * length
                pages.write(offset, memoryview(model)[offset : offset + length])
            elif step == "trim" or step == "zero":
                model[offset : offset + length] = bytes(length)
                pages.zero(offset, length, allocate=step == "zero")
            elif step == "spill":
                pages.spill(going=True)
            check_like(pages, model, offset, length)
        check_like(pages, model, 0, size)
        pages.close()


def check_like(pages: PageFile, model: bytearray, offset: int, length: int) -> None:
    buffer = bytearray(length)
    pages.read_into(offset, memoryview(buffer))
    assert buffer == model[offset : offset + length]
    at = offset
    for covered, hole in pages.extents(offset, length):
        assert not hole or not any(model[at : at + covered])
        at += covered
    assert at == offset + length


def test_full_disk_makes_writes_wait_and_reads_go_on(
    store: TieredStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    room = [False]
    real = os.fdatasync

    def full(descriptor: int) -> None:
        if not room[0]:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", full)
    pages, page = store.create("a", 16 * MIB), 0
    with pytest.raises(Busy):
        for page in range(4096):
            pages.write(page * 4096, memoryview(content(page)))
    for written in range(page):
        assert read(pages, written) == content(written)
    wait_for(lambda: "writes may be delayed" in caplog.text)
    room[0] = True
    for rest in range(page, 4096):
        write(pages, rest, content(rest))
    for written in range(4096):
        assert read(pages, written) == content(written)
    pages.close()


def test_a_tmpfs_with_less_room_than_the_limit_is_spilled(
    store: TieredStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other programs have filled it. All writes waited for ever, though the disk was empty."""
    other, pages = store.create("other", 2 * MIB), store.create("a", 8 * MIB)
    for number in range(256):
        write(other, number, content(number))
    memories, real = [each.descriptors()[0] for each in (other, pages)], os.pwrite

    def limited(descriptor: int, data: memoryview, offset: int) -> int:
        if descriptor in memories and memory_bytes(store) > MIB:
            raise OSError(28, "No space left on device")
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", limited)
    for page in range(1024):
        write(pages, page, content(page))
    for page in range(1024):
        assert read(pages, page) == content(page)
    other.close()
    pages.close()


def test_no_room_for_a_map_makes_room_for_it(
    store: TieredStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = store.create("a", 2 * MIB)
    for page in range(256):
        write(pages, page, content(page))
    before, real = memory_bytes(store), os.posix_fallocate

    def full(descriptor: int, offset: int, length: int) -> None:
        if memory_bytes(store) >= before:
            raise OSError(28, "No space left on device")
        real(descriptor, offset, length)

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        store.create("b", 2 * MIB)
    wait_for(lambda: memory_bytes(store) < before)
    store.create("b", 2 * MIB).close()
    pages.close()


def test_reading_in_order_reads_ahead_more_and_more(store: TieredStore) -> None:
    pages = store.create("a", 8 * MIB)
    for page in range(2048):
        write(pages, page, content(page))
    # The thread rests with 1/8 to 3/16 of the limit free: the last writes may have used up the rest.
    wait_for(lambda: pages.pages_in_memory <= LIMIT // 4096 // 8 * 7)
    brought = []
    with (store.directory / "a.pages").open() as file:
        # A batch may still be on its way to disk. This lock waits for its end, and lets none begin.
        fcntl.flock(file, fcntl.LOCK_EX)
        for page in (0, 8, 24):  # the oldest: on disk
            before = pages.pages_in_memory
            assert read(pages, page) == content(page)
            brought.append(pages.pages_in_memory - before)
    assert brought == [8, 16, 32]
    pages.close()


def test_limit_too_small_for_the_map_is_refused_at_once(store: TieredStore) -> None:
    with pytest.raises(OSError, match="memory limit is too small"):
        store.create("a", 1 << 40)
    assert store.names() == []
    store.create("a", MIB).close()


def test_half_a_page_file_is_none(tmp_path: Path) -> None:
    name = f"test-{os.getpid()}"
    store = TieredStore(tmp_path, LIMIT, name)
    try:
        for each in "abc":
            store.create(each, MIB).close()
        (store.directory / "a.pages").unlink()
        (tmp_path / f"netboot-kept-{name}" / "b.pages").unlink()
        store.close()
        store = TieredStore(tmp_path, LIMIT, name)
        assert store.names() == ["c"]
        assert [each.name for each in tmp_path.glob("netboot-kept-*/*.pages")] == ["c.pages"]
    finally:
        store.remove("c")
        store.close()
        (store.directory / "ledger").unlink()
        store.directory.rmdir()


def test_living_worker_keeps_a_file_that_the_control_plane_opens(store: TieredStore) -> None:
    code = """
import json, sys
from netboot.pages.stores.store import load
pages = load("tiered").adopt(json.loads(sys.argv[1]), 1 << 20)
print("adopted", flush=True)
sys.stdin.read()
"""
    pages = store.create("a", MIB)
    given = list(pages.descriptors())
    command = [sys.executable, "-c", code, json.dumps(given)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, pass_fds=given) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        pages.close()
        again = store.open("a", MIB)
        assert store.owner("a") == worker.pid
        worker.kill()
        worker.wait()
        write(again, 0, content(0))
        assert store.owner("a") == os.getpid()
    again.close()
    assert store.owner("a") == 0


def test_removed_file_frees_its_memory_and_refuses_who_has_it_open(store: TieredStore) -> None:
    pages = store.create("a", 8 * MIB)
    for page in range(1500):
        write(pages, page, content(page))
    store.remove("a")
    for page in (0, 1499, 2000):
        with pytest.raises((OSError, Damaged), match="ends at|gone"):
            read(pages, page)
    with pytest.raises(OSError, match="gone"):
        for page in range(1500, 2048):
            pages.write(page * 4096, memoryview(content(page)))
    again = store.create("a", 8 * MIB)
    assert memory_bytes(store) == map_bytes(8 * MIB)
    for page in range(1500):
        write(again, page, content(page))
    assert memory_bytes(store) <= LIMIT
    pages.close()
    assert read(again, 1499) == content(1499)
    again.close()


@pytest.mark.parametrize("header", [b"", b"short", bytes(16), b"\xff" * 16])
def test_a_file_with_a_damaged_header_is_gone_and_can_be_removed(
    store: TieredStore, header: bytes
) -> None:
    store.create("a", MIB).close()
    path = store.directory / "a.pages"
    size = path.stat().st_size
    path.write_bytes(header)
    if len(header) == 16:
        os.truncate(path, size)
    store._places.clear()  # as at the next start
    with pytest.raises(FileNotFoundError):
        store.open("a", MIB)
    store.remove("a")
    assert store.names() == []


def test_a_file_whose_half_on_disk_is_cut_takes_no_descriptor(
    store: TieredStore, tmp_path: Path
) -> None:
    store.create("a", MIB).close()
    (half,) = tmp_path.glob("*/a.pages")
    os.truncate(half, 0)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        store.open("a", MIB)
    assert len(os.listdir("/proc/self/fd")) == before
    store.remove("a")


class HeldDisk:
    """Stands in for ``read_all``: reads of a disk wait until ``gate`` is set."""

    def __init__(self, pages: TieredFile, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gate, self.reached = threading.Event(), threading.Event()
        self._disk = pages.descriptors()[1]
        self._read = sparse.read_all
        monkeypatch.setattr(tieredfile, "read_all", self)

    def __call__(self, descriptor: int, offset: int, buffer: memoryview) -> None:
        self._read(descriptor, offset, buffer)
        if descriptor == self._disk:
            self.reached.set()
            assert self.gate.wait(PATIENCE_SECONDS)


def states(pages: TieredFile, count: int) -> set[int]:
    """Return the states of the first pages."""
    return set(os.pread(pages.descriptors()[0], count, MAP_OFFSET))


def spilled(store: TieredStore) -> TieredFile:
    """Return a file whose first pages are on disk, with room in memory, and its last page there."""
    pages = store.create("a", 8 * MIB)
    for page in range(2048):
        write(pages, page, content(page))
    wait_for(lambda: states(pages, 16) == {ON_DISK})
    pages.trim(1024 * 4096, 1024 * 4096)
    write(pages, 2047, content(2047))
    return pages


def test_nobody_waits_for_a_read_of_the_disk(
    store: TieredStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = spilled(store)
    place = memoryview(bytearray(4096))
    with pytest.raises(BlockingIOError):
        pages.read_now(0, place)
    with pytest.raises(BlockingIOError):
        pages.write_now(0, memoryview(bytes(512)))
    disk = HeldDisk(pages, monkeypatch)
    with ThreadPoolExecutor() as pool:
        reading = pool.submit(read, pages, 0)
        assert disk.reached.wait(PATIENCE_SECONDS)
        pages.read_now(2047 * 4096, place)
        assert place == content(2047)
        pages.write_now(2047 * 4096, memoryview(content(2047, 1)))
        disk.gate.set()
        assert reading.result(PATIENCE_SECONDS) == content(0)
    assert read(pages, 2047) == content(2047, 1)
    pages.close()


@pytest.mark.parametrize("leaves", [False, True], ids=["in memory", "on disk again"])
def test_what_is_written_during_a_read_is_not_undone_by_it(
    store: TieredStore, monkeypatch: pytest.MonkeyPatch, leaves: bool
) -> None:
    """The read has the old pages in hand, and keeps what it has read."""
    pages = spilled(store)
    disk = HeldDisk(pages, monkeypatch)
    with ThreadPoolExecutor() as pool:
        reading = pool.submit(read, pages, 0)
        assert disk.reached.wait(PATIENCE_SECONDS)
        for page in range(4):
            write(pages, page, content(page, 1))
        if leaves:
            for page in range(100, 2048):
                write(pages, page, content(page, 1))
            wait_for(lambda: states(pages, 4) == {ON_DISK})
            pages.trim(100 * 4096, 1948 * 4096)  # makes room for what was read
        else:
            pages.trim(4 * 4096, 4096)
        disk.gate.set()
        assert reading.result(PATIENCE_SECONDS) in (content(0), content(0, 1))
    assert read(pages, 0, 4) == b"".join(content(page, 1) for page in range(4))
    assert read(pages, 4) == (content(4) if leaves else bytes(4096))
    assert read(pages, 5) == content(5)
    pages.close()
