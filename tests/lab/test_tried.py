"""The RAM that a lesson notes for the root images that its PCs have run."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from netboot.boot.events import BootEvent
from netboot.lab import tried
from netboot.lab.rig import Classroom, Lesson
from netboot.roots.library import Library
from netboot.roots.uses import Uses
from tests.roots.making import make_version

FIRST, SECOND = "52:54:00:77:00:01", "52:54:00:77:00:02"


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "roots")


def lesson(folder: Path, memory: int, ran: Mapping[str, str], *stages: tuple[str, str]) -> None:
    """Hold a lesson in which PCs ``ran`` versions and reported ``stages``, then note."""
    uses = Uses(folder)
    for mac, short in ran.items():
        uses.attached(mac, short, lambda: "label")
    uses.keeper.flush()
    classroom = Classroom(
        Lesson(folder, folder, folder, clients=2, memory=memory, roots=folder / "roots")
    )
    for mac, stage in stages:
        classroom.seats[mac].events.append(BootEvent(1.0, mac, stage, ""))
        if stage.startswith("failed:"):
            classroom.seats[mac].failure = stage
    tried.note(classroom)


def test_a_lesson_notes_the_least_ram_that_showed_a_page(
    tmp_path: Path, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tried, "STATE_FOLDER", tmp_path)
    short = make_version(library).manifest.short
    other = make_version(library, "kiosk", b"new").manifest.short

    def noted(short: str) -> int:
        found = library.with_digest("kiosk", short)
        assert found is not None
        return found.manifest.ram_tried

    lesson(tmp_path, 192, {FIRST: short})
    lesson(tmp_path, 192, {FIRST: short}, (FIRST, "userland"))
    lesson(tmp_path, 192, {FIRST: short}, (FIRST, "screen:shown"), (FIRST, "failed:root"))
    assert noted(short) == 0, "no page was shown"
    lesson(tmp_path, 256, {FIRST: short, SECOND: other}, (FIRST, "screen:shown"))
    assert (noted(short), noted(other)) == (256, 0)
    lesson(tmp_path, 128, {FIRST: short}, (FIRST, "screen:shown"))
    assert noted(short) == 128


def test_an_imported_image_was_tried_when_its_programs_ran(
    tmp_path: Path, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tried, "STATE_FOLDER", tmp_path)
    made = make_version(library, "room")
    path = made.folder / f"{made.manifest.short}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"source": "/srv/room.tar"}))
    lesson(tmp_path, 192, {FIRST: made.manifest.short}, (FIRST, "userland"))
    found = library.current("room")
    assert found is not None and found.manifest.ram_tried == 192
