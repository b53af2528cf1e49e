"""Notifications to systemd: that the server is ready, and that it is alive (sd_notify(3))."""

import asyncio
import os
import socket

BEATS = 3  # notifications in the time within which systemd expects one


def ready() -> None:
    """Tell systemd that the server is ready, and from now on regularly that its event loop runs.

    Without systemd, do nothing.
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
        # A name that begins with @ is in Linux's abstract namespace (unix(7)).
        sock.sendto(message.encode(), f"\0{path[1:]}" if path.startswith("@") else path)
