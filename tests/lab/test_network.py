"""The lab's switch."""

import subprocess
import sys

import pytest

pytestmark = [pytest.mark.root, pytest.mark.system]

SCRIPT = """
from pathlib import Path
from netboot.lab import network

def body():
    network.make_bridge()
    address = Path(f"/sys/class/net/{network.BRIDGE}/address")
    print(address.read_text().strip())
    # Its ports' addresses are below and above its own.
    for number, port in enumerate(("02:00:00:00:00:01", "fe:00:00:00:00:01")):
        network.add_tap(f"tap{number}")
        network.ip("link", "set", f"tap{number}", "address", port)
        print(address.read_text().strip())
    network.ip("link", "delete", "tap0")
    print(address.read_text().strip())
    return 0

network.run_isolated(body)
"""


def test_the_switch_keeps_its_address_when_a_pc_or_a_server_comes_or_goes() -> None:
    # Otherwise a PC uses a wrong one until its ARP entry expires: 10 to 27 s (if a mirror's
    # other server breaks: the port of its host is gone).
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["52:54:00:77:ff:01"] * 4
