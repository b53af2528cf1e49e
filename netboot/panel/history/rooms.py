"""The boots of a whole room: which boots of PCs belong together, and how they went. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from netboot.panel.records import Outcome, PreviousBoot, RoomBoot, SlowSeat, Step

GAP_SECONDS = 600.0  # without a PC that begins, the boot of the room is over
LEAST_PART = 0.25  # of the largest one: a teacher who starts one PC again boots no room
SLOWEST = 5
WAIT_SECONDS = 1800.0  # a PC that began earlier and does not run was switched off
# A regression is told if the median of the same PCs' boots is larger by both.
SLOWER_RATIO, SLOWER_SECONDS = 1.25, 5.0


@dataclass(frozen=True, slots=True)
class SeatBoot:
    """The boot of one PC. ``id``: of its row in the history."""

    id: int
    mac: str
    name: str
    began: float
    ended: float | None
    outcome: Outcome
    seconds: float | None


Room = tuple[SeatBoot, ...]  # one boot of each PC


def divided(boots: Sequence[SeatBoot]) -> list[Room]:
    """Return the room's boots, newest first. ``boots`` are in the order in which they began.

    A PC that booted twice in one of them counts with its last boot.
    """
    groups: list[dict[str, SeatBoot]] = []
    last = -math.inf
    for boot in boots:
        if boot.began - last > GAP_SECONDS:
            groups.append({})
        groups[-1][boot.mac] = boot
        last = boot.began
    least = max((len(group) for group in groups), default=0) * LEAST_PART
    return [tuple(group.values()) for group in reversed(groups) if len(group) >= least]


def slowest(room: Room, now: float) -> list[SeatBoot]:
    """Return the boots that took or take longest, slowest first."""
    known = [boot for boot in room if not _is_given_up(boot, now)]
    return sorted(known, key=lambda boot: _seconds(boot, now), reverse=True)[:SLOWEST]


def summary(rooms: Sequence[Room], stages: dict[int, Sequence[Step]], now: float) -> RoomBoot:
    """Return what is told of the newest of ``rooms``; ``stages``: of its slowest boots, by id."""
    if not rooms:
        return RoomBoot()
    last = rooms[0]
    outcomes = ["failed" if _is_given_up(boot, now) else boot.outcome for boot in last]
    return RoomBoot(
        began=min(boot.began for boot in last),
        seats=len(last),
        done=outcomes.count("running"),
        failed=outcomes.count("failed"),
        waiting=outcomes.count("unfinished"),
        slowest=tuple(
            SlowSeat(boot.mac, boot.name, _seconds(boot, now), _longest(boot, stages[boot.id]))
            for boot in slowest(last, now)
        ),
        previous=PreviousBoot(len(rooms[1]), _whole(rooms[1])) if len(rooms) > 1 else None,
        regression=regression(last, rooms[1]) if len(rooms) > 1 else "",
    )


def regression(last: Room, before: Room) -> str:
    """Return a sentence if the PCs that ran both times were slower now, otherwise an empty text."""
    was = {boot.mac: boot.seconds for boot in before if boot.outcome == "running"}
    both = [
        (boot.seconds, seconds)
        for boot in last
        if boot.outcome == "running"
        and boot.seconds is not None
        and (seconds := was.get(boot.mac)) is not None
    ]
    if not both:
        return ""
    now, then = (median(each) for each in zip(*both, strict=True))
    if now < then * SLOWER_RATIO or now - then < SLOWER_SECONDS:
        return ""
    pcs = "1 PC" if len(both) == 1 else f"the median of {len(both)} PCs"
    return (
        f"this boot is slower: {now:.0f} s in {pcs}, {then:.0f} s the time before; "
        "compare the stages of the slowest PCs"
    )


def _is_given_up(boot: SeatBoot, now: float) -> bool:
    return boot.outcome == "unfinished" and now - boot.began > WAIT_SECONDS


def _seconds(boot: SeatBoot, now: float) -> float:
    return boot.seconds if boot.seconds is not None else max(0.0, now - boot.began)


def _whole(room: Room) -> float:
    """Return the seconds from the first power-on until the last PC ran."""
    ends = [boot.ended for boot in room if boot.outcome == "running" and boot.ended is not None]
    return max(ends) - min(boot.began for boot in room) if ends else 0.0


def _longest(boot: SeatBoot, steps: Sequence[Step]) -> str:
    """Return the stage that lasted longest, or the one in which the PC is."""
    if not steps:
        return ""
    if boot.outcome != "running" or len(steps) == 1:
        return steps[-1].stage
    return max(pairwise(steps), key=lambda pair: pair[1].at - pair[0].at)[0].stage
