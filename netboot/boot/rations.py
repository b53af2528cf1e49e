"""Rations: how many lines of the timeline the events of a seat may fill. Pure."""

from collections.abc import Collection

from netboot.boot.limits import TIMELINE_LINES, TIMELINE_LINES_OF_STRANGERS


class Rations:
    """Lines of each seat, and of all that are not in ``clients`` together, in a period.

    Memory is bounded: only seats that got a line are remembered, until the period ends.
    """

    def __init__(self, clients: Collection[str]) -> None:
        self._clients = frozenset(clients)
        self._end = float("-inf")
        self._lines: dict[str, int] = {}
        self._total = 0
        self._of_strangers = 0
        self._refused = 0  # in this period
        self._before = 0  # in the periods before

    def take(self, seat: str, now: float) -> bool:
        """Return whether an event of ``seat`` may fill a line; ``now`` in seconds."""
        if now >= self._end:
            self._end = now + (TIMELINE_LINES.seconds or 0.0)
            self._lines.clear()
            self._total = self._of_strangers = 0
            self._before, self._refused = self._before + self._refused, 0
        is_stranger = seat not in self._clients
        most, most_of_strangers = TIMELINE_LINES.per_address, TIMELINE_LINES_OF_STRANGERS.in_total
        if is_stranger and self._of_strangers >= (most_of_strangers or 0):
            self._refused += 1
            return False
        if self._lines.get(seat, 0) >= (most or 0) or self._total >= (TIMELINE_LINES.in_total or 0):
            self._refused += 1
            return False
        self._lines[seat] = self._lines.get(seat, 0) + 1
        self._total += 1
        self._of_strangers += is_stranger
        return True

    def take_refused(self) -> int:
        """Return the number of events in past periods that got no line, each once."""
        count, self._before = self._before, 0
        return count
