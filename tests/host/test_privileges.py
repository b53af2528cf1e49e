"""Privileges: a command line that grants few, and giving all up for good."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from netboot.host.privileges import CAPABILITIES, command_as
from tests import ROOT

# The program that runs afterwards would get root's capabilities again.
DROP = """import os
from netboot.host.privileges import drop_all
drop_all()
drop_all()
os.execvp("sh", ["sh", "-c", "grep '^Cap[^B]' /proc/self/status"])
"""


def test_the_command_grants_what_is_needed_and_nothing_else() -> None:
    words = command_as("nobody", 65534, ["netboot", "serve"])
    assert words[-2:] == ["netboot", "serve"]
    assert words[:3] == ["setpriv", "--reuid=nobody", "--regid=65534"]
    assert f"--bounding-set=-all,+{',+'.join(n[4:].lower() for n in CAPABILITIES)}" in words


@pytest.mark.parametrize(
    "user", ["", pytest.param("nobody", marks=pytest.mark.root)], ids=["same", "nobody"]
)
def test_no_program_that_runs_later_has_a_capability(user: str) -> None:
    command = [sys.executable, "-c", DROP]
    if user:
        command = command_as(user, 65534, command)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode and user and os.geteuid() == 0:
        pytest.skip(f"{user} cannot read this checkout")
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["0" * 16] * 4


BEGIN = """import os, sys, subprocess
from netboot.host.privileges import command_without, keep_from_programs
keep_from_programs()
shown = "grep -E '^(Cap[^B]|NoNewPrivs|Uid)' /proc/self/status; prlimit --pid $$ >/dev/null"
process = subprocess.Popen(command_without(None, ["/bin/sh", "-c", shown]))
process.wait()
print(command_without(None, [])[0], flush=True)
sleeper = subprocess.Popen(command_without(None, ["/bin/sleep", "60"]))
while open(f"/proc/{sleeper.pid}/comm").read() != "sleep\\n":
    pass
print(sleeper.pid, flush=True)"""


@pytest.mark.parametrize(
    "user", ["", pytest.param("nobody", marks=pytest.mark.root)], ids=["same", "nobody"]
)
def test_a_program_beside_the_server_has_no_right_and_ends_with_it(user: str) -> None:
    command = [sys.executable, "-c", BEGIN]
    if user:
        command = command_as(user, 65534, command)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode and user and os.geteuid() == 0:
        pytest.skip(f"{user} cannot read this checkout")
    *lines, program, pid = done.stdout.splitlines()
    found = dict(line.split(":\t", 1) for line in lines)
    # Inheritable ones are worth nothing by themselves.
    assert [found[f"Cap{kind}"] for kind in ("Prm", "Eff", "Amb")] == ["0" * 16] * 3
    assert found["NoNewPrivs"] == "1"
    assert (program == "setpriv") == (os.geteuid() == 0 and not user)
    end = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert not Path(f"/proc/{pid}").exists(), "its parent has ended"
