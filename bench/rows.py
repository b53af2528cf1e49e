"""Loads, rows, results and bars of the page benchmark. Pure. Times are microseconds."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from bench.report import OURS, Verdict

FLOOR = "floor"
PEERS = ("nbdkit", "nbd-server", "qsd")

Form = Literal["free", "pinned"]
Link = Literal["loopback", "veth"]
Mode = Literal["randread", "randwrite", "randrw", "read", "write"]


@dataclass(frozen=True, slots=True)
class Row:
    """One load on one server. ``connections`` is the number of fio jobs, each ``depth`` deep."""

    mode: Mode
    block_bytes: int
    depth: int
    connections: int
    form: Form = "free"
    link: Link = "loopback"

    @property
    def name(self) -> str:
        """The name in the table, for example ``free randread 4k d32 c8``."""
        link = "" if self.link == "loopback" else f"{self.link} "
        size = f"{self.block_bytes >> 10}k"
        return f"{link}{self.form} {self.mode} {size} d{self.depth} c{self.connections}"


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one row on one server.

    ``cpu_us`` is the CPU time of the server's process tree per request, from ticks of 10 ms.
    """

    iops: float
    mb_per_s: float
    mean_us: float
    p99_us: float
    cpu_us: float


Results = Mapping[Row, Mapping[str, Sample]]
"""Row, server's name, median."""


def _rows(form: Form, link: Link = "loopback") -> list[Row]:
    small: tuple[Mode, Mode] = ("randread", "randwrite")
    big: tuple[Mode, Mode] = ("read", "write")
    counts = (1, 2, 8, 32) if link == "loopback" else (1, 8)
    rows = [
        Row(mode, 4096, depth, count, form, link)
        for mode in small
        for depth in (1, 32)
        for count in counts
    ]
    rows += [Row("randrw", 4096, 32, count, form, link) for count in (1, 8)]
    return rows + [Row(mode, 128 << 10, 4, 1, form, link) for mode in big]


def full_rows() -> list[Row]:
    """Return every row: both forms on loopback and the free form over a veth pair."""
    return _rows("free") + _rows("pinned") + _rows("free", "veth")


def quick_rows() -> list[Row]:
    """Return the rows that have a bar."""
    return [row for row in full_rows() if has_bar(row)]


def nears_the_floor(row: Row) -> bool:
    """Return whether a row is also compared with the floor."""
    return (row.form, row.depth, row.connections, row.link) == ("pinned", 32, 1, "loopback")


def has_bar(row: Row) -> bool:
    """Return whether a row decides a bar."""
    if row.link == "veth" or row.mode == "randrw":
        return False
    if row.form == "pinned":
        return row.connections == 1
    return row.depth == 4 or (row.depth == 32 and row.connections > 1)


def best_peer(samples: Mapping[str, Sample], figure: str, *, highest: bool) -> tuple[str, float]:
    """Return name and figure of the best peer that was measured in a row."""
    pick = max if highest else min
    name = pick(
        (peer for peer in PEERS if peer in samples), key=lambda peer: _get(samples[peer], figure)
    )
    return name, _get(samples[name], figure)


def _get(sample: Sample, figure: str) -> float:
    return float(getattr(sample, figure))


def _ratio(row: Row, samples: Mapping[str, Sample], figure: str, bar: float) -> Verdict:
    highest = figure in ("iops", "mb_per_s")
    _, best = best_peer(samples, figure, highest=highest)
    name = f"{row.name}: {figure} / best peer"
    return Verdict(name, _get(samples[OURS], figure) / best, bar, highest)


def _row_verdicts(row: Row, samples: Mapping[str, Sample]) -> Iterable[Verdict]:
    if not has_bar(row):
        return
    if row.form == "pinned" and row.connections == 1 and row.block_bytes == 4096:
        if row.depth == 32:
            yield _ratio(row, samples, "iops", 1.5)
            yield _ratio(row, samples, "cpu_us", 0.6)
            if FLOOR in samples:
                share = samples[OURS].iops / samples[FLOOR].iops
                yield Verdict(f"{row.name}: iops / floor", share, 0.6, at_least=True)
        else:
            yield _ratio(row, samples, "mean_us", 0.9)
    elif row.block_bytes > 4096:
        yield _ratio(row, samples, "mb_per_s", 1.0)
    elif row.form == "free" and row.depth == 32 and row.connections in (2, 8):
        yield _ratio(row, samples, "iops", 2.2)


def verdicts(results: Results) -> list[Verdict]:
    """Return the bars that these results can decide: ratios to the best peer, to the floor, to ours."""
    found: list[Verdict] = []
    for row, samples in results.items():
        if OURS not in samples or not any(peer in samples for peer in PEERS):
            continue
        found.extend(_row_verdicts(row, samples))
        many = Row(row.mode, row.block_bytes, row.depth, 32, row.form, row.link)
        at_8 = (row.form, row.link, row.depth, row.connections) == ("free", "loopback", 32, 8)
        if at_8 and row.mode != "randrw" and many in results:
            share = results[many][OURS].iops / samples[OURS].iops
            found.append(Verdict(f"{many.name}: iops / ours at c8", share, 0.9, at_least=True))
    return found


def table(results: Results) -> str:
    """Return a Markdown table with a line for each row and server."""
    lines = [
        "| load | server | IOPS | MB/s | mean us | p99 us | server CPU us | IOPS / best peer |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row, samples in results.items():
        peers = [samples[peer].iops for peer in PEERS if peer in samples]
        for server, got in samples.items():
            ratio = f"{got.iops / max(peers):.2f}" if peers else "-"
            lines.append(
                f"| {row.name} | {server} | {got.iops:.0f} | {got.mb_per_s:.0f} "
                f"| {got.mean_us:.1f} | {got.p99_us:.1f} | {got.cpu_us:.2f} | {ratio} |"
            )
    return "\n".join(lines)


def details(results: Results) -> dict[str, Any]:
    """Return all figures for the JSON report."""
    return {
        "rows": [
            {**asdict(row), "servers": {name: asdict(got) for name, got in samples.items()}}
            for row, samples in results.items()
        ]
    }
