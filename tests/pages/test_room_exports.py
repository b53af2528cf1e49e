"""A room's exports: swap areas by their leases, and root images by a seat's session."""

from pathlib import Path

import pytest

from netboot.pages.exports import Attachment, LeasedExports
from netboot.pages.lease import LeaseTable
from netboot.pages.nbd.export import Refused
from netboot.pages.nbd.name import WireName
from netboot.pages.room_exports import ClassroomExports
from netboot.pages.static_exports import StaticExports
from netboot.pages.stores.null import NullStore

SEAT = "52:54:00:12:34:56"
SEATS_SWAP = "seat-525400123456@" + "cafe" * 8
MIB = 1 << 20
HERE, ELSEWHERE = "10.0.0.9", "10.0.0.66"


def exports(folder: Path) -> ClassroomExports:
    images = {}
    for name in ("a", "a-verified", "b"):
        images[name] = folder / name
        images[name].write_bytes(name.encode() * 4096)
    table, store = LeaseTable(MIB), NullStore()
    table.grant(SEAT, "seat-525400123456", "cafe" * 8, MIB, 0.0)
    opens = {("session", HERE): "a"}
    return ClassroomExports(
        LeasedExports(store, table), StaticExports(store, {}, images), lambda *who: opens.get(who)
    )


def test_a_session_opens_the_image_of_its_seat_whatever_the_set(tmp_path: Path) -> None:
    room = exports(tmp_path)
    for name in ("a@session", "a@session.1f", "a-verified@session"):
        found, attached = (
            room.find(WireName.parse(name), HERE),
            room.attach(WireName.parse(name), HERE),
        )
        assert not isinstance(found, Refused) and found.read_only
        assert isinstance(attached, Attachment) and attached.spread and not attached.fences
        assert isinstance(room.find(WireName.parse(name), ELSEWHERE), Refused)
        assert isinstance(room.attach(WireName.parse(name), ELSEWHERE), Refused)
        assert attached.reader == "session", "the first digits, which are its seat's"
    assert room.names is None, "the names are secret"


@pytest.mark.parametrize(
    "name",
    ["a", "a@", "a@other", "b@session", "a@session@", "c@session", "a-verified@other"],
)
def test_nothing_else_does(tmp_path: Path, name: str) -> None:
    room = exports(tmp_path)
    assert isinstance(room.find(WireName.parse(name), HERE), Refused)
    assert isinstance(room.attach(WireName.parse(name), HERE), Refused)


def test_leases_are_as_without_images(tmp_path: Path) -> None:
    room = exports(tmp_path)
    attached = room.attach(WireName.parse(SEATS_SWAP), HERE)
    assert isinstance(attached, Attachment) and attached.seat == SEAT
    resumed = room.resume(attached.lease, ())
    assert resumed is not None and resumed.export == attached.export
    room.let_go(attached.lease)


def test_who_reads_an_image_goes_on_with_the_next_server(tmp_path: Path) -> None:
    attached = exports(tmp_path).attach(WireName.parse("a@session"), HERE)
    assert isinstance(attached, Attachment)
    room = exports(tmp_path)
    resumed = room.resume(attached.lease, attached.pages.descriptors())
    assert resumed is not None and resumed.export.size_bytes == 4096
    room.let_go(attached.lease)
