"""Short turns of an event loop, in which some sockets come first.

asyncio takes all sockets that are ready in one turn. While 1,000 seats attached at once, a turn lasted
up to 58 ms, and a DISCOVER that came meanwhile waited for its end (docs/measurements/scale.md). With
``ShortTurns`` a turn takes a few sockets. The kernel hands out the others in the next turns, each
before one of the first comes again (fs/eventpoll.c, ep_send_events).
"""

import asyncio
import math
import os
import select
import selectors
from collections.abc import Callable, Coroutine
from selectors import EVENT_READ, EVENT_WRITE, SelectorKey
from typing import Any

SOCKETS_OF_TURN = 32


class ShortTurns(selectors.EpollSelector):
    """A selector that returns at most ``SOCKETS_OF_TURN`` files, and those that come first always."""

    def __init__(self) -> None:
        super().__init__()
        self._all = select.epoll.fromfd(os.dup(self.fileno()))
        self._first = select.epoll()
        self._come_first: set[int] = set()

    def put_first(self, fd: int) -> None:
        """Return ``fd``, which is registered for reading, in each turn in which it is ready."""
        if fd not in self._come_first:
            self._first.register(fd, select.EPOLLIN)
            self._come_first.add(fd)

    def unregister(self, fileobj: Any) -> SelectorKey:
        """Forget a file. Raises KeyError if it is not registered."""
        key = super().unregister(fileobj)
        if key.fd in self._come_first:
            self._come_first.discard(key.fd)
            try:
                self._first.unregister(key.fd)
            except OSError:
                pass  # it is closed: the kernel has forgotten it
        return key

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        """Wait ``timeout`` seconds (None: without end) for files that are ready, and return some."""
        # epoll_wait(2) counts milliseconds. Rounded up: a timer is not due before its time.
        seconds = None if timeout is None else max(math.ceil(timeout * 1e3) / 1e3, 0)
        try:
            found = self._all.poll(seconds, SOCKETS_OF_TURN)
        except InterruptedError:
            return []
        if len(found) == SOCKETS_OF_TURN and self._come_first:
            found = list({**dict(self._first.poll(0)), **dict(found)}.items())
        keys, ready = self.get_map(), []
        for fd, event in found:
            key = keys.get(fd)
            if key is not None:
                events = (EVENT_WRITE if event & ~select.EPOLLIN else 0) | (
                    EVENT_READ if event & ~select.EPOLLOUT else 0
                )
                ready.append((key, events & key.events))
        return ready

    def close(self) -> None:
        """Close it. The files stay open."""
        self._all.close()
        self._first.close()
        super().close()


class ShortTurnLoop(asyncio.SelectorEventLoop):
    """An event loop whose turns are short."""

    def __init__(self) -> None:
        self._turns = ShortTurns()
        super().__init__(self._turns)

    def put_first(self, fd: int) -> None:
        """Have a reader called in each turn in which its file is ready."""
        self._turns.put_first(fd)


def read_first(
    loop: asyncio.AbstractEventLoop, fd: int, callback: Callable[..., object], *args: Any
) -> None:
    """Add a reader, which comes first if the turns of ``loop`` are short."""
    loop.add_reader(fd, callback, *args)
    if isinstance(loop, ShortTurnLoop):
        loop.put_first(fd)


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run ``work`` in a loop with short turns, as asyncio.run() does."""
    with asyncio.Runner(loop_factory=ShortTurnLoop) as runner:
        runner.run(work)
