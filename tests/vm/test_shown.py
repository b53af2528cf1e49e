"""The page of the kiosk image, on the screen of a PC with 256 MB."""

from pathlib import Path

import pytest

from netboot.roots.library import Library
from tests.support.picture import sentence_on
from tests.vm.conftest import report_of

IMAGE, MEMORY = "kiosk", 256
SENTENCE = "This page is shown by a diskless PC."

pytestmark = pytest.mark.skipif(
    Library().current(IMAGE) is None, reason=f"needs: sudo netboot image build {IMAGE}"
)


def test_a_page_is_shown_and_outlives_its_server(images: Path, tmp_path: Path) -> None:
    status, report = report_of("tests.vm.shown", images, tmp_path, IMAGE, MEMORY)
    assert (status, report["failure"]) == (0, ""), report
    assert sentence_on(tmp_path / "before.png", SENTENCE)
    assert sentence_on(tmp_path / "after.png", SENTENCE), "after 20 s without a server"
    stages = [stage for stage, _, _ in report["stages"]]
    assert stages.count("screen:shown") == 1, "no program ended meanwhile"
    assert report["off_seconds"] is not None, "the power button"
    console = (tmp_path / "pc1.console").read_text(errors="replace")
    for trouble in ("Out of memory", "Kernel panic", "I/O error"):
        assert trouble not in console, trouble
