"""The screen of another computer on a PC of 192 MB, by VNC and by RDP."""

from pathlib import Path

import pytest

from netboot.lab.network import SERVER
from netboot.roots.library import Version
from tests.support.sessions import VNC_PORT
from tests.vm.conftest import BUILD_SECONDS, THIN, library_with, report_of

SECONDS = 800  # 350 on two busy cores without KVM

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.screens,
    pytest.mark.timeout(SECONDS + BUILD_SECONDS),
]


@pytest.mark.parametrize("url", [f"vnc://{SERVER.ip}:{VNC_PORT}", f"rdp://{SERVER.ip}"])
def test_a_session_outlives_its_server(
    url: str, images: Path, thin: Version, tmp_path: Path
) -> None:
    roots = library_with(tmp_path / "roots", thin)
    status, report = report_of("tests.vm.thin", images, tmp_path, roots, THIN, url, seconds=SECONDS)
    assert (status, report["failure"]) == (0, ""), report
    told = [message for stage, message in report["stages"] if stage == "screen:certificate"]
    assert told == (
        [f"SHA-256 of {SERVER.ip}: {report['wrong'].lower()}"] if report["wrong"] else []
    )
