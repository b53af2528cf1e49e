"""Which of its boot loaders a PC gets, and whose iPXE asks. Pure: time is an argument.

A loader that a PC has all of and that is not heard of before the PC's firmware asks again has failed
there: the next one's turn has come. What this room has learned is forgotten when its server ends.
"""

from dataclasses import dataclass

# iPXE's first packet comes as soon as the link is up again; a switch with spanning tree takes 30 s.
# A card's iPXE that asks in this time, because its PC was switched off and on, is taken for ours and
# sent our script, which it can run as well.
START_SECONDS = 60.0


@dataclass(slots=True)
class _Seat:
    attempt: int = 0
    loaded: float | None = None  # when it had all of a loader; None once that was heard of
    running: bool = False  # our iPXE has asked and has no script yet


class Loaders:
    """What is known of each PC that fetched a loader, by its MAC address."""

    def __init__(self) -> None:
        self._seats: dict[str, _Seat] = {}

    def attempt(self, mac: str) -> int:
        """How many loaders have failed there, until one did not."""
        seat = self._seats.get(mac)
        return 0 if seat is None else seat.attempt

    def loaded(self, mac: str, now: float) -> None:
        """The PC has all of a loader."""
        seat = self._seats.setdefault(mac, _Seat())
        seat.loaded, seat.running = now, False

    def is_ours(self, mac: str, now: float) -> bool:
        """Whether the iPXE that asks is the one that we sent, rather than the card's own."""
        seat = self._seats.get(mac)
        if seat is None:
            return False
        return seat.running or (seat.loaded is not None and now - seat.loaded <= START_SECONDS)

    def heard(self, mac: str) -> None:
        """Our iPXE has asked: it came through."""
        seat = self._seats.get(mac)
        if seat is not None:
            seat.loaded, seat.running = None, True

    def scripted(self, mac: str) -> None:
        """It has its script: the next iPXE that asks is the card's own again."""
        seat = self._seats.get(mac)
        if seat is not None:
            seat.running = False

    def restarted(self, mac: str) -> bool:
        """The PC's firmware asks. Whether it gets another loader than last time, because of that one
        nothing was heard.
        """
        seat = self._seats.get(mac)
        if seat is None:
            return False
        seat.running = False
        failed = seat.loaded is not None
        if failed:
            seat.attempt, seat.loaded = seat.attempt + 1, None
        return failed
