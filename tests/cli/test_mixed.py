"""PyPI has another project whose import package is `netboot`: the command refuses a mixture."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from netboot.cli.mixed import refusal
from tests import ROOT


def test_a_checkout_and_an_installed_wheel_are_no_mixture(tmp_path: Path) -> None:
    assert refusal(ROOT / "netboot") == ""
    (tmp_path / "netboot").mkdir()
    for name in ("netboot_classroom-0.2.0.dist-info", "netboot_config-0.1.29.dist-info"):
        (tmp_path / name).mkdir()
    assert refusal(tmp_path / "netboot") == ""


@pytest.mark.parametrize("record", ["netboot-0.4.1.dist-info", "Netboot-0.1.egg-info"])
def test_the_record_of_the_other_distribution_is_a_mixture(tmp_path: Path, record: str) -> None:
    (tmp_path / "netboot").mkdir()
    (tmp_path / record).mkdir()
    told = refusal(tmp_path / "netboot")
    assert record in told and "; pip uninstall netboot netboot-classroom" in told
    assert "\n" not in told


@pytest.mark.system
def test_the_command_ends_with_one_line(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "netboot", tmp_path / "netboot", ignore=shutil.ignore_patterns("static"))
    (tmp_path / "netboot-0.4.1.dist-info").mkdir()
    command = [sys.executable, "-m", "netboot", "version"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{refusal(tmp_path / 'netboot')}\n"
