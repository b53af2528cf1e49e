"""A server without systemd: the process that the pid file means."""

import subprocess
import sys
from pathlib import Path

import pytest

from netboot.deploy import layout
from netboot.deploy.supervisor import Detached

pytestmark = pytest.mark.system

# Replaces its program repeatedly, as a server does in an upgrade.
RESTLESS = "import os, sys; bytes(1 << 22); os.execv(sys.executable, sys.orig_argv)"


def test_a_server_that_replaces_its_program_is_not_taken_for_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "PID_FILE", tmp_path / "pid")
    command = [sys.executable, "-I", "-S", "-c", RESTLESS, str(layout.PROFILE)]
    with subprocess.Popen(command) as process:
        layout.PID_FILE.write_text(f"{process.pid}\n")
        try:
            seen = {Detached().pid() for _ in range(3000)}
        finally:
            process.kill()
            process.wait()
    assert seen == {process.pid}
    assert Detached().pid() is None
