"""The page of a kiosk, on the screen of a PC with little RAM."""

from pathlib import Path

from netboot.roots.library import Version
from tests.support.picture import sentence_on
from tests.vm.conftest import KIOSK, library_with, report_of

MEMORY = 256
SENTENCE = "This page is shown by a diskless PC."
AWAY = "The boot server does not"  # the mouse is over the next word


def test_a_page_is_shown_and_outlives_its_server(
    images: Path, kiosk: Version, tmp_path: Path
) -> None:
    roots = library_with(tmp_path / "roots", kiosk)
    status, report = report_of("tests.vm.shown", images, tmp_path, roots, KIOSK, MEMORY)
    assert (status, report["failure"]) == (0, ""), report
    assert sentence_on(tmp_path / "before.png", SENTENCE)
    assert sentence_on(tmp_path / "away.png", AWAY), "20 s without a server"
    assert report["same_seconds"] is not None, "after.png is not as before.png"
    stages = [stage for stage, _, _ in report["stages"]]
    assert stages.count("screen:shown") == 1, "no program ended meanwhile"
    assert report["off_seconds"] is not None, "the power button"
    console = (tmp_path / "pc1.console").read_text(errors="replace")
    for trouble in ("Out of memory", "Kernel panic", "I/O error"):
        assert trouble not in console, trouble
