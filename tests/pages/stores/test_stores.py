"""The duties of every page store, over the table of kinds."""

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netboot.errors import OperatorError
from netboot.pages.nbd.backing import Damaged, PageFile
from netboot.pages.stores.memory import MemoryStore
from netboot.pages.stores.store import PageStore, load, make_store
from netboot.profile.stores import BY_NAME, STORE_KINDS, StoreSpec, parse_store

pytestmark = pytest.mark.system

PAGE = bytes(range(1, 256)) * 16 + bytes(16)
SIZE = 64 << 10
MIB = 1 << 20
KEEPING = [row.name for row in STORE_KINDS if row.name != "null" and not row.remote]


def spec_of(kind: str, folder: Path) -> StoreSpec:
    """Return a store of a kind in the test's folder. A limit of its memory is small."""
    form = BY_NAME[kind].form.replace("DIR", str(folder))
    return parse_store(form.replace("SIZE", "4MiB"))


@pytest.fixture(params=KEEPING)
def spec(request: pytest.FixtureRequest, tmp_path: Path) -> StoreSpec:
    return spec_of(request.param, tmp_path)


@pytest.fixture(params=[*KEEPING, "memory, mapped"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PageStore]:
    is_mapped = request.param not in KEEPING  # as a worker has it
    made = MemoryStore() if is_mapped else make_store(spec_of(request.param, tmp_path))
    with closing(made):
        yield made


def read(pages: PageFile, offset: int, length: int) -> bytes:
    buffer = bytearray(length)
    pages.read_into(offset, memoryview(buffer))
    return bytes(buffer)


def viewed(pages: PageFile, offset: int) -> bytes | None:
    """Return a page by its view; None if there is no view."""
    stored = pages.view(offset, len(PAGE))
    return None if stored is None else bytes(stored)


def write(pages: PageFile, offset: int, data: bytes) -> None:
    pages.write(offset, memoryview(data))


@pytest.fixture
def tmpfs_store() -> Iterator[PageStore]:
    with closing(MemoryStore()) as made:
        yield made


def adopted(store: PageStore, pages: PageFile) -> PageFile:
    """Adopt the same page file as a worker does, from copies of its descriptors."""
    descriptors = [os.dup(descriptor) for descriptor in pages.descriptors()]
    return load(store.kind).adopt(descriptors, pages.size_bytes)


def stored_bytes(pages: PageFile) -> int:
    """Return the bytes that are allocated to all files of a page file, as ``du`` does."""
    return sum(os.fstat(descriptor).st_blocks * 512 for descriptor in pages.descriptors())


CHILD = """
import json, os, sys
from pathlib import Path
from netboot.pages.stores.store import load, make_store
from netboot.profile.stores import StoreSpec
kind, descriptors, size_bytes = json.loads(sys.argv[1])
pages = load(kind).adopt(descriptors, size_bytes)
def read(offset, length):
    buffer = bytearray(length)
    pages.read_into(offset, memoryview(buffer))
    return bytes(buffer)
"""


@contextmanager
def child(store: PageStore, pages: PageFile, code: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Start another process that has adopted ``pages`` and runs ``code``."""
    given = list(pages.descriptors())
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD + code, json.dumps([store.kind, given, pages.size_bytes])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=given,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_what_is_written_is_read_everywhere(store: PageStore) -> None:
    pages = store.create("a", SIZE)
    assert read(pages, 0, SIZE) == bytes(SIZE)
    worker = adopted(store, pages)
    write(worker, 1000, PAGE)
    worker.flush()
    assert read(pages, 1000, len(PAGE)) == PAGE
    worker.close()
    assert read(pages, 1000, len(PAGE)) == PAGE  # pages outlive the worker
    other = store.create("b", SIZE)
    assert read(other, 0, SIZE) == bytes(SIZE)
    assert store.names() == ["a", "b"]
    other.close()
    pages.close()


def follow_a_bytearray(
    store: PageStore, pages: PageFile, steps: list[tuple[str, int, int, bool]]
) -> tuple[PageFile, bytearray]:
    """Do the steps, and the same to a bytearray. Return both at the end, which are equal."""
    model = bytearray(SIZE)
    for number, (step, offset, length, whole_pages) in enumerate(steps, 1):
        if whole_pages:
            offset, length = offset & -4096, length & -4096
        length = min(length, SIZE - offset)
        if step == "adopt":
            fresh = adopted(store, pages)
            pages.close()
            pages = fresh
            continue
        model[offset : offset + length] = bytes(length)
        if step == "write":
            model[offset : offset + length] = bytes([number]) * length
            pages.write(offset, memoryview(model)[offset : offset + length])
        elif step == "trim":
            pages.trim(offset, length)
        else:
            pages.zero(offset, length, allocate=step == "allocate")
        assert read(pages, offset, length) == model[offset : offset + length]
    assert read(pages, 0, SIZE) == model
    return pages, model


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "trim", "zero", "allocate", "adopt"]),
        st.integers(0, SIZE),
        st.integers(0, SIZE),
        st.booleans(),
    ),
    max_size=12,
)


@pytest.mark.parametrize("kind", KEEPING)
@settings(max_examples=60)
@given(steps=STEPS)
def test_like_a_bytearray(
    kind: str, steps: list[tuple[str, int, int, bool]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "model"
    with closing(make_store(spec_of(kind, folder))) as store:
        pages, model = follow_a_bytearray(store, store.create("a", SIZE), steps)
        check_extents(pages, model, 0, SIZE)
        check_extents(pages, model, 1000, SIZE - 3000)
        pages.close()


def test_what_one_worker_gives_back_no_other_takes_again(tmpfs_store: PageStore) -> None:
    """Processes that share a page file share its notes, so none allocates a page for a hole."""
    pages = tmpfs_store.create("a", SIZE)
    one, other = adopted(tmpfs_store, pages), adopted(tmpfs_store, pages)
    empty = stored_bytes(pages)
    write(one, 0, PAGE)
    assert viewed(other, 0) == PAGE
    other.trim(0, len(PAGE))
    assert viewed(one, 0) is None
    assert read(one, 0, len(PAGE)) == bytes(len(PAGE))
    assert stored_bytes(pages) == empty
    for each in (one, other, pages):
        each.close()


def test_a_page_that_was_read_and_is_no_hole_is_used_where_it_is(tmpfs_store: PageStore) -> None:
    pages = tmpfs_store.create("a", SIZE)
    os.pwrite(pages.descriptors()[0], PAGE, 0)  # like a writer killed before it set its note
    assert viewed(pages, 0) is None
    assert read(pages, 0, len(PAGE)) == PAGE
    assert read(pages, 8192, len(PAGE)) == bytes(len(PAGE))
    assert (viewed(pages, 0), viewed(pages, 8192)) == (PAGE, None)
    pages.close()


def test_size_need_not_be_whole_pages(store: PageStore) -> None:
    pages = store.create("a", 10001)
    write(pages, 8000, PAGE[:2001])
    assert read(pages, 0, 10001) == bytes(8000) + PAGE[:2001]
    assert list(pages.extents(0, 10001)) == [(4096, True), (5905, False)]
    pages.zero(9000, 1001, allocate=True)
    assert read(pages, 8000, 2001) == PAGE[:1000] + bytes(1001)
    pages.trim(1, 10000)
    assert read(pages, 0, 10001) == bytes(10001)
    pages.close()


def check_extents(pages: PageFile, model: bytearray, offset: int, length: int) -> None:
    at = offset
    for size, hole in pages.extents(offset, length):
        assert size > 0
        assert not hole or not any(model[at : at + size])
        at += size
    assert at == offset + length


def test_extents_show_what_was_written(store: PageStore) -> None:
    pages = store.create("a", MIB)
    assert list(pages.extents(0, MIB)) == [(MIB, True)]
    assert list(pages.extents(5, 0)) == []
    write(pages, 128 << 10, PAGE * 2)
    write(pages, 512 << 10, PAGE)
    expected = [(128, True), (8, False), (376, True), (4, False), (508, True)]
    assert list(pages.extents(0, MIB)) == [(size << 10, hole) for size, hole in expected]
    assert list(pages.extents((128 << 10) + 100, 9000)) == [(8092, False), (908, True)]
    pages.close()


def test_room_is_taken_by_written_pages_only_and_given_back(store: PageStore) -> None:
    pages = store.create("a", 1 << 30)
    empty = stored_bytes(pages)
    read(pages, 123456, MIB)
    assert stored_bytes(pages) == empty
    for page in range(4):
        write(pages, page * 4096 * 1000, PAGE)
    pages.flush()
    # A disk's file system uses a block or two for its own list of the pages.
    assert 4 * 4096 <= stored_bytes(pages) - empty <= 6 * 4096
    pages.trim(0, 4096)
    pages.zero(4096 * 1000, 4096, allocate=False)
    assert 2 * 4096 <= stored_bytes(pages) - empty <= 4 * 4096
    pages.zero(0, 8192, allocate=True)
    assert stored_bytes(pages) - empty >= 4 * 4096
    assert read(pages, 0, 4096) == bytes(4096)
    pages.close()


def test_removed_pages_never_read_as_zeros_for_whoever_has_them_open(store: PageStore) -> None:
    pages = store.create("a", SIZE)
    write(pages, 0, PAGE)
    store.remove("a")
    with contextlib.suppress(OSError, Damaged):
        assert read(pages, 0, len(PAGE)) == PAGE
    again = store.create("a", SIZE)
    assert read(again, 0, SIZE) == bytes(SIZE)
    again.close()
    pages.close()


def test_failures_are_oserrors(store: PageStore) -> None:
    pages = store.create("a", SIZE)
    with pytest.raises(FileExistsError):
        store.create("a", SIZE)
    with pytest.raises(FileNotFoundError):
        store.open("b", SIZE)
    with pytest.raises(FileNotFoundError, match="page file a has another size"):
        store.open("a", 4096)
    pages.close()


def test_pages_are_opened_alone_only_when_no_older_process_has_them_open_so(
    store: PageStore,
) -> None:
    """A worker has copies of the descriptors. Servers that share pages, as static exports do, may open them."""
    made = store.create("a", SIZE, alone=True)
    copy = adopted(store, made)
    made.close()
    with pytest.raises(OSError, match="a process of the server before still has them open") as busy:
        store.open("a", SIZE, alone=True)
    assert busy.value.errno == errno.EBUSY
    copy.close()
    store.open("a", SIZE, alone=True).close()
    store.open("a", SIZE).close()


# Crashes.


def test_another_process_adopts_and_nothing_acknowledged_is_lost_when_it_is_killed(
    store: PageStore,
) -> None:
    """The process is killed during a write, with more pages written than 4 MiB can hold."""
    pages = store.create("a", 16 * MIB)
    code = """
import itertools, time
from netboot.pages.nbd.backing import Busy
for number in itertools.count(1):
    page = number * 7 % 4096
    while True:
        try:
            pages.write(page * 4096, memoryview(number.to_bytes(8, "big") * 512))
            break
        except Busy:
            time.sleep(0.001)
    os.write(1, number.to_bytes(8, "big"))
"""
    with child(store, pages, code) as writer:
        assert writer.stdout is not None
        last = 0
        while last < 5000:
            last = int.from_bytes(writer.stdout.read(8), "big")
        os.kill(writer.pid, signal.SIGKILL)
        rest = writer.stdout.read()
        last = int.from_bytes(rest[len(rest) // 8 * 8 - 8 : len(rest) // 8 * 8], "big") or last
        writer.wait()
    survivor = adopted(store, pages)
    for number in range(max(last - 4090, 1), last + 1):
        expected = number.to_bytes(8, "big") * 512
        assert read(survivor, number * 7 % 4096 * 4096, 4096) == expected, number
    survivor.close()
    pages.close()


def killed_server(spec: StoreSpec, name: str) -> None:
    """Run a server that creates page file ``a``, writes to it and is killed."""
    code = (
        "import os; from pathlib import Path, PosixPath; "
        "from netboot.pages.stores.store import make_store; "
        "from netboot.profile.stores import StoreSpec; "
        f"s = make_store({spec!r}, {name!r}); p = s.create('a', {SIZE}); "
        "m = s.making('a'); m and m.result(30); "
        "p.write(4096, memoryview(b'x' * 4096)); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9


def test_server_with_a_name_finds_its_pages_again(spec: StoreSpec) -> None:
    name = f"test-{os.getpid()}"
    killed_server(spec, name)
    store = make_store(spec, name)
    try:
        assert store.names() == ["a"]
        pages = store.open("a", SIZE)
        assert read(pages, 0, 12288) == bytes(4096) + b"x" * 4096 + bytes(4096)
        with pytest.raises(OperatorError, match="another server keeps its pages in"):
            make_store(spec, name)
        pages.close()
        store.close()
        store = make_store(spec, name)
        pages = store.open("a", SIZE)
        assert read(pages, 4096, 4096) == b"x" * 4096
        pages.close()
    finally:
        store.remove("a")
        store.close()
        assert store.directory is not None
        for left in store.directory.iterdir():
            left.unlink()
        store.directory.rmdir()


def test_server_without_a_name_is_swept_after_its_death(spec: StoreSpec) -> None:
    killed_server(spec, "")
    with closing(make_store(spec)) as store:
        assert store.names() == []
        assert store.directory is not None
        others = store.directory.parent.glob("netboot-pages-*")
        assert store.directory in others
        assert store.directory.stat().st_mode & 0o777 == 0o700
        with closing(make_store(spec)) as second:
            assert second.directory != store.directory
            assert store.directory.exists()  # its server is running
    assert not store.directory.exists()


# The notation in a profile.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("memory", StoreSpec("memory")),
        (" null ", StoreSpec("null")),
        ("disk:/a,b", StoreSpec("disk", Path("/a,b"))),
        ("disk:pages", StoreSpec("disk", Path("pages"))),
    ],
)
def test_parse(text: str, expected: StoreSpec) -> None:
    assert parse_store(text) == expected


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("memroy", "did you mean 'memory'?"),
        ("dsk:/a", "did you mean 'disk:DIR'?"),
        ("disk", "did you mean 'disk:DIR'?"),
        ("disk:", "did you mean 'disk:DIR'?"),
        ("memory:/a", "did you mean 'memory'?"),
        ("", ""),
    ],
)
def test_mistakes_are_told_with_what_was_meant(text: str, hint: str) -> None:
    with pytest.raises(OperatorError, match="expected memory, disk:DIR") as caught:
        parse_store(text)
    assert caught.value.hint == hint


def test_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(OperatorError, match="no page store 'memroy'") as caught:
        load("memroy")
    assert caught.value.hint == f"one of: {', '.join(BY_NAME)}"


def test_folder_that_cannot_be_is_the_operators_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for kind in KEEPING:
        if "DIR" in BY_NAME[kind].form:
            with pytest.raises(OperatorError, match="cannot keep pages in"):
                make_store(spec_of(kind, tmp_path / "file" / "below"))
    with pytest.raises(OperatorError, match="no name for a server"):
        make_store(parse_store("memory"), "../up")


# A full disk.

FULL = """
import itertools, os, sys
from pathlib import Path
from netboot.pages.nbd.backing import Busy
from netboot.pages.stores.store import make_store
from netboot.profile.stores import parse_store
store = make_store(parse_store(sys.argv[1]))
pages = store.create("a", 64 << 20)
def read(offset, length):
    buffer = bytearray(length)
    pages.read_into(offset, memoryview(buffer))
    return bytes(buffer)
accepted, refused = 0, 0
while refused < 20:
    try:
        pages.write(accepted * 4096, memoryview(accepted.to_bytes(8, "big") * 512))
        accepted += 1
        refused = 0
    except Busy:
        refused += 1
        import time; time.sleep(0.01)
assert accepted >= 200, accepted
for page in range(accepted):
    assert read(page * 4096, 4096) == page.to_bytes(8, "big") * 512, page
pages.trim(0, 100 * 4096)
for _ in range(200):
    try:
        pages.write(accepted * 4096, memoryview(b"z" * 4096))
        break
    except Busy:
        time.sleep(0.01)
else:
    raise AssertionError("no room after a trim")
assert read(accepted * 4096, 4096) == b"z" * 4096
pages.close()
store.close()
print(accepted)
"""


@pytest.mark.root
@pytest.mark.parametrize("kind", KEEPING)
def test_full_disk_delays_and_loses_nothing(kind: str, tmp_path: Path) -> None:
    script = (
        "mount -t tmpfs -o size=1m none $1 && "
        "{ [ $2 != memory ] || mount -t tmpfs -o size=1m none /dev/shm; } && "
        'exec "$3" -c "$4" "$5"'
    )
    spec = spec_of(kind, tmp_path)
    text = BY_NAME[kind].form.replace("DIR", str(spec.directory)).replace("SIZE", "4MiB")
    command = ["unshare", "-m", "sh", "-c", script, "sh", str(tmp_path), kind]
    done = subprocess.run(
        [*command, sys.executable, FULL, text], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
