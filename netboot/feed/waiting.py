"""Events that wait to be looked at: those of strangers apart, so that a storm of them costs little. Pure.

No more of them wait than the ring keeps: it would evict the others as soon as they were looked at.
"""

from collections import OrderedDict, deque
from collections.abc import Callable

from netboot.boot.events import BootEvent
from netboot.boot.limits import FEED_EVENTS, FEED_EVENTS_OF_STRANGERS


class Waiting:
    """Events in the order of their seat. ``is_proven`` is that of ``Ring``.

    Events of a seat that is no stranger any more wait no longer than its next event does.
    """

    def __init__(self, is_proven: Callable[[str], bool]) -> None:
        self._is_proven = is_proven
        self._proven: deque[BootEvent] = deque(maxlen=FEED_EVENTS.in_total)
        # In the order of their last events, the oldest first.
        self._strangers: OrderedDict[str, list[BootEvent]] = OrderedDict()
        self._of_strangers = 0

    def __len__(self) -> int:
        """Return the number of events that wait."""
        return len(self._proven) + self._of_strangers

    @property
    def proven(self) -> int:
        """The number of events of seats that are no strangers."""
        return len(self._proven)

    def put(self, event: BootEvent) -> None:
        """Have an event wait. Drop an older one if there are too many."""
        seat = event.seat
        earlier = self._strangers.pop(seat, None)
        if self._is_proven(seat):
            if earlier is not None:
                self._of_strangers -= len(earlier)
                self._proven.extend(earlier)
            self._proven.append(event)
            return
        events = [] if earlier is None else earlier
        events.append(event)
        self._strangers[seat] = events
        self._of_strangers += 1
        if len(events) > (FEED_EVENTS_OF_STRANGERS.per_address or len(events)):
            del events[0]
            self._of_strangers -= 1
        elif self._of_strangers > (FEED_EVENTS_OF_STRANGERS.in_total or 0):
            oldest, events = next(iter(self._strangers.items()))
            del events[0]
            self._of_strangers -= 1
            if not events:
                del self._strangers[oldest]

    def take(self, most: int) -> list[BootEvent]:
        """Return at most ``most`` events of seats that are no strangers, the oldest first."""
        return [self._proven.popleft() for _ in range(min(most, len(self._proven)))]

    def take_of_strangers(self, most: int) -> list[BootEvent]:
        """Return events of strangers, those silent for longest first: ``most`` and the seat's others."""
        taken: list[BootEvent] = []
        while self._strangers and len(taken) < most:
            _, events = self._strangers.popitem(last=False)
            taken += events
        self._of_strangers -= len(taken)
        return taken
