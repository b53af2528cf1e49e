"""The events of each seat's boot, in order: the model of the timeline, status and metrics."""

import json
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from netboot.boot.client import is_played
from netboot.boot.limits import (
    JOURNAL_BYTES,
    JOURNAL_EVENTS,
    JOURNAL_EVENTS_OF_OTHERS,
    JOURNAL_EVENTS_OF_STRANGERS,
    JOURNAL_EVENTS_OF_SWAP,
    JOURNAL_STRANGERS,
)


@dataclass(slots=True)  # not frozen: see netboot.serve.dhcp.packet
class BootEvent:
    """One event of one seat.

    ``when``: seconds since the epoch, by the server's clock. ``seat``: MAC address,
    ``aa:bb:cc:dd:ee:ff``. ``stage``: a short name such as ``dhcp``, ``tftp``, ``http``,
    ``init:network``, ``swap``, ``userland``, ``failed:swap``. ``message``: for a person. ``data``:
    JSON values for scripts (bytes, seconds, file names), never a secret.
    """

    when: float
    seat: str
    stage: str
    message: str
    data: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the event as JSON-ready values. ``data`` is the event's own."""
        return {  # dataclasses.asdict takes 9 us, of the 40 for a DHCP answer
            "when": self.when,
            "seat": self.seat,
            "stage": self.stage,
            "message": self.message,
            "data": self.data,
        }


# Stages of events that need no proof: a packet with a seat's MAC address is enough.
OF_OTHERS = frozenset(
    (
        *("dhcp", "pxe", "silent", "missing", "identity", "twin", "loader"),
        *("pages:in-use", "pages:refused"),
    )
)

# Stages of each round of swap that comes and goes. They must not push out the boot.
OF_SWAP = frozenset(("pages:attach", "pages:detach", "agent:lost", "agent:reattached"))
# Stages that share a limit, by each of them, and the limit.
_SHARES = {
    stage: (stages, limit.per_address or 0)
    for stages, limit in ((OF_OTHERS, JOURNAL_EVENTS_OF_OTHERS), (OF_SWAP, JOURNAL_EVENTS_OF_SWAP))
    for stage in stages
}


# Of the JSON of an event without its message and data.
EVENT_BYTES, VALUE_BYTES = 110, 12
_NUMBERS = (int, float)  # a union of them is made anew in each look


def estimated_bytes(event: BootEvent) -> int:
    """Return the size of an event as JSON, about. To make the JSON takes ten times as long."""
    return estimate(event.message, event.data)


def estimate(message: str, data: Mapping[str, Any]) -> int:
    """Return the size of an event with this message and data as JSON, about."""
    size = EVENT_BYTES + len(message)
    for key, value in data.items():
        size += VALUE_BYTES + len(key)
        if not isinstance(value, _NUMBERS):
            size += len(str(value))
    return size


@dataclass(eq=False, slots=True)
class _Kept:
    event: BootEvent
    size: int
    _text: str = ""

    @property
    def text(self) -> str:
        """The event as JSON, made once."""
        if not self._text:
            self._text = json.dumps(self.event.as_json())
        return self._text


@dataclass(slots=True)
class _History:
    events: deque[_Kept] = field(default_factory=deque)
    size: int = 0  # of the events
    shares: dict[Collection[str], int] = field(default_factory=dict)  # how many of these stages

    def add(self, kept: _Kept) -> bool:
        """Append an event. Return True if those of its stages are over their limit now."""
        self.events.append(kept)
        self.size += kept.size
        shared = _SHARES.get(kept.event.stage)
        if shared is None:
            return False
        stages, most = shared
        count = self.shares[stages] = self.shares.get(stages, 0) + 1
        return count > most

    def drop(self, stages: Collection[str] = ()) -> int:
        """Drop the oldest event, or the oldest of ``stages``. Return its size."""
        kept = self.events[0]
        if stages:
            kept = next(each for each in self.events if each.event.stage in stages)
        self.events.remove(kept)
        self.size -= kept.size
        shared = _SHARES.get(kept.event.stage)
        if shared is not None:
            self.shares[shared[0]] -= 1
        return kept.size


class Journal:
    """The last events of every seat, and listeners that get each new one. Does no I/O.

    Any packet on the LAN can carry a new MAC address, so the memory is limited. Seats of the
    profile, ``clients``, are never dropped. Played PCs have no history. Of the others, strangers go first: seats that have
    neither sent a beacon nor downloaded anything (see ``prove``). Seats whose swap is ``in_use``
    go last. All tables below are in the order of the last events, the oldest first.
    """

    def __init__(
        self, clients: Collection[str] = (), *, most_bytes: int = JOURNAL_BYTES.in_total or 0
    ) -> None:
        self._clients = frozenset(clients)
        self._most_bytes = most_bytes
        self._own: dict[str, _History] = {}
        self._proven: dict[str, _History] = {}
        self._strangers: dict[str, _History] = {}
        self._size = 0
        self._listeners: list[Callable[[BootEvent], None]] = []
        self.in_use: Callable[[str], bool] = lambda seat: False

    def subscribe(self, listener: Callable[[BootEvent], None]) -> None:
        """Call ``listener`` with every event that is recorded from now on."""
        self._listeners.append(listener)

    def record(self, event: BootEvent) -> None:
        """Append ``event`` to its seat's history and call the listeners."""
        self._append(event)
        for listener in self._listeners:
            listener(event)

    def prove(self, seat: str) -> None:
        """Note that a seat has sent a beacon, downloaded a file or attached its swap."""
        if not is_played(seat) and seat not in self._clients and seat not in self._proven:
            self._proven[seat] = self._strangers.pop(seat, _History())
            self._fit(seat)

    def is_proven(self, seat: str) -> bool:
        """Return whether a seat is the profile's, or has proven that it is a PC (see ``prove``)."""
        return seat in self._clients or seat in self._proven

    def seats(self) -> Iterable[str]:
        """Return the MAC addresses of all seats with events: the profile's, proven ones, others.

        In each part those with the last events come last.
        """
        return [
            seat
            for part in (self._own, self._proven, self._strangers)
            for seat, history in part.items()
            if history.events
        ]

    def history(self, seat: str) -> list[BootEvent]:
        """Return the last events of ``seat``, oldest first; empty if it was never seen."""
        return [kept.event for kept in self._of(seat).events]

    def texts(self, seat: str) -> list[str]:
        """Return the last events of ``seat`` as JSON, oldest first."""
        return [kept.text for kept in self._of(seat).events]

    def last_text(self, seat: str) -> str:
        """Return the last event of ``seat`` as JSON. It must have one."""
        return self._of(seat).events[-1].text

    def __contains__(self, seat: str) -> bool:
        """Return whether the journal knows a seat."""
        return seat in self._strangers or seat in self._proven or seat in self._own

    def _of(self, seat: str) -> _History:
        for part in (self._own, self._proven, self._strangers):
            if seat in part:
                return part[seat]
        return _History()

    def _append(self, event: BootEvent) -> None:
        seat = event.seat
        if is_played(seat):
            return  # in no list, and a storm of 1,000 would push all other PCs out
        if seat in self._clients:
            part, most = self._own, JOURNAL_EVENTS.per_address
        elif seat in self._proven:
            part, most = self._proven, JOURNAL_EVENTS.per_address
        else:
            part, most = self._strangers, JOURNAL_EVENTS_OF_STRANGERS.per_address
        history = part.pop(seat, None)
        if history is None:
            history = _History()
        part[seat] = history
        kept = _Kept(event, estimated_bytes(event))
        self._size += kept.size
        if history.add(kept):
            self._size -= history.drop(_SHARES[event.stage][0])
        while len(history.events) > (most or 0):
            self._size -= history.drop()
        self._fit(seat)

    def _fit(self, seat: str) -> None:
        """Drop what is over the limits, because of a new event of ``seat``."""
        strangers = JOURNAL_STRANGERS.in_total or 0
        while len(self._proven) + len(self._strangers) > strangers or (
            self._size > self._most_bytes and (self._strangers or len(self._proven) > 1)
        ):
            self._size -= self._drop_oldest().size
        while self._size > self._most_bytes and self._own:
            # A seat of the profile pays for its own events, or the one with the most does.
            history = self._of(seat)
            if len(history.events) <= 1:
                history = max(self._own.values(), key=lambda each: each.size)
            self._size -= history.drop()

    def _drop_oldest(self) -> _History:
        """Drop a seat that is not the profile's."""
        part = self._strangers or self._proven
        oldest = next(iter(part))
        if part is self._proven:
            oldest = next((seat for seat in part if not self.in_use(seat)), oldest)
        return part.pop(oldest)
