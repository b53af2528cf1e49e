"""A mapped file that became shorter: the process lives, with or without writable executable memory."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

SCRIPT = """
import ctypes, mmap, os, sys
from netboot.host import sigbus

path, mine, hardened = sys.argv[1:]
if hardened == "hardened":  # PR_SET_MDWE, since Linux 6.3: as a service's MemoryDenyWriteExecute
    ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)
descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
os.ftruncate(descriptor, 1 << 20)
mapping = mmap.mmap(descriptor, 1 << 20)
mapping[:4096] = b"a" * 4096
faults = []

def on_fault(path, inode):
    faults.append((path, inode))
    return mine == "mine"

sigbus.survive(on_fault)
os.truncate(path, 0)
assert mapping[5] == 0
mapping[8192:12288] = b"b" * 4096
assert faults == [(path, os.fstat(descriptor).st_ino)], faults
mapping.close()
"""


@pytest.mark.parametrize("hardened", ["usual", "hardened"])
def test_the_process_goes_on_with_zeros_in_the_place_of_the_file(
    tmp_path: Path, hardened: str
) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "file"), "mine", hardened]
    subprocess.run(command, check=True, cwd=ROOT)


def test_a_fault_that_is_nobodys_ends_the_process(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "file"), "others", "usual"]
    assert subprocess.run(command, check=False, cwd=ROOT).returncode == -signal.SIGBUS
