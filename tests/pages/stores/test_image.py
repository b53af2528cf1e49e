"""Read-only exports of existing files: reads, refusals, and replacement of the file."""

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from netboot.errors import OperatorError
from netboot.pages.exports import Attachment
from netboot.pages.nbd.export import Export
from netboot.pages.nbd.name import WireName
from netboot.pages.static_exports import StaticExports
from netboot.pages.stores import image
from netboot.pages.stores.memory import MemoryStore
from netboot.pages.stores.null import NullStore
from netboot.pages.stores.store import load
from tests.support import scapy_nbd as nbd
from tests.support.nbd_client import NbdClient
from tests.support.page_server import Running, running

pytestmark = pytest.mark.system

MIB = 1 << 20
PAGE = bytes(range(256)) * 16
EPERM, TRIM, CACHE, WRITE_ZEROES = 1, 4, 5, 6


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return an image of 1 MiB: a page, a hole, a page."""
    path = tmp_path / "root.img"
    with path.open("wb") as file:
        file.write(PAGE)
        file.seek(MIB - 4096)
        file.write(PAGE[::-1])
    return path


@pytest.fixture
def server(root: Path) -> Iterator[Running]:
    with running(StaticExports(NullStore(), {"a": MIB}, {"root": root}), workers=1) as server:
        yield server


def read(pages: image.ImageFile, offset: int, length: int) -> bytes:
    buffer = bytearray(length)
    pages.read_into(offset, memoryview(buffer))
    return bytes(buffer)


def test_an_image_is_told_to_be_read_only_and_shared(server: Running) -> None:
    with NbdClient(server.address) as client:
        (info, _) = client.go("root")
        size, flags = int.from_bytes(info.data[2:10], "big"), int.from_bytes(info.data[10:], "big")
        assert size == MIB
        assert flags & 0b1_0000_0010 == 0b1_0000_0010  # CAN_MULTI_CONN, READ_ONLY
        assert not flags & 0b1000_0110_0000  # TRIM, WRITE_ZEROES, FAST_ZERO


def test_what_would_change_it_is_refused_and_the_stream_stays_in_step(
    server: Running, root: Path
) -> None:
    before = root.read_bytes()
    with NbdClient(server.address).attach("root") as client:
        for payload in (b"x", PAGE, bytes(3 * MIB)):
            assert client.write(0, payload) == EPERM
        assert client.command(TRIM, 0, 4096) == EPERM
        assert client.command(WRITE_ZEROES, 0, 4096) == EPERM
        assert client.command(CACHE, 0, MIB) == 0
        assert client.command(3) == 0  # FLUSH
        assert client.read(0, MIB) == before
    assert root.read_bytes() == before


def test_it_is_served_beside_exports_that_can_be_written(root: Path) -> None:
    with (
        closing(MemoryStore()) as store,
        running(StaticExports(store, {"a": MIB}, {"root": root})) as server,
        NbdClient(server.address).attach("a") as writer,
        NbdClient(server.address).attach("root") as reader,
    ):
        assert writer.write(0, PAGE[::-1]) == 0
        assert reader.read(0, 4096) == PAGE
        with NbdClient(server.address) as client:
            *listed, _ = client.option(bytes(nbd.Option(option=3)))
            assert [reply.data[4:] for reply in listed] == [b"a", b"root"]


def test_the_end_of_an_odd_image_is_filled_up_to_a_sector(tmp_path: Path) -> None:
    path = tmp_path / "odd.img"
    path.write_bytes(b"x" * 1000)
    with closing(image.open_image(path)) as opened:
        assert opened.size_bytes == 1024
        assert read(opened, 0, 1024) == b"x" * 1000 + bytes(24)
        assert read(opened, 1020, 4) == bytes(4)
        assert list(opened.extents(0, 1024)) in ([(1000, False), (24, True)], [(1024, False)])


def test_another_image_has_another_generation_and_a_faithful_copy_the_same(
    root: Path, tmp_path: Path
) -> None:
    def generation(path: Path) -> str:
        with closing(image.open_image(path)) as pages:
            return pages.generation

    copy = tmp_path / "copy"
    shutil.copy2(root, copy)
    assert generation(copy) == generation(root)
    told = StaticExports(NullStore(), {}, {"root": root}).find(WireName.parse("root"))
    assert isinstance(told, Export)
    assert told.description == f"image, generation {generation(root)}"
    time = root.stat().st_mtime_ns
    content = bytearray(root.read_bytes())
    content[1024] ^= 1
    copy.write_bytes(content)
    os.utime(copy, ns=(time, time))
    assert generation(copy) != generation(root)
    shutil.copyfile(root, copy)  # has a later modification time
    assert generation(copy) != generation(root)


def test_holes_are_told(root: Path) -> None:
    with closing(image.open_image(root)) as opened:
        extents = list(opened.extents(0, MIB))
    assert sum(length for length, _ in extents) == MIB
    assert any(hole for _, hole in extents)
    assert extents[0][1] is extents[-1][1] is False


def test_a_file_that_replaces_it_is_not_seen_and_a_cut_is_an_error(root: Path) -> None:
    with closing(image.open_image(root)) as opened:
        fresh = root.with_suffix(".new")
        fresh.write_bytes(bytes(512))
        fresh.replace(root)
        assert read(opened, 0, 4096) == PAGE
    with closing(image.open_image(root)) as opened:
        os.truncate(root, 0)
        with pytest.raises(OSError, match="truncated") as caught:
            read(opened, 0, 512)
        assert caught.value.errno == errno.EIO


def test_a_device_has_no_holes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(image.open_image(root)) as opened:
        monkeypatch.setattr(stat, "S_ISBLK", lambda mode: True)
        assert list(opened.extents(4096, MIB - 4096)) == [(MIB - 4096, False)]


def test_a_worker_adopts_it(root: Path) -> None:
    with closing(image.open_image(root)) as opened:
        descriptors = [os.dup(each) for each in opened.descriptors()]
        with closing(load(image.KIND).adopt(descriptors, opened.size_bytes)) as adopted:
            buffer = bytearray(4096)
            adopted.read_into(MIB - 4096, memoryview(buffer))
            assert buffer == PAGE[::-1]


def test_what_cannot_be_an_image_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (
        ("nowhere", "No such file or directory"),
        ("", "it is a directory"),
        ("empty", "it is empty"),
        ("pipe", "it is no file and no block device"),
    ):
        with pytest.raises(OperatorError, match=f"image {tmp_path / name}: {reason}") as caught:
            image.open_image(tmp_path / name)
        assert "file or a block device" in caught.value.hint


def test_one_name_is_one_export(root: Path) -> None:
    with pytest.raises(OperatorError, match="export a: given twice"):
        StaticExports(NullStore(), {"a": MIB}, {"a": root})


def test_an_image_that_was_replaced_is_let_go_with_its_last_reader(root: Path) -> None:
    old = StaticExports(NullStore(), {}, {"root": root})
    attachment = old.attach(WireName.parse("root"))
    assert isinstance(attachment, Attachment)
    fresh = root.with_suffix(".new")
    fresh.write_bytes(PAGE)
    fresh.replace(root)
    new = StaticExports(NullStore(), {}, {"root": root})
    lease, pages = attachment.lease, attachment.pages.descriptors()
    resumed = new.resume(lease, pages)
    assert resumed is not None and resumed.export.size_bytes == MIB
    assert new.resume(lease, ()) is resumed
    new.let_go(lease)
    assert new.resume(lease, ()) is None
    assert new.resume("other@1-2-3", pages) is None
