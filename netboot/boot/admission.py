"""Admission control: which PCs may download their images now. Pure; seconds and bytes.

If sixty PCs share a link, all finish at the end, and some give up before. Here only as many begin
as the link can serve in a few seconds. The others queue in the order of their first request, and
are told how long to wait. A PC asks again after that time; otherwise it loses its place.

Anybody can ask in the name of a PC that does not exist. So the seats that the profile names come
first. A stranger gets a place in the queue when it asks for the second time, at the time that it
was told. An admitted PC that does not begin to download gives its place back
(``limits.ADMISSION_IDLE``), and is nothing that a seat of the profile must wait for.
"""

import math
from collections.abc import Container
from dataclasses import dataclass

from netboot.boot import limits

# The admitted downloads keep the link busy this long: longer than the second by which a PC may come
# late, because its loader sleeps whole seconds.
AHEAD_SECONDS = 3.0
MAX_WAIT_SECONDS = 60  # then the PC asks again, and gets a better estimate
LATE_SECONDS = limits.ADMISSION_QUEUE.seconds or 0.0
EARLY_SECONDS = 0.5  # a PC's clock may be a little fast
IDLE_SECONDS = limits.ADMISSION_IDLE.seconds or 0.0
MAX_STRANGERS = limits.ADMISSION_QUEUE.in_total or 0
MAX_NOTES = 16 * MAX_STRANGERS  # of strangers without a place: one PC makes up 150 in a second
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
    idle_until: float  # the same, if it has not begun
    named: bool  # in the profile
    begun: bool = False


@dataclass(slots=True)
class _Place:
    size: int
    due: float


class Admission:
    """Admission of downloads to a link of ``rate`` bytes per second; None admits every PC at once.

    ``named`` are the seats of the profile.
    The bytes that the link still has to carry are estimated from its rate, and corrected whenever a
    file is complete. A link that is slower than ``rate`` gets at most twice what it can carry.
    """

    def __init__(self, rate: int | None, named: Container[str] = ()) -> None:
        self._rate = rate
        self._named = named
        self._downloads: dict[str, _Download] = {}
        # In the order in which they got their places; seats of the profile are ahead of strangers.
        self._waiting: dict[str, _Place] = {}
        self._strangers: dict[str, _Place] = {}
        self._once: dict[str, float] = {}  # strangers without a place, and when they may ask again
        self._reckoned = 0.0  # estimate of the bytes under way
        self._reckoned_at = 0.0

    def waiting(self, now: float) -> int:
        """Return the number of seats that wait for their turn."""
        self._forget_gone(now)
        return len(self._waiting) + len(self._strangers)

    def ask(self, seat: str, size: int, now: float, *, at_last: bool = False) -> Turn:
        """Return the turn of ``seat``, which wants to download ``size`` bytes.

        If it may download now, its bytes count as under way. ``at_last``: it waits no longer, so it
        may download whatever is under way.
        """
        if self._rate is None:
            return Turn(0, 0)
        self.left(seat)  # it starts over
        self._forget_gone(now)
        named = seat in self._named
        before, ahead = self._in_front_of(seat, named)
        counted = [each for each in self._downloads.values() if each.named or each.begun]
        if not named:
            counted = list(self._downloads.values())
        before += len(counted)
        left = sum(download.left for download in counted)
        under_way = min(self._under_way(now), left)
        limit = self._rate * AHEAD_SECONDS
        may_queue = named or seat in self._strangers or self._asked_before(seat, now)
        is_free = under_way + ahead < limit and left + ahead < 2 * limit
        # Places that become free go to the queue, not to strangers that come by.
        comes_by = not (may_queue or not (self._waiting or self._strangers))
        if before == 0 or at_last or (is_free and not comes_by):
            for places in (self._waiting, self._strangers, self._once):
                places.pop(seat, None)
            self._reckoned += size
            needed = (left + size) / self._rate
            self._downloads[seat] = _Download(
                size, now + GONE_SECONDS + needed, now + IDLE_SECONDS, named
            )
            return Turn(0, before)
        wait = math.ceil((under_way + ahead - limit) / self._rate)
        wait = min(max(wait, 1), MAX_WAIT_SECONDS)
        place = _Place(size, now + wait)
        if named:
            self._waiting[seat] = place
        elif seat in self._strangers or (may_queue and len(self._strangers) < MAX_STRANGERS):
            self._once.pop(seat, None)
            self._strangers[seat] = place
        else:
            self._note_first(seat, place.due)
        return Turn(wait, before)

    def _in_front_of(self, seat: str, named: bool) -> tuple[int, int]:
        """Return the number of the PCs that wait in front of ``seat``, and their bytes."""
        before = ahead = 0
        for places in (self._waiting,) if named else (self._waiting, self._strangers):
            for other, place in places.items():
                if other == seat:
                    break
                before, ahead = before + 1, ahead + place.size
        return before, ahead

    def _asked_before(self, seat: str, now: float) -> bool:
        """Return True if a stranger asks again, at the time that it was told."""
        return now >= self._once.get(seat, math.inf) - EARLY_SECONDS

    def _note_first(self, seat: str, due: float) -> None:
        """Note that a stranger without a place may ask again at ``due``."""
        self._once.pop(seat, None)
        if len(self._once) >= MAX_NOTES:
            del self._once[next(iter(self._once))]
        self._once[seat] = due

    def is_admitted(self, seat: str, now: float) -> bool:
        """Return True if ``seat`` may download and has not all of it yet."""
        self._forget_gone(now)
        return seat in self._downloads

    def begun(self, seat: str) -> None:
        """Record that ``seat`` begins to download a file."""
        download = self._downloads.get(seat)
        if download is not None:
            download.begun = True

    def fetched(self, seat: str, size: int) -> None:
        """Record that ``seat`` has received a file of ``size`` bytes."""
        download = self._downloads.get(seat)
        if download is not None:
            download.begun = True
            download.left -= size
            if download.left <= 0:
                del self._downloads[seat]

    def left(self, seat: str) -> None:
        """Record that ``seat`` downloads nothing more, because it has started Linux."""
        self._downloads.pop(seat, None)

    def _under_way(self, now: float) -> float:
        assert self._rate is not None
        left = sum(download.left for download in self._downloads.values())
        carried = (now - self._reckoned_at) * self._rate
        self._reckoned, self._reckoned_at = max(0.0, min(self._reckoned - carried, left)), now
        return self._reckoned

    def _forget_gone(self, now: float) -> None:
        for seat, each in list(self._downloads.items()):
            if each.until < now or (not each.begun and each.idle_until < now):
                del self._downloads[seat]
        for places in (self._waiting, self._strangers):
            for seat, place in list(places.items()):
                if place.due + LATE_SECONDS < now:
                    del places[seat]
        for seat, due in list(self._once.items()):
            if due + LATE_SECONDS < now:
                del self._once[seat]
