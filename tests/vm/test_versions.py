"""Versions of root images, and two images in one room, on PCs that run them."""

from pathlib import Path

import pytest

from netboot.roots.library import Library, Version
from tests.support.picture import sentence_on
from tests.vm.conftest import KIOSK, ROOM, library_with, report_of

SENTENCE = "This page is shown by a diskless PC."
PC, OTHER = "52:54:00:77:00:01", "52:54:00:77:00:02"

pytestmark = pytest.mark.nightly


def test_an_image_is_updated_and_rolled_back_under_a_pc(
    images: Path, room: Version, tmp_path: Path
) -> None:
    roots = library_with(tmp_path / "roots", room)
    _, report = report_of("tests.vm.versions", images, tmp_path, roots, ROOM)
    assert report["failure"] == "", report
    first, second = report["first"], report["second"]
    assert first["short"] == room.manifest.short != second["short"]
    one, other = report["events"]
    booted = [data["blocks"] for stage, _, data in other if stage == "version:booted"]
    assert booted == [second["blocks"], first["blocks"]], "the next boots"
    assert [data["blocks"] for stage, _, data in one if stage == "version:booted"] == [
        first["blocks"]
    ], "one boot"
    assert report["updated"] == {first["short"]: [PC], second["short"]: [OTHER]}
    assert report["returned"] == {first["short"]: [PC, OTHER]}
    read = [message for stage, message, _ in one if stage == "version:read"]
    assert len(read) >= 7 and len(set(read)) == 1, "the files of the PC that runs all the time"
    console = (tmp_path / "pc1.console").read_text(errors="replace")
    for trouble in ("Kernel panic", "I/O error", "corrupted"):
        assert trouble not in console, trouble


def test_two_images_run_in_one_room(
    images: Path, kiosk: Version, room: Version, tmp_path: Path
) -> None:
    roots = library_with(tmp_path / "roots", kiosk, room)
    _, report = report_of("tests.vm.two_images", images, tmp_path, roots, KIOSK, ROOM)
    assert report["failure"] == "", report
    assert report["uses"] == {kiosk.manifest.short: [PC], room.manifest.short: [OTHER]}
    assert sentence_on(tmp_path / "pc1.png", SENTENCE)
    assert sentence_on(tmp_path / "pc2.png", "login:")
    for name in (KIOSK, ROOM):
        assert Library(roots).find(name).manifest.ram_tried == 192
