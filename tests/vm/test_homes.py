"""Homes on a real NFS server, which goes away under the picture, or is not there at all."""

from pathlib import Path

import pytest

from netboot.roots.library import Version
from tests.support.picture import sentence_on
from tests.vm.conftest import KIOSK, library_with, report_of

pytestmark = [pytest.mark.nightly, pytest.mark.screens]

SERVER = "10.77.0.1"
AWAY = "does not answer"
LOST = f"Your files on {SERVER}"


def test_a_home_on_a_server_outlives_its_absence(
    images: Path, kiosk: Version, tmp_path: Path
) -> None:
    roots = library_with(tmp_path / "roots", kiosk)
    status, report = report_of("tests.vm.homes", images, tmp_path, roots, KIOSK, "there")
    assert (status, report["failure"]) == (0, ""), report
    assert all(report[each] for each in ("away", "told", "back", "gone")), report
    assert sentence_on(tmp_path / "away.png", AWAY)
    ((name, mode, owner, files),) = report["homes"]
    assert (name, mode, owner) == ("pc-770001", "0o40700", 1000)
    assert ".profile" in files
    events = dict(report["events"])
    assert events["home:ready"] == f"homes are on {SERVER}:/srv/homes"
    assert "home:ram" not in events


def test_a_pc_whose_nfs_server_is_not_there_shows_its_page(
    images: Path, kiosk: Version, tmp_path: Path
) -> None:
    roots = library_with(tmp_path / "roots", kiosk)
    status, report = report_of("tests.vm.homes", images, tmp_path, roots, KIOSK, "never")
    assert (status, report["failure"]) == (0, ""), report
    assert report["told"] and report["homes"] == []
    assert sentence_on(tmp_path / "never.png", LOST)
    events = dict(report["events"])
    assert events["home:ram"] == f"NFS server {SERVER}: Connection refused"
    assert "screen:shown" in events
