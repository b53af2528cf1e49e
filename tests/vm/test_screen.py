"""What a person at a PC without a disk sees, and types."""

from collections.abc import Callable
from pathlib import Path

from tests import ROOT
from tests.support.picture import sentence_on, share_of_colour
from tests.vm.conftest import Outcome, report_of
from tests.vm.typed import SENTENCE


def test_what_is_typed_at_a_pc_is_on_its_screen(images: Path, tmp_path: Path) -> None:
    profile = ROOT / "profiles/lab.yaml"
    status, report = report_of("tests.vm.typed", profile, images, tmp_path)
    assert (status, report["failure"]) == (0, ""), report
    picture = tmp_path / "typed.png"
    assert sentence_on(picture, SENTENCE)
    assert not sentence_on(picture, f"echo {SENTENCE}"), "the screen was not cleared"
    assert share_of_colour(picture, "000000") > 0.9


def test_a_screenshot_shows_the_pc_in_userland(lab: Callable[..., Outcome], tmp_path: Path) -> None:
    picture = tmp_path / "screen.png"
    outcome = lab("--firmware", "uefi", "--screenshot", str(picture))
    assert outcome.status == 0, outcome.report
    assert (outcome.seats[0]["picture"], outcome.seats[0]["doubt"]) == (str(picture), "")
    assert sentence_on(picture, "MiB of RAM for programs")
