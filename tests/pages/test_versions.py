"""Versions of root images: opened for the seats that may read them, and closed after the last."""

import os
import re
from pathlib import Path

import pytest

from netboot.pages.exports import Attachment, LeasedExports
from netboot.pages.lease import LeaseTable
from netboot.pages.nbd.export import Export, Refused
from netboot.pages.nbd.name import WireName
from netboot.pages.room_exports import ClassroomExports
from netboot.pages.static_exports import StaticExports
from netboot.pages.stores.null import NullStore
from netboot.pages.versions import Files, VersionExports

HERE = "10.0.0.9"
OLD, NEW = "image-" + "a" * 16, "image-" + "b" * 16
SESSION = "525400123456" + "f" * 20


class Room:
    """A room with two versions of the root image ``kiosk``, and a static image."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.looked: list[tuple[str, str]] = []
        self.booted: list[tuple[str, ...]] = []
        self.ended: list[str] = []
        for export in (OLD, NEW):
            (folder / export).write_bytes(export.encode() * 1000)
            (folder / f"{export}.tree").write_bytes(bytes(4096))
        static = folder / "static"
        static.write_bytes(b"static" * 1000)
        self.exports = ClassroomExports(
            LeasedExports(NullStore(), LeaseTable(1 << 20)),
            StaticExports(NullStore(), {}, {"image-" + "c" * 16: static}),
            lambda *who: None,
            VersionExports(self.files_of),
            lambda token, address: {SESSION: "kiosk", "thin": "thin"}.get(token),
            lambda *what: self.booted.append(what),
        )
        self.exports.on_ended = self.ended.append

    def files_of(self, name: str, short: str) -> Files | None:
        self.looked.append((name, short))
        path = self.folder / f"image-{short}"
        there = name == "kiosk" and path.exists()
        return Files(path, path.with_name(f"{path.name}.tree")) if there else None

    def find(self, text: str) -> Export | Refused:
        return self.exports.find(WireName.parse(text), HERE)

    def attach(self, text: str) -> Attachment:
        found = self.exports.attach(WireName.parse(text), HERE)
        assert isinstance(found, Attachment)
        return found


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_seat_may_open_each_version_of_its_image(room: Room) -> None:
    before = descriptors()
    for export in (OLD, NEW, f"{NEW}-verified"):
        for name in (f"{export}@{SESSION}", f"{export}@{SESSION}.1f"):
            found = room.find(name)
            assert not isinstance(found, Refused) and found.read_only
            assert found.size_bytes == (28672 if "verified" in export else 22016)
            assert descriptors() == before, "find leaves nothing open"
    attached = room.attach(f"{NEW}-verified@{SESSION}")
    assert attached.spread and not attached.fences and attached.reader == "525400123456"
    assert room.booted == [("525400123456", "kiosk", f"{NEW}-verified")]
    assert room.attach(f"{NEW}-verified@{SESSION}.2").pages is attached.pages, "shared"
    assert descriptors() == before + 2
    room.exports.let_go(attached.lease)
    assert descriptors() == before and room.ended == [attached.lease]
    assert room.attach(f"{NEW}-verified@{SESSION}").lease != attached.lease, (
        "so no late drop hits it"
    )


def test_a_generation_is_that_of_the_content(room: Room, tmp_path: Path) -> None:
    """An agent refuses to attach again to another generation, and its PC would lose its root."""

    def generation(of: Room, export: str) -> str:
        found = of.find(f"{export}@{SESSION}")
        assert not isinstance(found, Refused)
        (digits,) = re.findall(r"^image, generation ([0-9a-f]{32}), ", found.description)
        return str(digits)

    first = room.attach(f"{OLD}@{SESSION}")
    there = {generation(room, export) for export in (OLD, NEW, f"{OLD}-verified")}
    assert len(there) == 3 and generation(room, OLD) in first.export.description
    room.exports.let_go(first.lease)
    (tmp_path / "next").mkdir()
    copy = Room(tmp_path / "next")
    os.utime(copy.folder / OLD, (0, 0))
    assert generation(copy, OLD) == generation(room, OLD), "built again, or copied back"


@pytest.mark.parametrize("token", ["", "guess", "@", "kiosk"])
def test_a_stranger_opens_nothing_and_never_reaches_the_file_system(room: Room, token: str) -> None:
    for export in (OLD, f"{OLD}-verified", "image-" + "0" * 16, "image-../../etc/passwd"):
        name = WireName.parse(f"{export}@{token}")
        assert isinstance(room.exports.find(name, HERE), Refused)
        assert isinstance(room.exports.attach(name, HERE), Refused)
    assert room.looked == [] == room.booted


def test_the_image_of_another_seat_and_unknown_versions_are_refused(room: Room) -> None:
    other, gone = WireName.parse(f"{OLD}@thin"), WireName.parse(f"image-{'0' * 16}@{SESSION}")
    for name in (other, gone, WireName.parse(f"image-{'c' * 16}@{SESSION}")):
        assert isinstance(room.exports.find(name, HERE), Refused)
        assert isinstance(room.exports.attach(name, HERE), Refused)
    room.attach(f"{OLD}@{SESSION}")
    assert isinstance(room.exports.attach(other, HERE), Refused), "also if somebody has it open"
    assert not room.exports.ends(other).replaced and room.exports.ends(other).again is None


def test_a_version_that_was_removed_is_served_on_while_it_is_open(room: Room) -> None:
    first = room.attach(f"{OLD}-verified@{SESSION}")
    (room.folder / OLD).unlink()
    (room.folder / f"{OLD}.tree").unlink()
    assert room.attach(f"{OLD}-verified@{SESSION}").pages is first.pages
    data = bytearray(5)
    first.pages.read_into(0, memoryview(data))
    assert data == b"image" and not isinstance(room.find(f"{OLD}-verified@{SESSION}"), Refused)
    room.exports.let_go(first.lease)
    assert isinstance(room.find(f"{OLD}-verified@{SESSION}"), Refused), "the last one has left"


def test_the_next_server_goes_on_with_the_descriptors_alone(room: Room, tmp_path: Path) -> None:
    attached = room.attach(f"{OLD}-verified@{SESSION}")
    (room.folder / OLD).unlink()
    (tmp_path / "next").mkdir()
    after = Room(tmp_path / "next")
    (tmp_path / "next" / OLD).unlink()
    resumed = after.exports.resume(attached.lease, attached.pages.descriptors())
    assert resumed is not None and resumed.export == attached.export
    assert after.exports.resume(attached.lease, attached.pages.descriptors()) is resumed
    assert after.attach(f"{OLD}-verified@{SESSION}").pages is resumed.pages
    assert after.exports.saving(resumed.lease) is None
    before = descriptors()
    after.exports.let_go(resumed.lease)
    assert descriptors() == before - 2
    for lease in ("image-x@version/kiosk/1", f"{OLD}@version/kiosk/", f"{OLD}@{'0' * 32}"):
        assert after.exports.resume(lease, attached.pages.descriptors()) is None
    assert after.exports.resume(attached.lease, ()) is None


def test_a_version_without_its_tree_is_the_servers_fault(room: Room) -> None:
    (room.folder / f"{OLD}.tree").unlink()
    before = descriptors()
    refused = room.find(f"{OLD}-verified@{SESSION}")
    assert isinstance(refused, Refused) and refused.is_ours and "No such file" in refused.reason
    (room.folder / NEW).write_bytes(b"")
    refused = room.find(f"{NEW}@{SESSION}")
    assert isinstance(refused, Refused) and refused.is_ours and "empty" in refused.reason
    assert descriptors() == before
