"""The boot menu on a PC's screen: a key opens it, a person chooses, or its time ends."""

from pathlib import Path

import pytest

from tests.vm.conftest import report_of

# A busy machine may stop for longer than the 0.3 s that a key has without `wait`, and than a short `timeout`.
PROFILE = "boot: {menu: {entries: [rescue, local], wait: 30s, timeout: %s}}\n"
MODULE = "tests.vm.menued"
SECONDS = 300.0

pytestmark = pytest.mark.nightly


def test_a_key_opens_the_menu_and_a_rescue_shell_is_chosen(images: Path, tmp_path: Path) -> None:
    profile = tmp_path / "menu.yaml"
    profile.write_text(PROFILE % "2m")
    status, report = report_of(MODULE, profile, images, tmp_path, "bios", "1", seconds=SECONDS)
    assert status == 0, report
    assert report["told"] == ["the boot menu is open", "chosen: Rescue shell"]


def test_an_open_menu_boots_the_pc_as_usual_after_its_time(images: Path, tmp_path: Path) -> None:
    profile = tmp_path / "menu.yaml"
    profile.write_text(PROFILE % "3s")
    status, report = report_of(MODULE, profile, images, tmp_path, "bios", seconds=SECONDS)
    assert status == 0, report
    assert report["told"] == ["the boot menu is open"]
    assert report["stages"][-1] == "userland" and "init:rescue" not in report["stages"]
