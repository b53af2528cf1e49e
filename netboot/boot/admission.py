"""Which PCs may download their images now, so that those who do get them soon. Pure; seconds, bytes.

Sixty PCs that share a wire all finish at its end, and some give up before. Here as many begin as the
wire can serve in a few seconds; the others wait their turn, in the order in which they came, and are
told how long. A PC asks again when that time is over: who does not come has lost its place.
"""

import math
from dataclasses import dataclass

# What was admitted and is under way keeps the wire busy that long: more than the second by which a
# PC, whose loader sleeps whole seconds, may come late.
AHEAD_SECONDS = 3.0
MAX_WAIT_SECONDS = 60  # then it asks again, and hears how things are
LATE_SECONDS = 10.0
GONE_SECONDS = 60.0  # longer than the wire needs: it was switched off


@dataclass(frozen=True, slots=True)
class Turn:
    """``wait``: whole seconds until it may ask again, 0 if it may download now. ``before``: PCs that
    download or come before it.
    """

    wait: int
    before: int


@dataclass(slots=True)
class _Download:
    left: int
    until: float  # then it is taken for gone


@dataclass(slots=True)
class _Place:
    size: int
    due: float


class Admission:
    """Downloads over a wire of ``rate`` bytes per second; None: everybody may begin at once.

    What the wire still has to carry is reckoned from its rate, and known better when a file is
    through. A wire that is slower than it is said to be gets at most twice what it could carry.
    """

    def __init__(self, rate: int | None) -> None:
        self._rate = rate
        self._downloads: dict[str, _Download] = {}
        self._waiting: dict[str, _Place] = {}  # in the order in which they came
        self._reckoned = 0.0  # bytes under way
        self._reckoned_at = 0.0

    def ask(self, seat: str, size: int, now: float) -> Turn:
        """``seat`` wants to download ``size`` bytes; if it may, they are under way."""
        if self._rate is None:
            return Turn(0, 0)
        self.left(seat)  # it began once more
        self._forget_gone(now)
        known = self._waiting.get(seat)
        before = 0
        ahead = 0
        for other, place in self._waiting.items():
            if other == seat:
                break
            before, ahead = before + 1, ahead + place.size
        before += len(self._downloads)
        left = sum(download.left for download in self._downloads.values())
        under_way = self._under_way(left, now)
        limit = self._rate * AHEAD_SECONDS
        if before == 0 or (under_way + ahead < limit and left + ahead < 2 * limit):
            self._waiting.pop(seat, None)
            self._reckoned += size
            needed = (left + size) / self._rate
            self._downloads[seat] = _Download(size, now + GONE_SECONDS + needed)
            return Turn(0, before)
        wait = math.ceil((under_way + ahead - limit) / self._rate)
        wait = min(max(wait, 1), MAX_WAIT_SECONDS)
        if known is None:
            self._waiting[seat] = _Place(size, now + wait)
        else:
            known.size, known.due = size, now + wait
        return Turn(wait, before)

    def fetched(self, seat: str, size: int) -> None:
        """``seat`` has got ``size`` bytes of its download: a file is through."""
        download = self._downloads.get(seat)
        if download is not None:
            download.left -= size
            if download.left <= 0:
                del self._downloads[seat]

    def left(self, seat: str) -> None:
        """``seat`` downloads nothing any more: it has started Linux."""
        self._downloads.pop(seat, None)

    def _under_way(self, left: int, now: float) -> float:
        assert self._rate is not None
        carried = (now - self._reckoned_at) * self._rate
        self._reckoned, self._reckoned_at = max(0.0, min(self._reckoned - carried, left)), now
        return self._reckoned

    def _forget_gone(self, now: float) -> None:
        for seat in [seat for seat, each in self._downloads.items() if each.until < now]:
            del self._downloads[seat]
        for seat in [
            seat for seat, place in self._waiting.items() if place.due + LATE_SECONDS < now
        ]:
            del self._waiting[seat]
