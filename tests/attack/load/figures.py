"""The figures of three runs of a room, their bars and tables. Times in seconds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.report import Verdict
from netboot.lab.storm.report import percentile
from tests.attack.load.kinds import Kind

TWICE = 2.0  # at most, beside the same CPU load
DHCP_SECONDS = 0.05  # p99 of a DHCP answer above that of an idle machine
MEMORY_MB, LOG_MB = 300.0, 1.0  # of the control plane; a minute
LAST = "load:verified"


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the room. ``stages`` of the PC in QEMU are in seconds from its power-on."""

    name: str
    seconds: float
    shares: Sequence[float]  # CPUs of each attack or loop
    busy: float  # CPUs in use on the machine
    seats: Sequence[Mapping[str, Any]]
    doors: Mapping[str, Mapping[str, float]]
    stages: Mapping[str, float]
    console: Sequence[str]
    memory: int
    log_bytes: int
    attained: Sequence[tuple[Kind, Mapping[str, float]]]

    def as_json(self) -> dict[str, Any]:
        """Return the run as JSON-ready values, without each single page."""
        found = {name: getattr(self, name) for name in self.__slots__}
        found["seats"] = [
            {**seat, "pages": len(seat["pages"]), "p99": percentile(seat["pages"], 0.99)}
            for seat in self.seats
        ]
        found["attained"] = {kind.name: dict(counts) for kind, counts in self.attained}
        return found


@dataclass(frozen=True, slots=True)
class Figure:
    """A time that an honest PC feels, by run; ``is_bar``: at most twice that beside the load.

    Single answers are no bars, but DHCP's against the idle machine: a PC feels them in its boot.
    """

    name: str
    values: tuple[float | None, ...]  # idle, load, attack
    is_bar: bool = True

    @property
    def ratio(self) -> float | None:
        """The time under attack in relation to that beside the load."""
        _, load, attack = self.values
        return None if not load or attack is None else attack / load


def _figures(runs: Sequence[Run]) -> list[Figure]:
    def each(name: str, value: Any) -> Figure:
        return Figure(name, tuple(value(run) for run in runs))

    def boots(share: float) -> Any:
        return lambda run: percentile([seat["boot"] for seat in run.seats], share)

    def pages(share: float) -> Any:
        return lambda run: percentile([s for seat in run.seats for s in seat["pages"]], share)

    return [
        each("boot of a played PC, median", boots(0.5)),
        each("boot of a played PC, slowest", boots(1.0)),
        each("page request, median", pages(0.5)),
        each("page request, p99", pages(0.99)),
        each(
            "swap back after a worker's death, slowest",
            lambda run: max((seat["back"] for seat in run.seats), default=None),
        ),
        each("QEMU: power-on to swap", lambda run: run.stages.get("swap")),
        each("QEMU: power-on to userland", lambda run: run.stages.get("userland")),
        each("QEMU: power-on to the end of its load", lambda run: run.stages.get(LAST)),
        *(
            Figure(f"{words}, p99", tuple(run.doors[door]["p99"] for run in runs), is_bar=False)
            for door, words in DOORS.items()
        ),
    ]


DOORS = {
    "dhcp": "DHCP answer",
    "page": "small HTTP answer",
    "status": "/status",
    "tftp": "first TFTP block",
    "pages": "greeting of the page server",
}


def problems(runs: Sequence[Run]) -> list[str]:
    """Return what went wrong for honest PCs, and which attacks succeeded."""
    found = []
    for run in runs:
        found += [f"{run.name}: {s['address']}: {s['failure']}" for s in run.seats if s["failure"]]
        found += [
            f"{run.name}: {door}: {row['failed']:.0f} of {row['failed'] + row['answers']:.0f} failed"
            for door, row in run.doors.items()
            if row["failed"]
        ]
        if run.stages and LAST not in run.stages:
            last = max(run.stages, key=lambda stage: run.stages[stage])
            found.append(f"{run.name}: the PC in QEMU is not done; last: {last}; {run.console}")
        found += [
            f"{run.name}: {kind.name}: succeeded: {dict(counts)}"
            for kind, counts in run.attained
            if not kind.held(counts)
        ]
    return found


def verdicts(runs: Sequence[Run]) -> list[Verdict]:
    """Return the bars."""
    idle, _, attack = runs
    bars = [
        Verdict(f"{figure.name}: attack / load", figure.ratio, TWICE, at_least=False)
        for figure in _figures(runs)
        if figure.is_bar and figure.ratio is not None
    ]
    extra = (attack.doors["dhcp"]["p99"] - idle.doors["dhcp"]["p99"]) * 1e3
    return [
        *bars,
        Verdict("DHCP answer, p99 above idle, ms", extra, DHCP_SECONDS * 1e3, at_least=False),
        Verdict("memory of the control plane, MB", attack.memory / 1e6, MEMORY_MB, at_least=False),
        Verdict(
            "log, MB/min", attack.log_bytes / 1e6 * 60 / attack.seconds, LOG_MB, at_least=False
        ),
        Verdict(
            "honest PCs with swap to the end",
            float(len(_well(attack))),
            len(attack.seats),
            at_least=True,
        ),
    ]


def _well(run: Run) -> list[Mapping[str, Any]]:
    return [seat for seat in run.seats if not seat["failure"]]


def attacks(run: Run) -> str:
    """Return the table of the attacks."""
    lines = ["| attack | rate | reached | outcome |", "|---|---|---|---|"]
    lines += [
        f"| {kind.name} | {kind.rate} | {kind.reached(counts)} "
        f"| {kind.outcome if kind.held(counts) else '**succeeded**'} |"
        for kind, counts in run.attained
    ]
    return "\n".join(lines)


def room(runs: Sequence[Run]) -> str:
    """Return the table of what honest PCs feel."""
    titles = " | ".join(run.name for run in runs)
    lines = [f"| honest PCs | {titles} | attack / load |", "|---|--:|--:|--:|--:|"]
    for figure in _figures(runs):
        cells = " | ".join(_time(value) for value in figure.values)
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
        lines.append(f"| {figure.name} | {cells} | {ratio} |")
    rows = {
        "CPUs in use on the machine": [f"{run.busy:.2f}" for run in runs],
        "of these, by the attackers or the loops": [f"{sum(run.shares):.2f}" for run in runs],
        "connections to swap that broke": [
            str(sum(seat["lost"] for seat in run.seats)) for run in runs
        ],
        "memory of the control plane": [f"{run.memory / 1e6:.0f} MB" for run in runs],
        "log in a minute": [f"{run.log_bytes / 1e3 * 60 / run.seconds:.0f} kB" for run in runs],
    }
    lines += [f"| {name} | {' | '.join(cells)} | |" for name, cells in rows.items()]
    return "\n".join(lines)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"
