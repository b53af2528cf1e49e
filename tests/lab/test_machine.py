"""The monitor of a virtual PC."""

import contextlib
import socket
from typing import Any, cast

from netboot.lab.machine import Power


def test_a_monitor_whose_echoes_nobody_reads_goes_on() -> None:
    """A key that was held down for a minute filled the socket, and QEMU took no further key."""
    ours, qemus = socket.socketpair()
    with ours, qemus:
        power = Power(cast(Any, None), ours, cast(Any, None))
        with contextlib.suppress(BlockingIOError):
            while qemus.send(b"sendkey m\r\n" * 100, socket.MSG_DONTWAIT):
                pass
        power.tell("sendkey m")
        assert qemus.recv(100) == b"sendkey m\n"
        assert qemus.send(b"sendkey m\r\n", socket.MSG_DONTWAIT) > 0
