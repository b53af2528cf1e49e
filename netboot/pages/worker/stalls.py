"""Page files that do not answer: a disk, a file server or a cluster that stands still. Pure.

The worker looks at the oldest task of each area about once a second. A task counts as old as the first
look that saw it as the oldest. Times are seconds of the caller's clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass

# More than the 3 s after which a PC's kernel gives a request up (swap.timeout) and sends it again.
STALLED_SECONDS = 5.0
AGAIN_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Stall:
    """A request of ``lease`` has waited for ``seconds``. ``over``: the page file answers again."""

    lease: str
    seconds: float
    over: bool = False


@dataclass(slots=True)
class _Wait:
    task: object
    since: float
    told: float | None = None


class Stalls:
    """Finds the areas whose requests wait for long."""

    def __init__(self) -> None:
        self._waits: dict[str, _Wait] = {}

    def look(self, oldest: Mapping[str, object | None], now: float) -> list[Stall]:
        """Return the stalls to tell: after 5 s, each minute from then on, and at the end.

        ``oldest`` has the oldest task of each lease, None if nothing is under way. A lease that it
        does not have is forgotten.
        """
        found: list[Stall] = []
        waits, self._waits = self._waits, {}
        for lease, task in oldest.items():
            wait = waits.get(lease)
            if wait is not None and wait.task is not task:
                if wait.told is not None:
                    found.append(Stall(lease, now - wait.since, over=True))
                wait = None
            if task is None:
                continue
            if wait is None:
                wait = _Wait(task, now)
            self._waits[lease] = wait
            seconds = now - wait.since
            if seconds >= STALLED_SECONDS and (
                wait.told is None or now - wait.told >= AGAIN_SECONDS
            ):
                wait.told = now
                found.append(Stall(lease, seconds))
        return found
