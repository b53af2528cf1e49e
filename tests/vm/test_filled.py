"""The space for changes over a root image is filled to the brim: told, and nothing ends."""

from pathlib import Path

from tests.vm.conftest import report_of

PAGE_KIB = 4


def test_a_pc_goes_on_when_it_can_change_no_more(
    images: Path, root_image: Path, tmp_path: Path
) -> None:
    _, report = report_of("tests.vm.filled", root_image, tmp_path, images)
    assert report["failure"] == "", report
    stages = [stage for stage, _, _ in report["events"]]
    assert stages.count("overlay:full") == stages.count("overlay:free") == 1
    events = {stage: data for stage, _, data in report["events"]}
    full = events["load:written"]
    half = (full["ram_kib"] + full["swap_kib"]) // 2
    assert abs(full["size_kib"] - half) <= PAGE_KIB, "of RAM and swap"
    assert (full["refused"], full["written"]) == (2, 0)
    assert (full["ran"], full["agent"], full["oom_kills"]) == (0, "state=attached", 0)
    assert full["failed"] == "", "no service ends"
    assert full["swappiness"] == 200, "of a PC of 192 MB"
    assert events["overlay:full"]["percent"] >= 90
    assert events["overlay:free"]["percent"] < 85
    assert ["load:ended", "kept"] in [[stage, message] for stage, message, _ in report["events"]]
    console = (tmp_path / "pc1.console").read_text(errors="replace")
    for trouble in ("Out of memory", "oom-kill", "Kernel panic", "I/O error"):
        assert trouble not in console, trouble
    assert "erofs: (device dm-" in console
