"""Receive buffers, with and without the right to exceed the kernel's limit."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from netboot.host.sockets import widen_receive_buffer
from tests import ROOT

LIMIT = int(Path("/proc/sys/net/core/rmem_max").read_text())
WIDEN = f"""import socket
from netboot.host.sockets import widen_receive_buffer
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    widen_receive_buffer(sock, {4 * LIMIT})
    print(sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF))
"""


@pytest.mark.root
def test_root_has_what_it_asks_for() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        widen_receive_buffer(sock, 4 * LIMIT)
        got = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    assert got == 8 * LIMIT, "the kernel doubles it: socket(7)"


def test_others_get_as_much_as_they_may_have() -> None:
    drop = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
    command = [*drop, sys.executable, "-c", WIDEN]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) == 2 * LIMIT
