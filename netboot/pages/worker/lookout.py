"""How a worker waits for a client that alone asks for pages: two ways that save a sleep or a call.

A PC that waits for one page asks for the next one as soon as it has it. On a fast network the request is
here some 10 us later, and to sleep and to be woken costs a worker more than that. So it *looks* for
``LOOK_SECONDS`` after a turn of a client that alone had the turn before as well: with more clients the
next request is here anyway, and a client on this machine may need the CPU. If the client's request did
not come, the next looks are left out: a client on a slow network, or on the worker's own CPU, would
never be seen, and a disk needs the CPU for its threads.

While looks are left out, the worker may *sleep in the client's socket*. That is one system call for each
request in place of two (epoll_wait, recv), but meanwhile the worker sees nobody else. So it is for the
only seat of a worker, for a client that had the last ``LEAST_TURNS`` turns alone, and ends when its
requests no longer come quickly. Without a turn there is neither, so an idle worker sleeps in epoll_wait.
"""

import socket
import struct
import time
from collections.abc import Callable
from typing import Protocol

# Linux recommends as much for sockets that are polled (admin-guide/sysctl/net.rst, busy_poll).
LOOK_SECONDS = 50e-6
# Waits without a look after one that found nothing: the first time, and at most. So looks in vain take
# 2 us for each turn at most, and 0.01 us in the long run.
LEAST_WAITS, MOST_WAITS = 32, 4096
# Turns in a row before a sleep in the socket.
LEAST_TURNS = 32
# The time of a turn with such sleeps, and the requests that must come in it: a client that takes 200 us
# for its next one gains nothing.
SLEEPS_SECONDS, LEAST_SLEEPS = 0.001, 5
# SO_RCVTIMEO: seconds and microseconds. The kernel makes whole ticks of it, of 1 to 10 ms.
_SLEEP = struct.pack("@ll", 0, 1000)


class Poll(Protocol):
    """The part of ``select.epoll`` that is needed."""

    def poll(self, timeout: float | None, /) -> list[tuple[int, int]]:
        """Return the descriptors that are ready, and their events."""


def prepare(sock: socket.socket) -> None:
    """Have calls without MSG_DONTWAIT sleep for a tick at most."""
    sock.setblocking(True)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _SLEEP)


class Lookout:
    """The wait for events of ``epoll``, and for a lone client."""

    def __init__(self, epoll: Poll, clock: Callable[[], float] = time.monotonic) -> None:
        self._poll = epoll.poll
        self._clock = clock
        self._alone: int | None = None
        self._turns = 0  # of that client, one after the other
        self._left_out = 0
        self._pause = LEAST_WAITS

    def events(self, patience: float | None, alone: int | None) -> list[tuple[int, int]]:
        """Wait for at most ``patience`` seconds, None without an end, and return what is ready.

        ``alone`` is the descriptor of the client that had the last turn if no other one was waiting,
        otherwise None.
        """
        if alone is None or alone != self._alone:
            self._alone, self._turns = alone, 0
            return self._poll(patience)
        self._turns += 1
        if self._left_out:
            self._left_out -= 1
            return self._poll(patience)
        if patience == 0:
            return self._poll(0)
        end = self._clock() + LOOK_SECONDS
        while not (found := self._poll(0)) and self._clock() < end:
            pass
        if any(descriptor == alone for descriptor, _ in found):
            self._pause = LEAST_WAITS
            return found
        self._left_out = self._pause
        self._pause = min(2 * self._pause, MOST_WAITS)
        return found or self._poll(patience)

    def may_sleep(self, client: int) -> bool:
        """Return whether the worker may sleep in the socket of this client, which alone has the turn."""
        return client == self._alone and self._left_out > 0 and self._turns >= LEAST_TURNS

    def slept(self, times: int) -> None:
        """Note how many requests came in a turn of ``SLEEPS_SECONDS``, each waited for in the socket."""
        self._left_out = max(self._left_out - times, 0)
        if times < LEAST_SLEEPS:
            self._turns = 0
