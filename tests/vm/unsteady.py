"""What fails now and then and is not understood yet: `make unsteady`, not a part of `make test`.

Both passed when they were written and failed in the first run with everything merged (2026-11-25).
What they test is not said to work (docs/reliability.md) until they are back in `make test`.
"""

import json
import subprocess
import sys
from pathlib import Path

from tests.vm.conftest import LAB_SECONDS, PROJECT
from tests.vm.test_torture import torture

MEMORY = 192  # MB
BAR_SECONDS = 20.0


# Failed: the PC stood still for two minutes while it wrote its load, before any fault.
def test_one_of_two_servers_breaks_and_then_the_other(images: Path, tmp_path: Path) -> None:
    report = torture(images, tmp_path, "--mirror", "--memory", "128")
    assert report["failures"] == [], report
    assert report["rounds"] >= 1
    console = (tmp_path / "pc1.console").read_text(errors="replace")
    assert console.count("md: md0: recovery done.") == 2


# Failed: systemd-networkd had not come to the boot port yet (pending, not unmanaged), or never did.
def test_a_systemd_userland_survives_a_crash_and_ends_with_swap_in_use(
    images: Path, root_image: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tests.vm.shutdown", str(root_image), str(tmp_path)]
    command += [str(images), str(MEMORY)]
    done = subprocess.run(
        command, cwd=PROJECT, stdout=subprocess.PIPE, text=True, timeout=LAB_SECONDS, check=False
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
