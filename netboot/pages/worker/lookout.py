"""How a worker waits for its clients: it looks for a short time before it sleeps, while that pays.

A PC that waits for one page asks for the next one as soon as it has it. On a fast network the request is
here some 10 us later, and to sleep and to be woken costs a worker more than that. So it polls for
``LOOK_SECONDS`` after a turn of a client that alone had the turn before as well: with more clients the
next request is here anyway, and a client on this machine may need the CPU. If the client's request did
not come, the next looks are left out: a client on a slow network, or on the worker's own CPU, would
never be seen, and a disk needs the CPU for its threads. Without a turn there is no look, so an idle
worker sleeps.
"""

import time
from collections.abc import Callable
from typing import Protocol

# Linux recommends as much for sockets that are polled (admin-guide/sysctl/net.rst, busy_poll).
LOOK_SECONDS = 50e-6
# Waits without a look after one that found nothing: the first time, and at most. So looks in vain take
# 2 us for each turn at most, and 0.01 us in the long run.
LEAST_WAITS, MOST_WAITS = 32, 4096


class Poll(Protocol):
    """The part of ``select.epoll`` that is needed."""

    def poll(self, timeout: float | None, /) -> list[tuple[int, int]]:
        """Return the descriptors that are ready, and their events."""


class Lookout:
    """The wait for events of ``epoll``."""

    def __init__(self, epoll: Poll, clock: Callable[[], float] = time.monotonic) -> None:
        self._poll = epoll.poll
        self._clock = clock
        self._alone: int | None = None
        self._left_out = 0
        self._pause = LEAST_WAITS

    def events(self, patience: float | None, alone: int | None) -> list[tuple[int, int]]:
        """Wait for at most ``patience`` seconds, None without an end, and return what is ready.

        ``alone`` is the descriptor of the client that had the last turn if no other one was waiting,
        otherwise None.
        """
        if self._left_out:
            self._left_out -= 1
            return self._poll(patience)
        before, self._alone = self._alone, alone
        if alone is None or alone != before or patience == 0:
            return self._poll(patience)
        end = self._clock() + LOOK_SECONDS
        while not (found := self._poll(0)) and self._clock() < end:
            pass
        if any(descriptor == alone for descriptor, _ in found):
            self._pause = LEAST_WAITS
            return found
        self._left_out = self._pause
        self._pause = min(2 * self._pause, MOST_WAITS)
        return found or self._poll(patience)
