"""Notifications to systemd: that the server is ready, alive, and how it stands (sd_notify(3))."""

import contextlib
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

STATUS_SECONDS = 5.0  # between two lines of the status, at least
BEATS = 3  # notifications in the time within which systemd expects one


def ready() -> None:
    """Tell systemd that the server is ready, and from now on regularly that its event loop runs.

    Without systemd, do nothing.
    """
    _tell("READY=1")
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    if microseconds.isdecimal():
        _beat(_loop(), int(microseconds) / 1e6 / BEATS)


def keep_status(text: Callable[[], str]) -> None:
    """Have ``systemctl status`` show what ``text`` returns, from now on. Call it in an event loop.

    Without systemd, do nothing.
    """
    if os.environ.get("NOTIFY_SOCKET"):
        _tell_status(_loop(), text, "")


def is_service() -> bool:
    """Return True if systemd started this process as a service.

    A shell inside a service, such as a desktop's terminal, has the same environment: its programs
    are no services. See ``at_terminal``.
    """
    managed = any(os.environ.get(name) for name in ("NOTIFY_SOCKET", "INVOCATION_ID"))
    return managed and not at_terminal()


def at_terminal() -> bool:
    """Return True if a person can read our errors or answer us: we have a terminal."""
    return any(os.isatty(descriptor) for descriptor in (0, 2))


def _loop() -> "asyncio.AbstractEventLoop":
    import asyncio  # here: verbs that ask only who started them need none

    return asyncio.get_running_loop()


def _tell_status(loop: "asyncio.AbstractEventLoop", text: Callable[[], str], before: str) -> None:
    now = " ".join(text().split())  # a line break would begin another notification
    if now != before:
        with contextlib.suppress(OSError):
            _tell(f"STATUS={now}")
    loop.call_later(STATUS_SECONDS, _tell_status, loop, text, now)


def _beat(loop: "asyncio.AbstractEventLoop", seconds: float) -> None:
    _tell("WATCHDOG=1")
    loop.call_later(seconds, _beat, loop, seconds)


def _tell(message: str) -> None:
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        # A name that begins with @ is in Linux's abstract namespace (unix(7)).
        sock.sendto(message.encode(), f"\0{path[1:]}" if path.startswith("@") else path)
