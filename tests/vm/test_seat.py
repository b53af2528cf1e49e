"""The files of a seat on a PC whose root image and whose clock know nothing of it."""

import time
from pathlib import Path

from tests.vm.conftest import report_of


def test_a_pc_has_its_own_files_accounts_and_the_time(
    images: Path, root_image: Path, tmp_path: Path
) -> None:
    status, events = report_of("tests.vm.seat", root_image, tmp_path, images, "full")
    told = {stage: (message, data) for stage, message, data in events}
    console = (tmp_path / "pc1.console").read_text(errors="replace")
    assert status == 0, console[-2000:]
    assert "it was 2009-03-01" in told["init:clock"][0]
    assert "clock: set to 20" in console
    message, data = told["seat:checked"]
    assert message == "de(nodeadkeys) kiosk"
    assert data == data | {
        "clock": time.gmtime().tm_year,
        "zone": "14CEST",
        "resolver": "# Made by the netboot server for this PC at its start. "
        "search school.example nameserver 10.77.0.9 nameserver 9.9.9.9",
        "own": "127.0.1.1 pc-770001.school.example pc-770001",
        "server": "10.77.0.1 netboot-server",
        "anna": "anna:/home/anna",
        "hashed": 1,
        "shadow": "640:shadow",
        "home": "700:anna",
        "key": "600:root",
        "logo": "a picture",
    }
    for secret in ("$6$vwemE1GhKa", "PRIVATE KEY"):
        assert secret not in console
