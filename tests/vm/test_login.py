"""Users of a desktop with 256 MB: pupils who log in, and guests who leave nothing."""

from pathlib import Path
from typing import Any

import pytest

from netboot.roots.library import Version
from tests.support.picture import share_of_colour
from tests.vm.conftest import BUILD_SECONDS, DESKTOP, library_with, report_of

GROUND, ICON_SHARE = "2e4a62", 0.001  # an icon with its name covers 0.0025 of the desktop
PICTURES, DESKTOPS = ("before", "after"), "users:desktop"
LESSON_SECONDS = 1500  # some minutes for each step on a busy machine without KVM
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.screens,
    pytest.mark.timeout(LESSON_SECONDS + BUILD_SECONDS),
]


def lesson(images: Path, desktop: Version, folder: Path, login: str) -> list[tuple[str, str, Any]]:
    """Return the stages of a PC with this `seat.login`, which did all that was asked for."""
    roots = library_with(folder / "roots", desktop)
    words = ("tests.vm.login", images, folder, roots, DESKTOP, login)
    status, report = report_of(*words, seconds=LESSON_SECONDS)
    assert (status, report["failure"]) == (0, ""), report
    assert report["off_seconds"] is not None, "it stays on"
    console = (folder / "pc1.console").read_text(errors="replace")
    for trouble in ("Out of memory", "Kernel panic", "I/O error"):
        assert trouble not in console, trouble
    return [(stage, message, data) for stage, message, data in report["stages"]]


def test_a_pupil_logs_in_with_a_password_of_the_keyboard(
    images: Path, desktop: Version, tmp_path: Path
) -> None:
    stages = lesson(images, desktop, tmp_path, "local")
    told = {stage: (message, data) for stage, message, data in stages}
    assert told["screen:shown"][0] == "login"
    user, data = told["users:desktop"]
    assert user == "anna" and data["score"] == 300, "the kernel ends X last"
    user, data = told["users:left"]
    assert (user, data["processes"]) == ("anna", 0)
    assert [stage for stage, _, _ in stages].count("screen:start") == 1


def test_a_guest_finds_nothing_of_the_guest_before(
    images: Path, desktop: Version, tmp_path: Path
) -> None:
    stages = lesson(images, desktop, tmp_path, "guest")
    users = [(message, data["files"]) for stage, message, data in stages if stage == DESKTOPS]
    assert users == [("seat", 0), ("seat", 0)], "a file of the first guest"
    before, after = (share_of_colour(tmp_path / f"{name}.png", GROUND) for name in PICTURES)
    assert after - before > ICON_SHARE, "the icon of the file is gone"
