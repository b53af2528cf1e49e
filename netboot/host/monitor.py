"""Monitor: the network interfaces that serve, kept up to date while the server runs.

The kernel's news only say that something changed; the whole state is then read again. So no lost
message matters, and an address that goes and comes back in the same moment is no change.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Sequence

from netboot.host import netlink
from netboot.host.interfaces import Choice, Interface, look

log = logging.getLogger(__name__)

# An address that is replaced is gone for a moment.
SETTLE_SECONDS = 0.2
# A machine with a thousand virtual cards takes 0.3 s for a look. They must not be all that it does.
REST_FACTOR = 10
RETRY_SECONDS = 5.0


class Monitor:
    """Watches the interfaces called ``names`` (see ``interfaces.find``).

    ``changed(before, after)`` is called in the event loop. It returns False if it has to be called
    again in ``RETRY_SECONDS``, although nothing changed.
    """

    def __init__(
        self, names: Sequence[str], changed: Callable[[Choice, Choice], bool], now: Choice
    ) -> None:
        self._names = names
        self._changed = changed
        self._now = now
        self._news: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._rested_until = 0.0
        self._is_due = False

    @property
    def interfaces(self) -> tuple[Interface, ...]:
        """The interfaces that can serve."""
        return self._now.interfaces

    def start(self) -> None:
        """Begin to watch. Raises OSError."""
        self._news = netlink.subscribe()
        asyncio.get_running_loop().add_reader(self._news, self._heard)
        self._later(0.0)  # the state may have changed since it was read

    def stop(self) -> None:
        """Close the socket."""
        if self._timer is not None:
            self._timer.cancel()
        if self._news is not None:
            asyncio.get_running_loop().remove_reader(self._news)
            self._news.close()

    def _heard(self) -> None:
        assert self._news is not None
        netlink.drain(self._news)
        self._later(SETTLE_SECONDS)

    def _later(self, seconds: float) -> None:
        """Look in ``seconds``, or earlier if a look is due before that."""
        loop = asyncio.get_running_loop()
        when = max(loop.time() + seconds, self._rested_until)
        if self._timer is not None and self._timer.when() <= when:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(when, self._look)

    def _look(self) -> None:
        self._timer = None
        begin = time.monotonic()
        try:
            found = look(*self._names)
        except OSError as error:
            log.warning("cannot read the network interfaces: %s", error)
            self._later(RETRY_SECONDS)
            return
        taken = time.monotonic() - begin
        self._rested_until = asyncio.get_running_loop().time() + REST_FACTOR * taken
        if self._is_due or found.interfaces != self._now.interfaces:
            before, self._now = self._now, found
            self._is_due = True
            try:
                self._is_due = not self._changed(before, found)
            finally:
                if self._is_due:  # also after a fault
                    self._later(RETRY_SECONDS)
