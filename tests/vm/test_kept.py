"""Files below /persist are there after a restart of the server and a reboot of the PC."""

from pathlib import Path

from tests.vm.conftest import report_of


def test_a_file_survives_the_server_and_the_boot(
    images: Path, root_image: Path, tmp_path: Path
) -> None:
    _, report = report_of("tests.vm.kept", root_image, tmp_path, images)
    assert report["failure"] == "", report
    first, second = (
        (message, data) for stage, message, data in report["events"] if stage == "load:written"
    )
    assert "No such file" in first[0]
    assert second[0] == "written once"
    assert "No such file" in first[1]["home"]
    assert (second[1]["home"], second[1]["owner"]) == ("written once", "700:anna")
    stages = [stage for stage, _, _ in report["events"]]
    assert stages.count("home:ready") == 2
    assert first[1]["kind"] == second[1]["kind"] == "ext4"
    assert 50 << 10 < first[1]["size_kib"] < 64 << 10
    assert not {"failed:keep", "home:ram"} & set(stages)
    console = (tmp_path / "pc1.console").read_text(errors="replace")
    assert "recovering journal" not in console, "it was unmounted"
