"""Whether there is room for what is promised."""

import asyncio
import os
from pathlib import Path

import pytest

from netboot.host.memory import Limit
from netboot.pages import headroom
from netboot.pages.headroom import BESIDE_BYTES, Holding, Promise, look, pages_in
from netboot.profile.stores import StoreSpec

MIB, GIB = 1 << 20, 1 << 30
MEMORY = StoreSpec("memory")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a store: 1 GiB of room in 8 GiB of RAM without any other limit."""
    monkeypatch.setattr(headroom, "room", lambda directory: GIB)
    monkeypatch.setattr(headroom, "_free", lambda directory: 2 * GIB)
    monkeypatch.setattr(headroom, "ram_bytes", lambda: 8 * GIB)
    monkeypatch.setattr(headroom, "memory_limits", lambda own=0: [Limit("the RAM", 7 * GIB)])
    monkeypatch.setattr(headroom, "free_bytes", lambda: 8 * GIB)
    monkeypatch.setattr(headroom, "_inodes", lambda directory: [])
    (directory := tmp_path / "store").mkdir()
    return directory


def test_pages_that_are_stored_count_as_room(tmp_path: Path) -> None:
    before = headroom.room(tmp_path)
    (tmp_path / "a.pages").write_bytes(bytes(8 << 20))
    assert abs(headroom.room(tmp_path) - before) < 4 << 20, "beside other users of this disk"
    assert headroom.used(tmp_path) >= 8 << 20


@pytest.mark.parametrize("size", [0, MIB, 64 * MIB, 64 * MIB + 4095, 8 * GIB])
def test_pages_and_their_notes_and_the_state_fit(size: int) -> None:
    pages = pages_in(size)
    assert pages + -(-pages // 4096) + BESIDE_BYTES <= size or pages == 0
    assert size < 2 * MIB or pages_in(size) > (size - BESIDE_BYTES) * 4090 // 4096


def test_without_a_capacity_what_fits_is_granted(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert look(Promise(MEMORY), store, 0) == Holding(pages_in(GIB))
    assert look(Promise(MEMORY, overcommit=2.0), store, 0).granted == 2 * pages_in(GIB)
    monkeypatch.setattr(headroom, "room", lambda directory: 64 * GIB)
    assert look(Promise(MEMORY), store, 0).granted == 4 * GIB, "half of the RAM"


def test_a_capacity_that_does_not_fit_is_told_with_both_figures_and_the_remedy(store: Path) -> None:
    found = look(Promise(MEMORY, 2 * GIB), store, 0)
    assert found.granted == 2 * GIB, "writes wait, and nobody loses a page"
    (warning,) = found.warnings
    assert warning.startswith(f"{store.parent} has room for 1022 of 2048 MiB that PCs may store; ")
    assert warning.endswith("or set a smaller swap.capacity")
    assert look(Promise(MEMORY, GIB // 2), store, 0).warnings == ()


def test_what_is_granted_already_is_compared_as_well(store: Path) -> None:
    assert look(Promise(MEMORY), store, GIB // 2).warnings == ()
    assert look(Promise(MEMORY, overcommit=3.0), store, 2 * GIB).warnings == ()
    assert look(Promise(MEMORY), store, GIB + GIB // 20).warnings == (), "its processes grew"
    (warning,) = look(Promise(MEMORY), store, 2 * GIB).warnings
    assert "room for 1022 of 2048 MiB" in warning


@pytest.mark.parametrize("promise", [Promise(MEMORY), Promise(MEMORY, 512 * MIB, 2.0)])
def test_no_more_is_promised_than_a_cgroup_can_hold(
    store: Path, monkeypatch: pytest.MonkeyPatch, promise: Promise
) -> None:
    """More would not wait for room: the kernel would kill this server."""
    limits = [Limit("the memory limit of cgroup /x", 180 * MIB)]
    monkeypatch.setattr(headroom, "memory_limits", lambda own=0: limits)
    found = look(promise, store, 0)
    assert found.granted == 180 * MIB
    told = "the memory limit of cgroup /x has room for 180 of 512 MiB that PCs may store"
    assert [text.startswith(told) for text in found.warnings] == [True] * bool(promise.capacity)


def test_a_store_on_disk_needs_room_on_its_disk_alone(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def room(directory: Path) -> int:
        asked.append(directory)
        return GIB

    monkeypatch.setattr(headroom, "room", room)
    monkeypatch.setattr(headroom, "memory_limits", lambda own=0: [Limit("x", 0)])
    tiered = StoreSpec("tiered", tmp_path / "ssd", 64 * MIB)
    for spec in (StoreSpec("disk", tmp_path), tiered):
        assert look(Promise(spec, 2 * GIB), store, 0).granted == 2 * GIB
    assert asked == [store, tmp_path / "ssd" / "store"]


def test_the_memory_of_a_tiered_store_is_no_more_than_its_cgroup_has(
    store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spec = StoreSpec("tiered", store, GIB)
    assert headroom.affordable(spec, "room") == spec
    monkeypatch.setattr(headroom, "memory_limits", lambda own=0: [Limit("cgroup /x", 100 * MIB)])
    assert headroom.affordable(spec, "room") == StoreSpec("tiered", store, 100 * MIB)
    assert "memory=1024 MiB, but cgroup /x leaves 100 MiB, which is used" in caplog.text


def test_the_memory_of_a_tiered_store_fits_into_its_tmpfs_with_the_pages_of_before(
    store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """All writes waited at a tmpfs smaller than memory=. After an upgrade ours are there as well."""
    tmpfs, spec = store.parent, StoreSpec("tiered", store, 128 * MIB)
    monkeypatch.setattr(headroom, "TMPFS", tmpfs)
    monkeypatch.setattr(headroom, "_free", lambda directory: 100 * MIB + BESIDE_BYTES)
    own: list[int] = []

    def limits(used: int) -> list[Limit]:
        own.append(used)
        return []

    monkeypatch.setattr(headroom, "memory_limits", limits)
    assert headroom.affordable(spec, "room").memory_bytes == 100 * MIB
    assert f"memory=128 MiB, but {tmpfs} leaves 100 MiB, which is used" in caplog.text
    (kept := tmpfs / "netboot-kept-room").mkdir()
    monkeypatch.setattr(headroom, "used", lambda directory: 28 * MIB * (directory == kept))
    assert headroom.affordable(spec, "room") == spec
    assert own == [0, 28 * MIB]


@pytest.mark.parametrize(
    "promise",
    [Promise(MEMORY, GIB // 2), Promise(StoreSpec("tiered", Path("/"), GIB // 2), GIB // 2)],
)
def test_memory_that_other_programs_have_is_told(
    store: Path, monkeypatch: pytest.MonkeyPatch, promise: Promise
) -> None:
    assert look(promise, store, 0).warnings == ()
    monkeypatch.setattr(headroom, "free_bytes", lambda: 100 * MIB)
    (store / "a.pages").write_bytes(bytes(MIB))
    (warning,) = look(promise, store, 0).warnings
    told = "this machine, beside its other programs, has room for 101 of 512 MiB that PCs may store"
    assert warning.startswith(told)


def test_overcommit_is_bounded_by_ram_only_if_the_tmpfs_is_larger(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tmpfs that is full makes writes wait; without RAM the kernel kills."""
    assert look(Promise(MEMORY, GIB // 2, 16.0), store, 0) == Holding(8 * GIB)
    monkeypatch.setattr(headroom, "room", lambda directory: 64 * GIB)
    found = look(Promise(MEMORY, GIB, 8.0), store, 0)
    assert found.granted == 7 * GIB
    (warning,) = found.warnings
    assert warning.startswith("the RAM has room for 7168 of the 8192 MiB of swap.overcommit, so no")


def test_few_inodes_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs(tmp_path)

    def few(path: Path) -> os.statvfs_result:
        return os.statvfs_result([*real[:5], 12, 6, 6, *real[8:]])

    monkeypatch.setattr(os, "statvfs", few)
    (warning,) = headroom._inodes(tmp_path / "store")
    assert warning.startswith(f"{tmp_path} has 6 inodes left, expected ")


def test_pages_of_an_earlier_store_are_told_with_the_command_that_frees_them(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(headroom, "TMPFS", tmp_path / "shm")
    (before := tmp_path / "old").mkdir()
    assert headroom.left_behind(store, [before, tmp_path / "gone", store]) == []
    (tmp_path / "shm/store").mkdir(parents=True)
    for folder in (before, tmp_path / "shm/store", store):
        (folder / "a.pages").write_bytes(bytes(MIB))
    memory, old = headroom.left_behind(store, [before, before, store])
    assert f"{before} has 1 MiB of pages of an earlier swap.store" in old
    assert old.endswith(f"free them: rm -r {before}") and "shm/store" in memory


def test_each_warning_is_told_when_it_is_new(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seen = iter([("a has 1", "b has 1"), ("a has 2",), (), ("a has 3",)])
    looked = asyncio.Event()

    def holding() -> Holding:
        warnings = next(seen, None)
        if warnings is None:
            looked.set()
            raise OSError(2, "No such file or directory", "/dev/shm/x")
        return Holding(0, warnings)

    async def run() -> None:
        task = asyncio.create_task(headroom.watch(holding))
        await looked.wait()
        task.cancel()

    monkeypatch.setattr(headroom, "LOOK_SECONDS", 0)
    asyncio.run(run())
    assert [record.getMessage() for record in caplog.records] == [
        "pages: a has 1",
        "pages: b has 1",
        "pages: a has 3",
        "pages: /dev/shm/x: No such file or directory",
    ]
