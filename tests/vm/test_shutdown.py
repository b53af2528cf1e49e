"""A systemd userland whose root and swap are on the network ends quickly with its swap in use."""

import json
import subprocess
import sys
from pathlib import Path

from tests import ROOT
from tests.vm.conftest import LAB_SECONDS

MEMORY = 192  # MB
BAR_SECONDS = 20.0


def test_a_systemd_userland_survives_a_crash_and_ends_with_swap_in_use(
    images: Path, root_image: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tests.vm.shutdown", str(root_image), str(tmp_path)]
    command += [str(images), str(MEMORY)]
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=LAB_SECONDS, check=False
    )
    assert done.stdout, "no report"
    report = json.loads(done.stdout)
    assert report["failure"] == "", report
    assert [seat["order"] for seat in report["seats"]] == ["reboot", "poweroff"]
    machine_ids = set()
    for number, seat in enumerate(report["seats"], start=1):
        assert seat["seconds"] < BAR_SECONDS, seat
        events = {stage: data for _, stage, _, data in seat["stages"]}
        loaded = events["load:written"]
        assert loaded["swapped_kib"] > MEMORY << 10
        assert loaded["hostname"] == f"pc-77000{number}"
        assert loaded["init_swap_max"] == 0
        assert loaded["port_is"] == "unmanaged", "by systemd-networkd"
        machine_ids.add(loaded["machine_id"])
        attached_again = [d["device"] for _, s, _, d in seat["stages"] if s == "agent:reattached"]
        assert sorted(attached_again) == ["/dev/nbd0", "/dev/nbd1"]
        console = (tmp_path / f"pc{number}.console").read_text(errors="replace")
        for trouble in ("Out of memory", "oom-kill", "Kernel panic", "I/O error", "FAILED"):
            assert trouble not in console, trouble
    assert len(machine_ids) == 2
