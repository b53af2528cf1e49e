"""The time that seats wait because of what the server decides, by the reason. Pure.

The time until a seat's turn comes in the order of a poll is no such time: only a turn that it is refused
is. Times are seconds of the caller's clock.
"""

from collections.abc import Collection
from typing import Literal

# No room in the store (its memory limit, or a full disk), at the seat's ceiling, a turn of other seats.
Reason = Literal["store", "rate", "share"]
REASONS: tuple[Reason, ...] = ("store", "rate", "share")


class Delays:
    """Adds up, by reason, for how long seats wait. Two connections of a seat wait once.

    ``held``: a seat waits now.
    """

    def __init__(self) -> None:
        self._since: dict[Reason, dict[str, float]] = {reason: {} for reason in REASONS}
        self._waited: dict[Reason, float] = dict.fromkeys(REASONS, 0.0)
        self.held = False

    def follow(self, reason: Reason, seats: Collection[str], now: float) -> None:
        """Note that these seats wait for this reason, and no others."""
        before = self._since[reason]
        if not (before or seats):
            return
        since = self._since[reason] = {seat: before.get(seat, now) for seat in seats}
        self._waited[reason] += sum(now - before[seat] for seat in before.keys() - since)
        self.held = any(self._since.values())

    def end(self, seat: str, now: float) -> None:
        """Note that a seat waits no more; if it does, ``follow`` tells so."""
        for reason, since in self._since.items():
            if seat in since:
                self._waited[reason] += now - since.pop(seat)

    def take(self, now: float) -> dict[Reason, float]:
        """Return the seconds since the last call by reason, those of seats that wait on included."""
        for reason, since in self._since.items():
            self._waited[reason] += sum(now - begin for begin in since.values())
            self._since[reason] = dict.fromkeys(since, now)
        waited, self._waited = self._waited, dict.fromkeys(REASONS, 0.0)
        return {reason: seconds for reason, seconds in waited.items() if seconds > 0}
