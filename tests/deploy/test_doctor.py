"""`netboot doctor` against a real server in a network of its own, well and unwell."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import ROOT
from tests.deploy.rig import HERE, Lan, Serve

pytestmark = [pytest.mark.root, pytest.mark.timeout(60)]

FULL = "dhcp: {mode: full, range: 192.168.78.50-192.168.78.60}\n"
DOCTOR = [sys.executable, "-m", "netboot", "doctor"]
Doctor = Callable[..., tuple[int, list[dict[str, Any]]]]


@pytest.fixture
def doctor(lan: Lan, serve: Serve, tmp_path: Path) -> Doctor:
    """Starts a server for the profile's text and asks the doctor; its status and findings."""

    def ask(profile: str, *words: str) -> tuple[int, list[dict[str, Any]]]:
        serve(profile)
        command = [*DOCTOR, "--json", "--profile", str(tmp_path / "room.yaml"), *words]
        done = subprocess.run(
            lan.command(*command), cwd=ROOT, capture_output=True, text=True, check=False
        )
        return done.returncode, json.loads(done.stdout)

    return ask


@pytest.mark.parametrize("mode", ["", FULL])
def test_a_server_that_is_well(doctor: Doctor, images: Path, mode: str) -> None:
    # A swap larger than all there is to give: the doctor's own is one page.
    profile = f"swap: {{size: 1GiB, capacity: 1GiB}}\n{mode}"
    status, findings = doctor(profile, "--images", str(images))
    assert [finding["check"] for finding in findings] == [
        *("dhcp", "tftp", "script", "images", "pages")
    ]
    assert status == 0 and all(finding["ok"] for finding in findings)
    assert findings[0]["detail"] == f"OFFER from {HERE}"


def test_images_that_are_not_those_that_were_built(
    doctor: Doctor, images: Path, tmp_path: Path
) -> None:
    manifest = (images / "manifest.json").read_text().replace('"sha256": "', '"sha256": "0')
    (tmp_path / "manifest.json").write_text(manifest)
    status, findings = doctor("", "--images", str(tmp_path))
    assert status == 1 and findings[-1]["check"] == "images"
    assert findings[-1]["detail"] == "amd64/vmlinuz is not the one that was built: its sum differs"


def test_no_server_is_told_at_the_first_step(lan: Lan, tmp_path: Path) -> None:
    (tmp_path / "room.yaml").write_text("interface: br0\n")
    command = [*DOCTOR, "--profile", str(tmp_path / "room.yaml")]
    done = subprocess.run(
        lan.command(*command), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stdout.split() == [
        *("br0", "dhcp", "FAILED", done.stdout.split()[3], "s", "no", "OFFER", "from", HERE),
        *("in", "4", "s"),
    ]
