"""The last events of a room, each with a number. Pure.

A reader that was away asks for the events ``after`` the last number that it saw. Events are evicted
where they are missed least: first the oldest ones of seats that make many, then those of the seat
that was silent for longest. Strangers have a small part of their own: any packet on the
LAN can carry a new MAC address. Every call but ``after`` takes the same time however many are kept.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from netboot.boot.events import OF_OTHERS, estimate
from netboot.boot.limits import (
    FEED_BYTES,
    FEED_BYTES_OF_STRANGERS,
    FEED_EVENTS,
    FEED_EVENTS_OF_OTHERS,
    FEED_EVENTS_OF_STRANGERS,
)
from netboot.feed.records import Event


@dataclass(slots=True)
class _Line:
    """Events of one seat, oldest first. Those beyond the last ``most`` are surplus."""

    most: int
    events: deque[tuple[Event, int]] = field(default_factory=deque)  # with their bytes


@dataclass(slots=True)
class _Seat:
    own: _Line
    others: _Line  # events that anybody can cause in its name

    def lines(self) -> tuple[_Line, _Line]:
        return (self.own, self.others)

    def oldest(self) -> _Line:
        """Return the line with the oldest event. The seat must have one."""
        return min(
            (line for line in self.lines() if line.events),
            key=lambda line: line.events[0][0].number,
        )


class _Part:
    """Events of some seats. ``seats`` is in the order of their last events, the oldest first.

    ``own``: events that a seat keeps whatever others do. ``others``: those that others can cause in its
    name; 0 if they count as its own.
    """

    def __init__(self, own: int, others: int) -> None:
        self._own, self._others = own, others
        self.seats: OrderedDict[str, _Seat] = OrderedDict()
        self._surplus: deque[tuple[str, _Line]] = deque()
        self.count = 0
        self.size = 0

    def add(self, event: Event, size: int) -> None:
        """Append an event, and make its seat the last one in the order."""
        seat = self.seats.get(event.seat)
        if seat is None:
            seat = self.seats[event.seat] = _Seat(_Line(self._own), _Line(self._others))
        self.seats.move_to_end(event.seat)
        line = seat.others if self._others and event.stage in OF_OTHERS else seat.own
        line.events.append((event, size))
        if len(line.events) > line.most:
            self._surplus.append((event.seat, line))
        self.count += 1
        self.size += size

    def drop(self) -> int:
        """Drop the oldest surplus event, or one of the seat that was silent for longest.

        Return its number. There must be an event.
        """
        if self._surplus:
            mac, line = self._surplus.popleft()
        else:
            mac = next(iter(self.seats))
            line = self.seats[mac].oldest()
        event, size = line.events.popleft()
        if not any(each.events for each in self.seats[mac].lines()):
            del self.seats[mac]
        self.count -= 1
        self.size -= size
        return event.number

    def trim(self) -> list[int]:
        """Drop all surplus events. Return their numbers."""
        return [self.drop() for _ in range(len(self._surplus))]

    def take(self, mac: str) -> list[tuple[Event, int]]:
        """Remove a seat. Return its events with their bytes. There must be no surplus."""
        seat = self.seats.pop(mac, None)
        if seat is None:
            return []
        taken = sorted(
            (pair for line in seat.lines() for pair in line.events),
            key=lambda pair: pair[0].number,
        )
        self.count -= len(taken)
        self.size -= sum(size for _, size in taken)
        return taken

    def events(self, mac: str) -> list[Event]:
        """Return the events of a seat, oldest first."""
        seat = self.seats.get(mac)
        lines = () if seat is None else seat.lines()
        found = [event for line in lines for event, _ in line.events]
        return sorted(found, key=lambda event: event.number)


class Ring:
    """The events of one run of a server, numbered from 1.

    ``named``: the seats of the profile. ``is_proven`` tells whether another seat sent a beacon or
    downloaded something (``Journal.is_proven``); if not, it is a stranger. Proven seats that the
    profile does not name cannot push the named ones out of more than half of the ring.
    """

    def __init__(
        self,
        most_events: int = FEED_EVENTS.in_total or 0,
        most_bytes: int = FEED_BYTES.in_total or 0,
        *,
        named: Collection[str] = (),
        is_proven: Callable[[str], bool] = lambda seat: True,
    ) -> None:
        self._most_events, self._most_bytes = most_events, most_bytes
        self._names = named
        self._is_proven = is_proven
        most = (FEED_EVENTS.per_address or 0, FEED_EVENTS_OF_OTHERS.per_address or 0)
        self._named, self._proven = _Part(*most), _Part(*most)
        few = FEED_EVENTS_OF_STRANGERS.per_address or 0
        self._strangers = _Part(few, 0)
        self._events: OrderedDict[int, Event] = OrderedDict()
        self._next = 1
        self._evicted = 0  # highest number of an evicted event of a seat that is no stranger

    def __len__(self) -> int:
        """Return the number of events that are kept."""
        return len(self._events)

    @property
    def size(self) -> int:
        """Bytes of the events that are kept, as JSON, about."""
        return self._named.size + self._proven.size + self._strangers.size

    @property
    def first(self) -> int:
        """The number from which on all events are kept, but for those of strangers."""
        return self._evicted + 1

    @property
    def next(self) -> int:
        """The number of the next event."""
        return self._next

    def add(
        self, when: float, seat: str, stage: str, message: str, data: dict[str, Any] | None = None
    ) -> Event:
        """Keep an event and return it with its number. ``data`` must not be changed afterwards."""
        event = Event(self._next, when, seat, stage, message, {} if data is None else data)
        self._next += 1
        self._events[event.number] = event
        size = estimate(message, event.data)
        if seat in self._names:
            part = self._named
        elif self._is_proven(seat):
            part = self._proven
        else:
            self._strangers.add(event, size)
            self._fit_strangers()
            return event
        for earlier, bytes_of_it in self._strangers.take(seat):
            part.add(earlier, bytes_of_it)
        part.add(event, size)
        self._fit(event)
        return event

    def after(self, number: int) -> list[Event] | None:
        """Return the events with higher numbers, oldest first.

        Return None if some of them are gone, or ``number`` was never given: the reader needs the
        rows of all seats again. Some events of strangers may be missing.
        """
        if not self._evicted <= number < self._next:
            return None
        return self.kept(number)

    def kept(self, number: int = 0) -> list[Event]:
        """Return what is kept of the events with higher numbers, oldest first."""
        found = []
        for each in reversed(self._events):
            if each <= number:
                break
            found.append(self._events[each])
        found.reverse()
        return found

    def of(self, seat: str, most: int = 60) -> list[Event]:
        """Return the last events of a seat, oldest first."""
        found = [
            event
            for part in (self._named, self._proven, self._strangers)
            if seat in part.seats
            for event in part.events(seat)
        ]
        return sorted(found, key=lambda event: event.number)[-most:] if most > 0 else []

    def _fit_strangers(self) -> None:
        part = self._strangers
        gone = part.trim()
        while part.count > (FEED_EVENTS_OF_STRANGERS.in_total or 0) or (
            part.size > (FEED_BYTES_OF_STRANGERS.in_total or 0) and part.count > 1
        ):
            gone.append(part.drop())
        for number in gone:
            del self._events[number]

    def _fit(self, newest: Event) -> None:
        """Drop what is over the limits, but never the ``newest`` event."""
        named, proven = self._named, self._proven
        while named.count + proven.count > 1 and (
            named.count + proven.count > self._most_events
            or named.size + proven.size > self._most_bytes
        ):
            part = named if proven.count <= named.count else proven
            if self._is_last(part, newest):
                part = proven if part is named else named
            number = part.drop()
            del self._events[number]
            self._evicted = max(self._evicted, number)

    @staticmethod
    def _is_last(part: _Part, newest: Event) -> bool:
        return part.count == 0 or (part.count == 1 and newest.seat in part.seats)
