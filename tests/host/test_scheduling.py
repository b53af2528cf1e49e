"""Workers, sending threads and programs have the priority of other programs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from netboot.host.scheduling import give_way
from tests import ROOT

# Each kind of process that a server starts, and the file that starts it or is it.
STARTED = {
    "page workers": "netboot/pages/worker/worker.py",
    "TFTP workers": "netboot/serve/tftp/worker.py",
    "threads that send files": "netboot/serve/http/sending.py",
    "programs": "netboot/host/programs.py",
    "the check of a new release": "netboot/pages/upgrade.py",
}


@pytest.mark.parametrize("path", STARTED.values(), ids=STARTED)
def test_all_kinds_give_way(path: str) -> None:
    assert "give_way(" in (ROOT / path).read_text()


def test_no_other_file_sets_a_scheduler_or_lowers_a_priority() -> None:
    found = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "netboot").rglob("*.py")
        if "os.sched_setscheduler" in path.read_text() or "os.setpriority" in path.read_text()
    }
    assert found == {"netboot/host/scheduling.py", "netboot/cli/user.py"}


def test_a_process_of_another_scheduler_gives_way() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        give_way(process.pid)
        assert os.sched_getscheduler(process.pid) == os.SCHED_BATCH
        assert os.getpriority(os.PRIO_PROCESS, process.pid) >= 0
        process.communicate(b"\n")
        give_way(process.pid)  # it has ended


@pytest.mark.root
@pytest.mark.parametrize("module", ["netboot.pages.worker", "netboot.serve.tftp.worker"])
def test_a_worker_does_not_keep_the_priority_of_its_parent(module: str, tmp_path: Path) -> None:
    """Its parent runs at nice -10."""
    script = f"""
import os, socket, subprocess, sys, time
os.setpriority(os.PRIO_PROCESS, 0, -10)
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
worker = subprocess.Popen(
    [sys.executable, "-P", "-m", "{module}", str(theirs.fileno())], pass_fds=[theirs.fileno()]
)
theirs.close()
if "pages" in "{module}":
    ours.recv(1000)  # it is ready
else:
    end = time.monotonic() + 60
    while os.getpriority(os.PRIO_PROCESS, worker.pid) < 0 and time.monotonic() < end:
        time.sleep(0.01)
print(os.getpriority(os.PRIO_PROCESS, worker.pid), os.sched_getscheduler(worker.pid))
worker.kill()
worker.wait()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == ["0", str(os.SCHED_BATCH)]
