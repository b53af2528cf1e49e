"""A root image that somebody changes after the hash was made: an error, and not a program."""

from pathlib import Path

from tests.vm.conftest import report_of


def test_a_changed_block_of_the_root_is_an_error(
    images: Path, root_image: Path, tmp_path: Path
) -> None:
    status, events = report_of("tests.vm.changed_image", root_image, tmp_path, images)
    assert status == 1
    told = dict(events)
    assert "userland" not in told
    assert "is the image the one whose hash this boot has? Boot again" in told["failed:root"]
    console = (tmp_path / "pc1.console").read_text(errors="replace")
    assert "data block 0 is corrupted" in console
    assert "reading /dev/dm-0 failed: Input/output error" in told["failed:root"]
