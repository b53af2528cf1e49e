"""What systemd hears of the server: that it serves, and that it lives (sd_notify(3))."""

import asyncio
import os
import socket

BEATS = 3  # in the time that systemd waits for one


def ready() -> None:
    """Says that the server serves, and from now on that its event loop turns. Without systemd:
    nothing.
    """
    _tell("READY=1")
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    if microseconds.isdecimal():
        _beat(asyncio.get_running_loop(), int(microseconds) / 1e6 / BEATS)


def _beat(loop: asyncio.AbstractEventLoop, seconds: float) -> None:
    _tell("WATCHDOG=1")
    loop.call_later(seconds, _beat, loop, seconds)


def _tell(message: str) -> None:
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        # A name that begins with @ is one of Linux's abstract ones.
        sock.sendto(message.encode(), f"\0{path[1:]}" if path.startswith("@") else path)
