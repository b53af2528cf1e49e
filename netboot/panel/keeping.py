"""Fill the history from the feeds, and log which feeds are read.

The history gets the seats of the merged room: one that two servers know is one seat there, too.
"""

import logging
import time
from collections.abc import Callable
from typing import Protocol

from netboot.feed.records import Event, Hello, Record, SeatRow, ServerRow, Trouble
from netboot.panel.records import Boot
from netboot.panel.room import Room

FEED = "feed"  # in place of a stage
AWAY_SECONDS = 10.0  # a server that starts again is no trouble
REMEDY = "see whether 'netboot serve' runs there, and the network between it and the panel"

log = logging.getLogger(__name__)


class History(Protocol):
    """The part of the history that the feeds fill. No call waits."""

    def seat(self, server: str, row: SeatRow) -> None:
        """Take a seat's row, whenever it has changed."""

    def gone(self, server: str, mac: str) -> None:
        """Note that a server has forgotten a seat."""

    def server(self, name: str, row: ServerRow) -> None:
        """Take a server's figures."""

    def boot(self, server: str, mac: str, name: str, boot: Boot) -> None:
        """Take a boot, which may be unfinished."""

    def trouble(self, server: str, trouble: Trouble | None, cause: str = "") -> None:
        """Take the trouble that a server itself has from now on, or None."""

    def number(self, server: str, run: str, number: int) -> None:
        """Note that the history has all events of a link up to ``number``."""


class Keeper:
    """A receiver of records that fills a history from a room."""

    def __init__(
        self, history: History, room: Room, *, clock: Callable[[], float] = time.time
    ) -> None:
        """Follow the changes of ``room`` from now on."""
        self._history = history
        self._room = room
        self._clock = clock
        self._number = room.number
        self._servers: dict[str, str] = {}  # of each seat
        self._away: dict[str, float] = {}  # since when, by link
        self._runs: dict[str, str] = {}
        self._numbers: dict[str, int] = {}  # of events that the history has not noted yet
        room.subscribe(self.take_changes)

    def take_changes(self) -> None:
        """Give the history the seats that changed."""
        patch = self._room.changes(self._number)
        self._number = self._room.number
        seats = self._room.view().seats if patch is None else patch.seats
        for seat in seats:
            before = self._servers.get(seat.mac, seat.server)
            if before != seat.server:
                self._history.gone(before, seat.mac)
            self._servers[seat.mac] = seat.server
            self._history.seat(seat.server, seat)
        for mac in () if patch is None else patch.gone:
            server = self._servers.pop(mac, "")
            if server:
                self._history.gone(server, mac)

    def take_boot(self, link: str, mac: str, name: str, boot: Boot) -> None:
        """Take a boot that grew or ended, see netboot.panel.boots."""
        self._history.boot(self._room.server_name(link), mac, name, boot)

    def connected(self, link: str, reason: str) -> None:
        """Note that a server's feed is read, or for which ``reason`` it is not."""
        name, now = self._room.server_name(link), self._clock()
        if not reason:
            self._away.pop(link, None)
            self._history.trouble(name, None)
        elif now - self._away.setdefault(link, now) >= AWAY_SECONDS:
            message = "the panel cannot read this server's feed"
            trouble = Trouble(self._away[link], FEED, message, REMEDY)
            self._history.trouble(name, trouble, reason)

    def take(self, link: str, record: Record) -> None:
        """Take a record of a server's feed."""
        match record:
            case Hello():
                self._runs[link] = record.run
                # The history may have its trouble from before the panel's start, under the name just told.
                self._history.trouble(self._room.server_name(link), None)
            case Event():
                self._numbers[link] = record.number
            case ServerRow():
                self._history.server(self._room.server_name(link), record)
                number = self._numbers.pop(link, None)
                if number is not None:
                    self._history.number(link, self._runs.get(link, ""), number)
            case _:
                pass


class Teller:
    """A sink that logs when a feed is read, and why it is not, each reason once."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._reasons: dict[str, str] = {}

    def connected(self, link: str, reason: str) -> None:
        """Take that a server's feed is read (``reason`` empty) or why it is not."""
        if self._reasons.get(link) == reason:
            return
        first = link not in self._reasons
        self._reasons[link] = reason
        name = self._room.server_name(link)
        if reason:
            log.warning("server %s: %s; retried", name, reason)
        elif not first:
            log.warning("server %s: connected", name)

    def take(self, link: str, record: Record) -> None:
        """Do nothing."""
