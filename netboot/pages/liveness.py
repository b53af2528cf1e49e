"""Whether the PC at the other end of a TCP connection still runs, as its kernel answers.

A keepalive probe asks for an acknowledgement. A kernel that has the connection sends one, whatever
its programs do. A rebooted PC answers with a reset, and a PC without power or cable not at all.

While data wait for an acknowledgement the kernel repeats them instead, at growing intervals, and
sends no probes (tcp_keepalive_timer): then silence is the only sign of death. It would go on for 15
minutes, so TCP_USER_TIMEOUT ends it after the same time as probes do.
"""

import socket
import struct
import time
from collections.abc import Sequence

# Idle seconds before the first probe, seconds between probes, and number of probes without answer
# after which the kernel ends the connection.
# A PC that is switched off closes nothing: the kernel drops its connections after a minute.
USUAL = (30, 10, 3)
# While another PC asks for the same swap: three probes at once, after 1 s and after 2 s.
URGENT = (1, 1, 3)

_TIMES = (socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
# struct tcp_info (linux/tcp.h): the state, and milliseconds since data and an acknowledgement came.
_INFO = struct.Struct("=B51xII")
_ESTABLISHED = 1  # enum in net/tcp_states.h


def ask_after(sock: socket.socket, times: Sequence[int]) -> None:
    """Have the kernel probe ``sock`` at ``times``. Raises OSError.

    The kernel sends the first probe at once if the connection has been idle for longer (tcp.c,
    tcp_sock_set_keepidle_locked). A further call with the same times changes nothing.
    """
    idle, interval, number = times
    if sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == idle:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # With this timeout one lost probe is enough once the peer was silent for that long (tcp_timer.c).
    # So not while a probe decides who gets the swap.
    most = 0 if tuple(times) == URGENT else 1000 * (idle + interval * number)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, most)
    for option, value in zip(_TIMES, (interval, number), strict=True):
        sock.setsockopt(socket.IPPROTO_TCP, option, value)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)


def last_heard(sock: socket.socket) -> float | None:
    """Return when the peer's kernel was last heard, in seconds of ``time.monotonic``.

    None if the connection is closed, or half closed: its user has given it up. Raises OSError.
    """
    # Read first: were we preempted in between, the peer would seem to be heard after its death.
    now = time.monotonic()
    information = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
    state, *ages_ms = _INFO.unpack(information)
    silent_ms: int = min(ages_ms)
    return now - silent_ms / 1000 if state == _ESTABLISHED else None
