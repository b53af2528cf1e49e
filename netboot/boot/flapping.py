"""Flapping: swap that is lost and attached again and again is told as one summary. Pure.

Each round is some events of the page server and of the PC, and the last one says "attached". So a PC
that stands still looked like one that works, and a minute of it filled the seat's history.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from netboot.boot.client import is_played
from netboot.boot.events import BootEvent
from netboot.boot.plan import swap_export

PERIOD_SECONDS = 60.0
# A fault of the server is one round, and an operator who tries something makes two or three.
ROUNDS = 5
STAGE = "pages:flapping"


@dataclass(slots=True)
class _Rounds:
    """The rounds of one seat: when its swap was lost, and the reason of the last time."""

    lost: deque[float] = field(default_factory=deque)
    reason: str = ""
    told: float | None = None  # when there was a summary; None while the seat does not flap


@dataclass(slots=True)
class Flapping:
    """The seats whose swap comes and goes. Only seats with swap have a place here."""

    _seats: dict[str, _Rounds] = field(default_factory=dict)

    def record(self, event: BootEvent, now: float) -> None:
        """Note the end of the last connection to a seat's first area."""
        if event.stage != "pages:detach":
            return
        mac, data = event.seat, event.data
        is_lost = not data.get("connections") and data.get("export") == swap_export(mac)
        if is_lost and not is_played(mac):
            rounds = self._seats.setdefault(mac, _Rounds())
            rounds.lost.append(now)
            rounds.reason = event.message
            if len(rounds.lost) > ROUNDS * PERIOD_SECONDS:
                rounds.lost.popleft()

    def is_flapping(self, mac: str) -> bool:
        """Return whether the last events of a seat are part of a summary."""
        rounds = self._seats.get(mac)
        return rounds is not None and rounds.told is not None

    def summaries(self, now: float, tell: Callable[[str, str, bool], None]) -> None:
        """Call ``tell(mac, message, goes_on)`` for each summary that is due: one in a period."""
        for mac, rounds in list(self._seats.items()):
            while rounds.lost and now - rounds.lost[0] >= PERIOD_SECONDS:
                rounds.lost.popleft()
            count = len(rounds.lost)
            if rounds.told is None:
                is_due = count >= ROUNDS
            else:
                is_due = now - rounds.told >= PERIOD_SECONDS
            if not is_due:
                if not rounds.lost and rounds.told is None:
                    del self._seats[mac]
                continue
            if count >= ROUNDS:
                rounds.told = now
                text = f"swap lost and attached again {count} times in {PERIOD_SECONDS:g} s"
                tell(mac, f"{text}; the last time: {rounds.reason}", True)
            else:
                rounds.told = None
                text = f"swap was lost {count} times in the last {PERIOD_SECONDS:g} s, less often"
                tell(mac, text, False)
