"""Sound, a printer and a USB stick at a desktop on a PC of 256 MB."""

from pathlib import Path

import pytest

from netboot.roots.library import Version
from tests.support.printing import PRINTER
from tests.vm.conftest import DESKTOP, library_with, report_of

pytestmark = [pytest.mark.nightly, pytest.mark.screens]


def test_a_user_plays_prints_and_writes_to_a_stick(
    images: Path, desktop: Version, tmp_path: Path
) -> None:
    roots = library_with(tmp_path / "roots", desktop)
    status, report = report_of("tests.vm.peripherals", images, tmp_path, roots, DESKTOP)
    assert (status, report["failure"]) == (0, ""), report
    told = {stage: (message, data) for stage, message, data in report["events"]}
    assert told["peripheral:played"][0] == "in silence", "aplay has no complaint"
    assert report["loudest"] > 2000, "of 32767: not muted"
    assert told["peripheral:printed"][0].startswith(f"request id is {PRINTER}-1")
    assert report["jobs"] == ["A page of a diskless PC.\n"]
    assert told["peripheral:stick"][1]["read"] == "Hello from a stick."
    assert report["seen"], "stick.png has the name of the stick"
    assert report["written"].split() == ["by", "a", "pupil"]
    assert told["peripheral:unplugged"][1]["left"] == ""
    quieter = told["peripheral:unplugged"][1]["mixer"]
    assert quieter != told["peripheral:played"][1]["mixer"], "a key of the keyboard"
    stages = [stage for stage, _, _ in report["events"]]
    assert stages.count("screen:shown") == 1, "the session did not end"
