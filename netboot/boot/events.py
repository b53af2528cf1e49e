"""The events of each seat's boot, in order: the model of the timeline, status and metrics."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

# A whole boot has about 30 events. Three boots of a seat are kept, to compare a bad one with.
EVENTS_PER_SEAT = 100
# Any packet on the LAN can carry a new MAC address; the oldest seat is dropped.
MAX_SEATS = 2000


@dataclass(frozen=True, slots=True)
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
        """Return the event as JSON-ready values."""
        return asdict(self)


class Journal:
    """The last events of every seat, and listeners that get each new one. Does no I/O."""

    def __init__(self) -> None:
        self._seats: dict[str, deque[BootEvent]] = {}
        self._listeners: list[Callable[[BootEvent], None]] = []

    def subscribe(self, listener: Callable[[BootEvent], None]) -> None:
        """Call ``listener`` with every event that is recorded from now on."""
        self._listeners.append(listener)

    def record(self, event: BootEvent) -> None:
        """Append ``event`` to its seat's history and call the listeners."""
        if event.seat not in self._seats:
            if len(self._seats) == MAX_SEATS:
                del self._seats[next(iter(self._seats))]
            self._seats[event.seat] = deque(maxlen=EVENTS_PER_SEAT)
        self._seats[event.seat].append(event)
        for listener in self._listeners:
            listener(event)

    def seats(self) -> Iterable[str]:
        """Return the MAC addresses of all seats seen, in the order of their first events."""
        return self._seats.keys()

    def history(self, seat: str) -> list[BootEvent]:
        """Return the last events of ``seat``, oldest first; empty if it was never seen."""
        return list(self._seats.get(seat, ()))
