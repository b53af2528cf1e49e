"""Admission control: which PCs may download their images now. Pure; seconds and bytes.

If sixty PCs share a link, all finish at the end, and some give up before. Here only as many begin
as the link can serve in a few seconds. The others queue in the order of their first request, and
are told how long to wait. A PC asks again after that time; otherwise it loses its place.
"""

import math
from dataclasses import dataclass

# The admitted downloads keep the link busy this long: longer than the second by which a PC may come
# late, because its loader sleeps whole seconds.
AHEAD_SECONDS = 3.0
MAX_WAIT_SECONDS = 60  # then the PC asks again, and gets a better estimate
LATE_SECONDS = 10.0
GONE_SECONDS = 60.0  # this much longer than the link needs: the PC was switched off


@dataclass(frozen=True, slots=True)
class Turn:
    """The answer to a PC's request to download.

    ``wait``: whole seconds until the PC may ask again, 0 if it may download now. ``before``: the
    number of PCs that download now or are ahead of it in the queue.
    """

    wait: int
    before: int


@dataclass(slots=True)
class _Download:
    left: int
    until: float  # after this time the PC counts as gone


@dataclass(slots=True)
class _Place:
    size: int
    due: float


class Admission:
    """Admission of downloads to a link of ``rate`` bytes per second; None admits every PC at once.

    The bytes that the link still has to carry are estimated from its rate, and corrected whenever a
    file is complete. A link that is slower than ``rate`` gets at most twice what it can carry.
    """

    def __init__(self, rate: int | None) -> None:
        self._rate = rate
        self._downloads: dict[str, _Download] = {}
        self._waiting: dict[str, _Place] = {}  # in the order of their first requests
        self._reckoned = 0.0  # estimate of the bytes under way
        self._reckoned_at = 0.0

    def ask(self, seat: str, size: int, now: float) -> Turn:
        """Return the turn of ``seat``, which wants to download ``size`` bytes.

        If it may download now, its bytes count as under way.
        """
        if self._rate is None:
            return Turn(0, 0)
        self.left(seat)  # it starts over
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
        """Record that ``seat`` has received a file of ``size`` bytes."""
        download = self._downloads.get(seat)
        if download is not None:
            download.left -= size
            if download.left <= 0:
                del self._downloads[seat]

    def left(self, seat: str) -> None:
        """Record that ``seat`` downloads nothing more, because it has started Linux."""
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
