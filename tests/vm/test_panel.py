"""The page of a room of three real kernels and a storm, as a teacher uses it in a browser."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

SECONDS = 1000


@pytest.mark.timeout(SECONDS + 20)
def test_a_teacher_sees_the_room_boot_and_acts(images: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.vm.panelled", str(images), str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=SECONDS, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    report = json.loads(done.stdout)
    states = ("seat-1 unknown", "seat-1 booting", "seat-1 running", "seat-2 off", "seat-3 lost")
    assert set(states) <= report["seen"].keys()
    assert (report["storm"]["clients"], report["storm"]["failed"]) == (20, 0)
    told = report["told"]
    assert told.pop("refused").startswith("seat-1: its swap is in use")
    assert all(text.endswith("sent to 1 PC.") for text in told.values()), told
    # What a panel knows survives the end of its server, which was killed.
    assert [boot["outcome"] for boot in report["seat"]["boots"]] == ["running", "running"]
    assert report["seat"]["seat"]["hardware"]["kernel"].startswith("6.")
    console = (tmp_path / "pc1.console").read_text(errors="replace")
    assert "Kernel panic" not in console
