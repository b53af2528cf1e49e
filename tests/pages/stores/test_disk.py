"""The disk store on its own: the pages that it trusts after a restart. And the null store."""

import errno
import os
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from netboot.errors import OperatorError
from netboot.host import boot
from netboot.pages.stores import disk
from netboot.pages.stores.disk import CLOSED, WRITER, DiskStore
from netboot.pages.stores.null import NullStore
from netboot.pages.stores.store import load

pytestmark = pytest.mark.system


@pytest.fixture
def boot_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file whose change stands for a reboot."""
    path = tmp_path / "boot_id"
    path.write_text("first\n")
    monkeypatch.setattr(boot, "FILE", path)
    return path


def written(store: DiskStore) -> None:
    pages = store.create("a", 8192)
    pages.write(4096, memoryview(b"x" * 4096))
    pages.close()


def test_pages_survive_a_reboot_if_the_store_was_closed(boot_id: Path, tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "pages", "room")
    written(store)
    store.close()
    boot_id.write_text("second\n")
    with closing(DiskStore(tmp_path / "pages", "room")) as store:
        pages, buffer = store.open("a", 8192), bytearray(8192)
        pages.read_into(0, memoryview(buffer))
        assert buffer == bytes(4096) + b"x" * 4096
        pages.close()


def test_pages_of_a_kernel_that_crashed_are_not_believed(boot_id: Path, tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "pages", "room")
    written(store)
    kept = tmp_path / "pages" / "netboot-kept-room"
    shutil.copytree(kept, kept.with_name("netboot-kept-crashed"))  # never closed
    store.close()
    with closing(DiskStore(tmp_path / "pages", "crashed")) as same_boot:
        assert same_boot.names() == ["a"]
    (kept.with_name("netboot-kept-crashed") / disk.WRITER).write_text("before\n")
    with closing(DiskStore(tmp_path / "pages", "crashed")) as after:
        assert after.names() == []


def test_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "netboot-kept-room").mkdir(mode=0o755)
    with pytest.raises(OperatorError, match="cannot keep pages in"):
        DiskStore(tmp_path, "room")


def test_null_store_forgets() -> None:
    store = NullStore()
    pages, buffer = store.create("a", 1 << 40), bytearray(b"x" * 300_000)
    pages.write(0, memoryview(b"data"))
    pages.trim(0, 4096)
    pages.zero(0, 4096, allocate=True)
    pages.flush()
    load("null").adopt(pages.descriptors(), 1 << 40).read_into(0, memoryview(buffer))
    assert buffer == bytes(300_000)
    assert list(pages.extents(5, 100)) == [(100, True)]
    assert list(pages.extents(5, 0)) == []
    assert pages.size_bytes == 1 << 40
    assert store.names() == ()
    with pytest.raises(FileNotFoundError):
        store.open("a", 1 << 40)
    store.remove("a")
    pages.close()
    store.close()


def test_a_full_disk_keeps_no_server_from_its_pages(tmp_path: Path) -> None:
    """The note of the writer is written over the old one: that needs no room."""
    with closing(DiskStore(tmp_path, "room")) as store:
        store.create("a", 4096).close()
        note = store.directory / WRITER
        before = note.stat()
    assert note.read_text() == CLOSED
    with closing(DiskStore(tmp_path, "room")) as again:
        assert note.read_text() == boot.boot_id() and note.stat().st_ino == before.st_ino
        assert again.names() == ["a"]


@pytest.mark.parametrize("damage", [b"", b"close", b"\xff\xfe", b"closed" + bytes(30)])
def test_a_damaged_note_of_the_writer_is_of_nobody(tmp_path: Path, damage: bytes) -> None:
    with closing(DiskStore(tmp_path, "room")) as store:
        store.create("a", 4096).close()
        note = store.directory / WRITER
    note.write_bytes(damage)
    with closing(DiskStore(tmp_path, "room")) as again:
        assert again.names() == [], "wiped: they may be older than what was answered"
    note.unlink()
    note.mkdir()
    with closing(DiskStore(tmp_path, "room")) as again:
        assert note.read_text() == boot.boot_id() and again.names() == []


def test_a_store_whose_folder_was_removed_is_closed_in_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = DiskStore(tmp_path, "room")
    store.create("a", 4096).close()
    shutil.rmtree(store.directory)
    store.close()
    assert not caplog.records


def test_pages_that_were_not_flushed_are_not_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = DiskStore(tmp_path, "room")
    store.create("a", 4096).close()

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        store.close()
    assert (store.directory / WRITER).read_text() == boot.boot_id()
    assert "pages are not flushed: Input/output error" in caplog.text


def test_the_note_of_the_same_boot_is_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that was killed, and a disk that became read-only: a cut write would be of nobody."""
    with closing(DiskStore(tmp_path, "room")) as store:
        store.create("a", 4096).close()
    (store.directory / WRITER).write_text(boot.boot_id())
    with monkeypatch.context() as patch:
        patch.setattr(DiskStore, "_note", lambda self, writer: pytest.fail("written"))
        again = DiskStore(tmp_path, "room")
    assert again.names() == ["a"]
    again.close()
