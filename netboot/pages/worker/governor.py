"""Fairness between the seats of a worker: deficit round robin by bytes. Pure.

Shreedhar and Varghese, "Efficient fair queuing using deficit round robin" (SIGCOMM 1995), with two
changes. A seat that reads (a person waits) goes before a seat that writes (a kernel makes room).
After each poll of the sockets at most one writing seat has a turn. So a seat that needs one page
waits for at most one turn of another seat, ``quantum`` bytes, no matter how many others write and
how deep their queues are. No request is refused: a seat that has used its share is answered later,
and TCP's flow control makes its kernel wait.
"""

from collections.abc import Iterable
from dataclasses import dataclass

QUANTUM_BYTES = 64 << 10
QUANTUM_SECONDS = 30e-6  # to read or write so much, about
# How far ahead of its ceiling a seat may be, so that waits of whole milliseconds cost it nothing.
BURST_SECONDS = 0.01


@dataclass(slots=True)
class _Seat:
    credit: int = QUANTUM_BYTES
    writes: bool = False  # wrote more than it read in its last turn
    ceiling: float | None = None  # bytes per second
    even_at: float = 0.0  # time at which its ceiling would have allowed all it has moved


class Governor:
    """Selects the seats that have a turn. Times are in seconds of the caller's clock."""

    def __init__(self) -> None:
        self._seats: dict[str, _Seat] = {}

    def limit(self, name: str, ceiling: float | None) -> None:
        """Set the most bytes per second, read and written, that a seat may move; None: no limit."""
        self._seats.setdefault(name, _Seat()).ceiling = ceiling

    def turns(self, waiting: Iterable[str], now: float) -> list[str]:
        """Return the seats to serve now, one turn each, in this order.

        The list is empty only if all waiting seats are at their ceilings (see ``rest``).
        """
        seats = {
            name: self._seats.setdefault(name, _Seat())
            for name in waiting
            if not self.rest(name, now)
        }
        if not seats:
            return []
        richest = max(seat.credit for seat in seats.values())
        if richest <= 0:  # a new round, or as many rounds as one seat needs to have credit
            granted = (-richest // QUANTUM_BYTES + 1) * QUANTUM_BYTES
            for seat in self._seats.values():
                seat.credit = min(seat.credit + granted, QUANTUM_BYTES)
        able = [name for name, seat in seats.items() if seat.credit > 0]
        readers = [name for name in able if not seats[name].writes]
        writers = [name for name in able if seats[name].writes]
        readers.sort(key=lambda name: -seats[name].credit)
        return readers + sorted(writers, key=lambda name: -seats[name].credit)[:1]

    def charge(self, name: str, bytes_read: int, bytes_written: int, now: float) -> None:
        """Charge a seat with the bytes that it moved in its turn."""
        seat = self._seats.setdefault(name, _Seat())
        moved = bytes_read + bytes_written
        seat.credit -= moved
        if moved:
            seat.writes = bytes_written > bytes_read
        if seat.ceiling is not None:
            seat.even_at = max(seat.even_at, now) + moved / seat.ceiling

    def rest(self, name: str, now: float) -> float:
        """Return the seconds until a seat is below its ceiling; 0 if it is already, or has none."""
        seat = self._seats.get(name)
        if seat is None or seat.ceiling is None:
            return 0.0
        return max(seat.even_at - BURST_SECONDS - now, 0.0)

    def forget(self, name: str) -> None:
        """Drop the state of a seat that has left."""
        self._seats.pop(name, None)
