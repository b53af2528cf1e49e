"""PCs that tag their frames: firmware, iPXE and Linux stay in one VLAN (boot.vlan)."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT
from tests.vm.conftest import report_of
from tests.vm.test_firmware import in_order
from tests.vm.vlan import VLAN


@pytest.mark.nightly
def test_pcs_at_tagged_ports_boot_and_swap(images: Path, tmp_path: Path) -> None:
    medium = tmp_path / "medium.iso"
    words = ["media", "--vlan", str(VLAN), "--output", str(medium)]
    subprocess.run([sys.executable, "-m", "netboot", *words], check=True, cwd=ROOT)
    status, report = report_of("tests.vm.vlan", images, medium, tmp_path)
    assert status == 0, report
    for seat, ways in zip(report["seats"], (("dhcp", "tftp"), ("dhcp",)), strict=True):
        stages = [each["stage"] for each in seat["stages"]]
        assert in_order(stages, *ways, "http", "lease", "swap", "userland")
        (network,) = [each["data"] for each in seat["stages"] if each["stage"] == "init:network"]
        assert network["port"] == f"eth0.{VLAN}"
    assert all(sent > 100 for sent in report["tagged"]), "nothing came through without a tag"
