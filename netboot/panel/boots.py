"""Boots made of the events of seats, with the seconds of their stages, for history and metrics.

The rules by which a boot begins and ends are the server's (netboot.feed.life). A panel that was away gets
the events that the server has kept, so it knows of the boots of that time as well.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from netboot.feed.judging import Boot as Known
from netboot.feed.judging import Phase, boot_name
from netboot.feed.life import Life
from netboot.feed.records import Event, Gone, Hello, Record, SeatRow
from netboot.feed.steps import NO_STEPS
from netboot.panel.records import Boot, Outcome, Step

MOST_SEATS = 8192  # of all servers
MOST_STEPS = 60  # a boot has 25
MOST_TEXT = 300  # characters of a step's message
LEAST_SECONDS = 0.001

# Link of the server, MAC address, name of the seat, the boot.
Listener = Callable[[str, str, str, Boot], None]


@dataclass(slots=True)
class _Seat:
    """One seat: its life, the steps of its last boots, and the boot as it was told last."""

    life: Life
    name: str
    image: str = ""
    steps: dict[str, list[Step]] = field(default_factory=dict)  # by the name of the boot
    told: Boot | None = None


class Boots:
    """Tells each boot as it grows, and once when it has ended. A sink of records.

    ``known``: run and number of the last event of each link that was taken before: boots without a later
    one are not told again.
    """

    def __init__(
        self, listeners: Sequence[Listener], known: dict[str, tuple[str, int]] | None = None
    ) -> None:
        self._listeners = listeners
        self._known = dict(known or {})
        self._seats: OrderedDict[tuple[str, str], _Seat] = OrderedDict()

    def connected(self, link: str, reason: str) -> None:
        """Do nothing: a feed that is away ends no boot."""

    def take(self, link: str, record: Record) -> None:
        """Take a record of a server's feed."""
        match record:
            case Hello():
                if self._known.get(link, ("", 0))[0] != record.run:
                    self._known[link] = record.run, 0
            case Event():
                self._take_event(link, record)
            case SeatRow():
                self._take_row(link, record)
            case Gone():
                self._seats.pop((link, record.mac), None)
            case _:
                pass

    def _seat(self, link: str, mac: str) -> _Seat:
        key = link, mac
        if key not in self._seats and len(self._seats) >= MOST_SEATS:
            self._seats.popitem(last=False)
        seat = self._seats.setdefault(key, _Seat(Life(mac), mac))
        self._seats.move_to_end(key)
        return seat

    def _take_event(self, link: str, event: Event) -> None:
        seat = self._seat(link, event.seat)
        seat.life.event(event, event.when)
        known = seat.life.boot
        if known is None or not known.name:
            return
        if known.name not in seat.steps:
            # An unproven one may stand beside the boot that goes on.
            seat.steps = dict(list(seat.steps.items())[-1:]) | {known.name: []}
        steps = seat.steps[known.name]
        is_step = event.stage not in NO_STEPS and len(steps) < MOST_STEPS
        if is_step and all(step.stage != event.stage for step in steps):
            at = max(round(event.when - known.began, 3), 0.0)
            steps.append(Step(event.stage, at, event.message[:MOST_TEXT]))
        # Of a presumed one neither begin nor stages were seen: its server started again.
        is_seen = known.proven and not known.presumed
        if is_seen and event.number > self._known.get(link, ("", 0))[1]:
            self._tell(link, event.seat, seat, known, event.when)

    def _take_row(self, link: str, row: SeatRow) -> None:
        seat = self._seat(link, row.mac)
        seat.name = row.name
        told = seat.told
        if not row.boot or told is None or row.boot != boot_name(told.began):
            return
        changed = replace(told, image=row.image or told.image)
        if told.outcome == "unfinished" and row.state in ("running", "short"):
            changed = _ended(changed, "running", row.since)  # the event of its userland was lost
        self._say(link, row.mac, seat, changed)

    def _tell(self, link: str, mac: str, seat: _Seat, known: Known, when: float) -> None:
        told = seat.told
        is_same = told is not None and boot_name(told.began) == known.name
        if is_same and told is not None and told.outcome == "running":
            return
        image = told.image if is_same and told is not None else ""
        boot = Boot(known.began, None, "unfinished", None, tuple(seat.steps[known.name]), image)
        if known.failed:
            boot = _ended(boot, "failed", when)
        elif known.phase is Phase.RUNNING:
            boot = _ended(boot, "running", when)
        self._say(link, mac, seat, boot)

    def _say(self, link: str, mac: str, seat: _Seat, boot: Boot) -> None:
        if boot == seat.told:
            return
        if seat.told is not None and _is_later_end(seat.told, boot):
            return
        seat.told = boot
        for listener in self._listeners:
            listener(link, mac, seat.name, boot)


def _ended(boot: Boot, outcome: Outcome, when: float) -> Boot:
    seconds = max(round(when - boot.began, 3), LEAST_SECONDS)
    return replace(boot, outcome=outcome, ended=when, seconds=seconds)


def _is_later_end(before: Boot, boot: Boot) -> bool:
    """Return True if a boot that failed fails again: the first time counts."""
    return before.began == boot.began and before.outcome == boot.outcome == "failed"
