"""The machine of the first boot server dies: PCs boot from the other one, and read their root there."""

from pathlib import Path

import pytest

from tests.vm.conftest import report_of

pytestmark = pytest.mark.nightly

TURN_SECONDS = 15  # until iPXE asks the other server; 6.0 s on a busy machine


def test_a_pc_in_its_boot_and_one_that_runs_go_on_at_the_other_server(
    images: Path, root_image: Path, tmp_path: Path
) -> None:
    _, report = report_of("tests.vm.two_boot_servers", root_image, tmp_path, images)
    assert report["failure"] == "", report
    one, two = report["seats"]
    read = [(when, message) for when, stage, message in one if stage == "version:read"]
    assert len({message for _, message in read}) == 1, "the files of its root are the same"
    assert any(when < 0 for when, _ in read) and any(when > 0 for when, _ in read)
    turned = min(when for when, stage, _ in two if stage == "http" and when > 0)
    assert turned <= TURN_SECONDS, "what follows takes as long as another boot"
    console = (tmp_path / "pc1.console").read_text(errors="replace")
    for trouble in ("Kernel panic", "I/O error", "corrupted"):
        assert trouble not in console, trouble
