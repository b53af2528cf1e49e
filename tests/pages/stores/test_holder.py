"""Two servers, perhaps of two machines, that want one folder of pages."""

import errno
import json
import os
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from netboot.errors import OperatorError
from netboot.host import boot
from netboot.pages.stores import folder as folders
from netboot.pages.stores import holder
from netboot.pages.stores.disk import CLOSED, WRITER, DiskStore
from netboot.pages.stores.holder import HOLDER, Hold, is_remote, note_of

pytestmark = pytest.mark.system

PAGE = b"page" * 1024
NEVER = 3600.0


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return how to be another machine."""
    path = tmp_path / "boot_id"
    monkeypatch.setattr(boot, "FILE", path)

    def become(name: str) -> None:
        path.write_text(f"{name}\n")

    become("first")
    return become


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that several machines have, and that carries no locks from one to the other."""
    unlocked = SimpleNamespace(flock=lambda *_: None, LOCK_EX=0, LOCK_NB=0)
    monkeypatch.setattr(holder, "fcntl", unlocked)
    monkeypatch.setattr(folders, "fcntl", unlocked)
    monkeypatch.setattr(holder, "is_remote", lambda _: True)
    monkeypatch.setattr(holder, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(holder, "WATCH_SECONDS", 30.0)
    monkeypatch.setattr(holder, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(holder, "POLL_SECONDS", 0.01)


def test_the_refusal_says_who_has_the_folder_and_since_when(tmp_path: Path) -> None:
    hold = Hold(tmp_path)
    note = note_of(tmp_path)
    with pytest.raises(OperatorError) as refused:
        Hold(tmp_path)
    who = rf"process {os.getpid()} of {note['host']}, since \d{{4}}-\d\d-\d\d \d\d:\d\d"
    refused.match(f"^another server keeps its pages in {tmp_path}: {who}$")
    assert "stop it first" in refused.value.hint
    hold.release()
    assert note_of(tmp_path)["held"] is False
    Hold(tmp_path).release()


def test_a_local_file_system_is_not_watched(
    tmp_path: Path, machine: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a crash of the machine, or when a disk moved to another one: nobody else can have it."""
    monkeypatch.setattr(holder, "WATCH_SECONDS", NEVER)
    monkeypatch.setattr(holder, "SETTLE_SECONDS", NEVER)
    with (tmp_path / HOLDER).open("w") as file:
        json.dump({"held": True, "boot": "crashed\n", "epoch": "of before"}, file)
    Hold(tmp_path).release()


@pytest.mark.parametrize(
    ("mounted", "expected"),
    [
        ("/ rw - ext4 /dev/sda rw", True),
        ("/dev/shm rw - tmpfs tmpfs rw", False),
        ("/dev/shm rw - nfs4 server:/pages rw", True),
        ("/dev/shm rw - ceph a@b.c=/ rw", True),
        ("/dev/shm rw - fuse.glusterfs server:/pages rw", True),
        ("/dev\\134shm rw - nfs4 server:/pages rw\n2 1 0:2 / /dev rw - tmpfs none rw", False),
        ("/dev/shm rw - nfs4 server:/pages rw\n2 1 0:2 / /dev/shm rw - tmpfs none rw", False),
    ],
)
def test_what_other_machines_can_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mounted: str, expected: bool
) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(f"1 0 0:1 / / rw - ext4 /dev/sda rw\n1 1 0:1 / {mounted}\n")
    monkeypatch.setattr(holder, "MOUNTS", table)
    assert is_remote(Path("/dev/shm")) is expected  # a file system without a block device


@pytest.mark.usefixtures("remote")
def test_a_server_that_lives_on_another_machine_is_noticed_without_a_lock(
    tmp_path: Path, machine: Callable[[str], None]
) -> None:
    first = Hold(tmp_path)
    machine("second")
    with pytest.raises(OperatorError, match=f"another server .*: process {os.getpid()} of"):
        Hold(tmp_path)
    machine("first")
    first.release()
    machine("second")
    Hold(tmp_path).release()  # at once: it has let go


@pytest.mark.usefixtures("remote")
def test_of_two_that_begin_at_once_the_later_one_has_the_folder(
    tmp_path: Path, machine: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtake(_: float) -> None:
        note = {**note_of(tmp_path), "epoch": "another"}
        (tmp_path / HOLDER).write_text(json.dumps(note))

    monkeypatch.setattr(holder, "time", SimpleNamespace(time=lambda: 0.0, sleep=overtake))
    with pytest.raises(OperatorError, match="another server keeps its pages"):
        Hold(tmp_path)


@pytest.mark.usefixtures("remote")
def test_a_server_that_stood_still_is_told_that_it_lost_the_folder(
    tmp_path: Path,
    machine: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(holder, "WATCH_SECONDS", 0.05)
    beating, lost = threading.Event(), threading.Event()
    go_on = Hold._go_on

    def go_on_later(hold: Hold) -> None:
        assert beating.wait(10)
        go_on(hold)

    monkeypatch.setattr(Hold, "_go_on", go_on_later)
    first = Hold(tmp_path, lost.set)
    machine("second")
    second = Hold(tmp_path)
    assert "which did not let go; watching" in caplog.text
    with pytest.raises(OSError, match="another server has taken the folder"):
        first.check()
    first._write()  # it stood still between the check and this
    second.check()
    beating.set()
    assert lost.wait(10)
    assert "another server has taken the folder while this one stood still" in caplog.text
    first.release()
    assert note_of(tmp_path)["held"] is True, "not its own any more"
    second.release()


@pytest.mark.usefixtures("remote")
def test_pages_of_a_server_that_stood_still_are_not_those_of_the_next(
    tmp_path: Path, machine: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may write, and read, until it notices. Its successor has other files, and its own notes."""
    monkeypatch.setattr(holder, "WATCH_SECONDS", 0.05)
    monkeypatch.setattr(Hold, "_go_on", lambda self: None)
    first = DiskStore(tmp_path, "room")
    late = first.create("a", 8192, alone=True)
    late.write(0, memoryview(PAGE))
    machine("second")
    with closing(DiskStore(tmp_path, "room")) as second:
        assert second.names() == []
        pages = second.create("a", 8192, alone=True)
        late.write(4096, memoryview(PAGE))
        found = bytearray(8192)
        late.read_into(0, memoryview(found))
        assert found == PAGE * 2, "no zeros"
        pages.read_into(0, memoryview(found))
        assert found == bytes(8192)
        late.close()
        with pytest.raises(OSError, match="another server has taken the folder"):
            first.mend()
        first.close()
        assert (second.directory / WRITER).read_text() != CLOSED
        pages.close()


def test_a_full_disk_keeps_no_server_of_an_earlier_release_from_its_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        store = DiskStore(tmp_path, "room")
    assert "No space left on device; make room there, and start the server again" in caplog.text
    with pytest.raises(OperatorError, match="another server keeps its pages in"):
        DiskStore(tmp_path, "room")
    store.mend()
    store.close()


@pytest.mark.parametrize("damage", [b"", b"[]", b"{", b"\xff" * 9, b'{"held": 1, "since": "x"}'])
def test_a_damaged_note_stops_no_server(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / HOLDER).write_bytes(damage)
    hold = Hold(tmp_path)
    hold.check()
    (tmp_path / HOLDER).write_bytes(damage)
    hold.check()
    with pytest.raises(OperatorError, match=f"another server keeps its pages in {tmp_path}$"):
        Hold(tmp_path)
    hold.release()
