"""Ports on loopback for servers that tests start."""

import secrets
import socket
from contextlib import suppress
from pathlib import Path

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """Return a TCP port that no program uses, for a server that a test starts in a moment.

    It is below the kernel's range for clients and for port 0. A port of that range may go to
    another program's connection before the server binds it.
    """
    lowest = int(RANGE.read_text().split()[0])
    while True:
        port = lowest - 1 - secrets.randbelow(lowest // 2)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
