"""The duties of a page store, kept by the store ``rbd`` on a real cluster."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings

from netboot.errors import OperatorError
from netboot.pages.nbd.backing import Busy, Fenced
from netboot.pages.stores.rbd import RbdStore, find_access, make_store
from netboot.pages.stores.rbdfile import RbdFile
from netboot.profile.stores import parse_store
from tests.pages.stores.test_stores import (
    MIB,
    PAGE,
    SIZE,
    STEPS,
    adopted,
    check_extents,
    child,
    follow_a_bytearray,
    killed_server,
    read,
    write,
)
from tests.support.ceph import POOL, Cluster

SPEC = parse_store(f"rbd:{POOL}")
BIG = 64 * MIB


@pytest.fixture
def store(cluster: Cluster) -> Iterator[RbdStore]:
    with closing(make_store(SPEC, "")) as made:
        yield made


def eventually(is_so: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "not so in time"
        time.sleep(0.1)


def create(store: RbdStore, name: str, size_bytes: int) -> RbdFile:
    """Create a page file, and wait until it is there."""
    pages = store.create(name, size_bytes)
    making = store.making(name)
    if making is not None:
        making.result(30)
    return pages


def test_what_is_written_is_read_everywhere(store: RbdStore) -> None:
    with closing(create(store, "a", SIZE)) as pages:
        assert read(pages, 0, SIZE) == bytes(SIZE)
        worker = adopted(store, pages)
        write(worker, 1000, PAGE)
        worker.flush()
        assert read(pages, 1000, len(PAGE)) == PAGE
        worker.close()
        assert read(pages, 1000, len(PAGE)) == PAGE
        with closing(create(store, "b", 10001)) as other:
            assert read(other, 0, 10001) == bytes(10001)
            write(other, 8000, PAGE[:2001])
            assert read(other, 0, 10001) == bytes(8000) + PAGE[:2001]
        assert store.names() == ["a", "b"]


@settings(max_examples=30)
@given(steps=STEPS)
def test_like_a_bytearray(steps: list[tuple[str, int, int, bool]], cluster: Cluster) -> None:
    with closing(RbdStore(find_access(SPEC))) as store:
        pages, model = follow_a_bytearray(store, create(store, "a", SIZE), steps)
        check_extents(pages, model, 1000, SIZE - 3000)
        pages.close()


def test_an_image_is_thin_and_trim_gives_its_room_back(store: RbdStore, cluster: Cluster) -> None:
    with closing(create(store, "a", 1 << 35)) as pages:
        write(pages, 1 << 34, PAGE)
        assert objects(cluster) == 1
        pages.trim(0, 1 << 30)
        pages.trim((1 << 34) - 8 * MIB, 16 * MIB)
        assert objects(cluster) == 0
        assert read(pages, 1 << 34, 4096) == bytes(4096)


def objects(cluster: Cluster) -> int:
    """Return the number of objects with data of all images."""
    found = subprocess.run(
        ["rados", "-c", str(cluster.conf), "--pool", POOL, "ls"], capture_output=True, check=True
    )
    return found.stdout.count(b"rbd_data.")


def test_failures_are_oserrors(store: RbdStore) -> None:
    with closing(create(store, "a", SIZE)):
        with pytest.raises(FileExistsError):
            store.create("a", SIZE)
        with pytest.raises(FileNotFoundError):
            store.open("b", SIZE)
        with pytest.raises(FileNotFoundError, match="page file a has another size"):
            store.open("a", 4096)
        with pytest.raises(FileNotFoundError):
            store.remove("b")


def test_removed_pages_never_read_as_zeros_for_whoever_has_them_open(store: RbdStore) -> None:
    pages = create(store, "a", SIZE)
    write(pages, 0, PAGE)
    store.remove("a")
    time.sleep(1)
    assert store.names() == []
    assert read(pages, 0, len(PAGE)) == PAGE
    name = pages._name
    assert name in store._cluster.names()
    pages.close()
    eventually(lambda: name not in store._cluster.names())


def test_the_pool_and_the_namespace_must_exist(cluster: Cluster) -> None:
    with pytest.raises(OperatorError, match="the Ceph cluster has no pool 'other'") as caught:
        make_store(parse_store("rbd:other"), "")
    assert caught.value.hint == "ceph osd pool create other"
    with pytest.raises(OperatorError, match="pool 'swap' has no namespace 'room'") as caught:
        make_store(parse_store("rbd:swap,namespace=room"), "")
    assert caught.value.hint == "rbd namespace create swap/room"
    cluster.rbd("namespace", "create", "swap/room")
    with closing(make_store(parse_store("rbd:swap,namespace=room"), "")) as store:
        create(store, "a", SIZE).close()
        assert "a" in cluster.rbd("list", "swap/room")
        assert cluster.rbd("list", "swap") == ""


# Crashes.


def test_another_process_adopts_and_nothing_acknowledged_is_lost_when_it_is_killed(
    store: RbdStore,
) -> None:
    """The next one does not wait for the dead owner of the lock, which Ceph would for 30 s."""
    pages = create(store, "a", 16 * MIB)
    code = """
import itertools
for number in itertools.count(1):
    pages.write(number * 7 % 4096 * 4096, memoryview(number.to_bytes(8, "big") * 512))
    os.write(1, number.to_bytes(8, "big"))
"""
    with child(store, pages, code) as writer:
        assert writer.stdout is not None
        last = 0
        while last < 500:
            last = int.from_bytes(writer.stdout.read(8), "big")
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
    survivor = adopted(store, pages)
    for number in range(1, last + 1):
        assert read(survivor, number * 7 % 4096 * 4096, 4096) == number.to_bytes(8, "big") * 512
    survivor.close()
    pages.close()


def test_what_a_stopped_owner_still_had_under_way_is_never_written(
    store: RbdStore, cluster: Cluster
) -> None:
    """It is stopped in the middle of its writes, another process takes over, and it goes on."""
    pages = create(store, "a", SIZE)
    code = """
from netboot.pages.nbd.backing import Fenced
try:
    while True:
        pages.write(0, memoryview(b"old." * 1024))
        os.write(1, b".")
except Fenced as error:
    os.write(2, str(error).encode())
    os._exit(7)
"""
    for _ in range(3):
        with child(store, pages, code) as owner:
            assert owner.stdout is not None
            assert len(owner.stdout.read(50)) == 50
            owner.send_signal(signal.SIGSTOP)
            taken = adopted(store, pages)
            write(taken, 0, b"new." * 1024)
            owner.send_signal(signal.SIGCONT)
            assert owner.wait(20) == 7
        time.sleep(0.5)
        assert read(taken, 0, 4096) == b"new." * 1024
        taken.close()
    pages.close()
    listed = cluster.ceph("osd", "blocklist", "ls").splitlines()
    ends = [datetime.fromisoformat(each.split()[1][:19]) for each in listed]
    assert max(ends) > datetime.now() + timedelta(days=20), listed


def entered(store: RbdStore, pages: RbdFile, set_number: int) -> RbdFile:
    """Adopt a page file as the worker of another server does, for a set."""
    made = adopted(store, pages)
    assert isinstance(made, RbdFile)
    made.enter(set_number)
    return made


@pytest.mark.parametrize(("stops_at", "breaks_in"), [("set_number", False), ("own", True)])
def test_a_worker_that_opens_an_image_late_writes_nothing_of_an_older_set(
    store: RbdStore, cluster: Cluster, stops_at: str, breaks_in: bool
) -> None:
    """It has a write that waits for the image, and stands still. The seat goes on at another server."""
    pages = create(store, "a", SIZE)
    code = f"""
from netboot.pages.nbd.backing import Fenced
from netboot.pages.stores import rbdfile
do = rbdfile.Image.{stops_at}
def stop_and_do(image):
    rbdfile.Image.{stops_at} = do
    os.write(1, b".")
    os.read(0, 1)
    return do(image)
rbdfile.Image.{stops_at} = stop_and_do
pages.enter(1)
try:
    pages.write(0, memoryview(b"old." * 1024))
except Fenced:
    os._exit(7)
os._exit(0)
"""
    with child(store, pages, code) as late:
        assert late.stdin is not None and late.stdout is not None
        assert late.stdout.read(1) == b"."
        taken = entered(store, pages, 2)
        write(taken, 0, b"new." * 1024)
        late.stdin.write(b".")
        late.stdin.flush()
        assert late.wait(30) == 7
    if breaks_in:
        with pytest.raises(Fenced):  # its seat attaches again
            read(taken, 0, 4096)
    else:
        assert read(taken, 0, 4096) == b"new." * 1024
    again = entered(store, pages, 3)
    assert read(again, 0, 4096) == b"new." * 1024
    assert cluster.rbd("image-meta", "get", f"{POOL}/{pages._name}", "netboot_set").strip() == "3"
    for each in (taken, again, pages):
        each.close()


def test_a_process_that_was_fenced_can_begin_anew(store: RbdStore) -> None:
    pages = create(store, "a", SIZE)
    mine = adopted(store, pages)
    write(mine, 0, b"mine" * 1024)
    code = 'pages.write(0, memoryview(b"next" * 1024)); os.write(1, b"."); sys.stdin.read()'
    with child(store, pages, code) as other:
        assert other.stdout is not None
        assert other.stdout.read(1) == b"."
        with pytest.raises(Fenced, match="another server has taken over its pages"):
            write(mine, 0, b"late" * 1024)
        with pytest.raises(Fenced):
            read(mine, 0, 4096)
    again = adopted(store, pages)
    assert read(again, 0, 4096) == b"next" * 1024
    for each in (mine, again, pages):
        each.close()


def test_server_with_a_name_finds_its_pages_again(cluster: Cluster) -> None:
    name = f"test-{os.getpid()}"
    killed_server(SPEC, name)
    with closing(make_store(SPEC, f"{name}-2")) as beside:
        assert beside.names() == []
    assert beside.directory is not None
    beside.directory.rmdir()
    store = make_store(SPEC, name)
    try:
        assert store.names() == ["a"]
        with pytest.raises(FileNotFoundError, match="page file a has another size"):
            store.open("a", 4096)
        with pytest.raises(OperatorError, match="another server keeps its pages in"):
            make_store(SPEC, name)
        with closing(store.open("a", SIZE)) as pages:
            assert read(pages, 0, 12288) == bytes(4096) + b"x" * 4096 + bytes(4096)
        store.close()
        store = make_store(SPEC, name)
        with closing(store.open("a", SIZE)) as pages:
            assert read(pages, 4096, 4096) == b"x" * 4096
    finally:
        store.remove("a")
        store.close()
        store.directory.rmdir()


def test_server_without_a_name_is_swept_after_its_death(cluster: Cluster) -> None:
    killed_server(SPEC, "")
    assert images(cluster) != []
    with closing(make_store(SPEC, "")) as store:
        assert store.names() == []
        eventually(lambda: images(cluster) == [], 60)  # its watch ends after 30 s


def images(cluster: Cluster) -> list[str]:
    return cluster.rbd("list", POOL).split()


# A full pool, and no cluster.


def test_a_full_pool_delays_and_loses_nothing(store: RbdStore, cluster: Cluster) -> None:
    pages = create(store, "a", BIG)
    mib = bytearray(MIB)
    cluster.ceph("osd", "pool", "set-quota", POOL, "max_bytes", str(8 * MIB))
    done = []

    def fill() -> None:
        for number in range(64):
            mib[:8] = number.to_bytes(8, "big")
            while True:
                with contextlib.suppress(Busy):
                    pages.write(number * MIB, memoryview(mib))
                    break
                time.sleep(0.05)
            done.append(number)
            time.sleep(0.2)

    writer = threading.Thread(target=fill, daemon=True)
    writer.start()
    try:
        eventually(lambda: "POOL_FULL" in cluster.ceph("health", "detail"), 60)
        time.sleep(2)
        stuck = len(done)
        time.sleep(2)
        assert len(done) == stuck < 64
    finally:
        cluster.ceph("osd", "pool", "set-quota", POOL, "max_bytes", "0")
    writer.join(60)
    assert done == list(range(64))
    for number in range(64):
        assert read(pages, number * MIB, 8) == number.to_bytes(8, "big")
    pages.close()


def test_without_monitors_pages_are_stored_and_a_server_does_not_start(
    store: RbdStore, cluster: Cluster
) -> None:
    pages = create(store, "a", SIZE)
    write(pages, 0, bytes(4096))
    cluster.signal("mon.a", signal.SIGSTOP)
    try:
        write(pages, 0, PAGE)  # OSDs need no monitor for that
        code = f"from netboot.pages.stores.rbd import *; make_store({SPEC!r}, '')"
        done = subprocess.run(
            [sys.executable, "-c", f"from netboot.profile.stores import StoreSpec; {code}"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (
            "the Ceph cluster with pool 'swap' cannot be used: Connection timed out" in done.stderr
        )
    finally:
        cluster.signal("mon.a", signal.SIGCONT)
    assert read(pages, 0, len(PAGE)) == PAGE
    pages.close()


def test_an_image_that_takes_long_to_be_made_is_there_later(
    store: RbdStore, cluster: Cluster
) -> None:
    """Nobody waits meanwhile but its PC."""
    for name in ("osd.0", "osd.1", "osd.2"):
        cluster.signal(name, signal.SIGSTOP)
    try:
        pages = store.create("a", SIZE)
        making = store.making("a")
        assert making is not None
        time.sleep(1)
        assert not making.done()
        assert store.names() == ["a"]
    finally:
        for name in ("osd.0", "osd.1", "osd.2"):
            cluster.signal(name, signal.SIGCONT)
    making.result(30)
    assert store.making("a") is None
    assert read(pages, 0, SIZE) == bytes(SIZE)
    pages.close()
    store.create("b", SIZE).close()
    store.remove("b")  # before it is made
    eventually(lambda: not any(".b." in each for each in images(cluster)))
