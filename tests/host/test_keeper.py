"""The keeper of a state: many changes in one save, copies that fail, and nobody who waits for ever."""

import asyncio
import errno
import threading
from pathlib import Path

import pytest

from netboot.host import keeper as keepers
from netboot.host.keeper import Copy, Keeper
from netboot.host.state import StateFile


class Disk(StateFile):
    """A state file on a disk that can be full, or slow: it waits for ``may_go_on``."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.error = 0
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.texts: list[str] = []

    def write(self, text: str) -> None:
        self.may_go_on.wait(5)
        if self.error:
            raise OSError(self.error, "No space left on device")
        self.texts.append(text)


class Place:
    """A keeper of ``count`` copies of ``state``."""

    def __init__(self, folder: Path, count: int = 2) -> None:
        self.state = 0
        self.disks = [Disk(folder / str(number)) for number in range(count)]
        self.keeper = Keeper("numbers", [Copy(disk, self.text) for disk in self.disks])

    def text(self) -> str:
        return str(self.state)

    def change(self) -> int:
        self.state += 1
        return self.keeper.changed()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(keepers, "RETRY_SECONDS", 0.001)
    monkeypatch.setattr(keepers, "REST_SECONDS", 0)
    return Place(tmp_path)


def test_the_changes_of_a_moment_are_saved_together(place: Place) -> None:
    async def run() -> None:
        numbers = [place.change() for _ in range(100)]
        assert await place.keeper.saved(numbers[-1], 5)
        for _ in range(100):
            place.change()
        await place.keeper.stop()

    asyncio.run(run())
    for disk in place.disks:
        assert disk.texts[-1] == "200" and len(disk.texts) <= 3


def test_a_change_is_saved_as_soon_as_one_copy_has_it(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = place.disks
    first.error = errno.ENOSPC

    async def run() -> None:
        assert await place.keeper.saved(place.change(), 5)
        assert second.texts == ["1"] and first.texts == []
        first.error, second.error = 0, errno.ENOSPC
        assert await place.keeper.saved(place.change(), 5)
        second.error = 0
        await place.keeper.stop()

    asyncio.run(run())
    assert place.disks[1].texts[-1] == "2"
    lines = [record.getMessage() for record in caplog.records]
    failed = [line for line in lines if "cannot save" in line]
    healed = [line for line in lines if "is saved again" in line]
    assert len(failed) == 2 and "No space left on device; make it writable" in failed[0]
    assert len(healed) == 2


def test_no_change_is_said_to_be_saved_that_no_copy_has(place: Place) -> None:
    for disk in place.disks:
        disk.error = errno.EROFS

    async def run() -> None:
        change = place.change()
        assert not await place.keeper.saved(change, 0.02)
        assert not place.keeper.is_saved(change)
        place.disks[0].error = 0
        assert await place.keeper.saved(change, 5), "it is tried again until it works"
        await place.keeper.stop()

    asyncio.run(run())


def test_an_older_text_never_comes_after_a_newer_one(place: Place) -> None:
    """A thread is in the middle of a save when the server flushes, and ends."""
    place.disks[0].may_go_on.clear()

    async def run() -> None:
        place.change()
        await asyncio.sleep(0.01)
        place.change()
        place.disks[0].may_go_on.set()
        assert place.keeper.flush()
        await asyncio.sleep(0.01)
        await place.keeper.stop()

    asyncio.run(run())
    for disk in place.disks:
        assert disk.texts[-1] == "2" and disk.texts == sorted(disk.texts)


def test_a_state_without_copies_is_as_saved_as_it_can_be(tmp_path: Path) -> None:
    place = Place(tmp_path, count=0)
    assert place.keeper.is_saved(place.change()) and place.keeper.flush()


def test_without_a_loop_a_change_is_saved_at_once(place: Place) -> None:
    place.change()
    assert [disk.texts for disk in place.disks] == [["1"], ["1"]]


def test_a_disk_that_hangs_holds_up_no_other_copy_and_no_end(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state folder on NFS, say, beside pages on a tmpfs."""
    monkeypatch.setattr(keepers, "FLUSH_SECONDS", 0.02)
    fast, slow = place.disks
    slow.may_go_on.clear()

    async def run() -> None:
        for _ in range(3):
            assert await place.keeper.saved(place.change(), 1)
        assert fast.texts[-1] == "3" and slow.texts == []
        place.change()
        assert not place.keeper.flush() and fast.texts[-1] == "4"
        await place.keeper.stop()
        slow.may_go_on.set()

    asyncio.run(run())
    assert slow.texts == sorted(slow.texts), "an older text never comes after a newer one"


def test_without_another_thread_a_flush_writes_all_the_same(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    place.change()
    assert [disk.texts for disk in place.disks] == [["1"], ["1"]]
