"""Fairness between the seats of a worker: deficit round robin by bytes. Pure.

Shreedhar and Varghese, "Efficient fair queuing using deficit round robin" (SIGCOMM 1995), with two
changes: a seat that is reading (a person waits) goes before one that is writing (a kernel makes
room), and after each poll of the sockets at most one writing seat has a turn. So a seat that wants
one page waits for at most one turn of somebody else, ``quantum`` bytes, however many others write
and however deep their queues are. Nobody is refused: who has had its share is answered later, and
TCP tells its kernel to wait.
"""

from collections.abc import Iterable
from dataclasses import dataclass

QUANTUM_BYTES = 64 << 10  # some 30 us of work
# How far ahead of its ceiling a seat may be: it sleeps for whole milliseconds, and must not lose them.
BURST_SECONDS = 0.01


@dataclass(slots=True)
class _Seat:
    credit: int = QUANTUM_BYTES
    writes: bool = False  # in its last turn, more than it read
    ceiling: float | None = None  # bytes per second
    even_at: float = 0.0  # by then it could have moved what it has, at its ceiling


class Governor:
    """Who of the waiting seats has a turn. Times are seconds of one clock of the caller's."""

    def __init__(self) -> None:
        self._seats: dict[str, _Seat] = {}

    def limit(self, name: str, ceiling: float | None) -> None:
        """Sets the most bytes per second that a seat may move, both ways together; None: any."""
        self._seats.setdefault(name, _Seat()).ceiling = ceiling

    def turns(self, waiting: Iterable[str], now: float) -> list[str]:
        """The seats to serve now, one turn each, in this order; empty only if all of the waiting
        are at their ceilings (``rest`` says for how long).
        """
        seats = {
            name: self._seats.setdefault(name, _Seat())
            for name in waiting
            if not self.rest(name, now)
        }
        if not seats:
            return []
        richest = max(seat.credit for seat in seats.values())
        if richest <= 0:  # a new round, or as many as it takes until somebody may move
            granted = (-richest // QUANTUM_BYTES + 1) * QUANTUM_BYTES
            for seat in self._seats.values():
                seat.credit = min(seat.credit + granted, QUANTUM_BYTES)
        able = [name for name, seat in seats.items() if seat.credit > 0]
        readers = [name for name in able if not seats[name].writes]
        writers = [name for name in able if seats[name].writes]
        readers.sort(key=lambda name: -seats[name].credit)
        return readers + sorted(writers, key=lambda name: -seats[name].credit)[:1]

    def charge(self, name: str, bytes_read: int, bytes_written: int, now: float) -> None:
        """What a seat moved in its turn."""
        seat = self._seats.setdefault(name, _Seat())
        moved = bytes_read + bytes_written
        seat.credit -= moved
        if moved:
            seat.writes = bytes_written > bytes_read
        if seat.ceiling is not None:
            seat.even_at = max(seat.even_at, now) + moved / seat.ceiling

    def rest(self, name: str, now: float) -> float:
        """Seconds until a seat is below its ceiling; 0 if it is, or has none."""
        seat = self._seats.get(name)
        if seat is None or seat.ceiling is None:
            return 0.0
        return max(seat.even_at - BURST_SECONDS - now, 0.0)

    def forget(self, name: str) -> None:
        """A seat has gone."""
        self._seats.pop(name, None)
