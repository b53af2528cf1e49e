"""Loads, rows, results and bars of the page benchmark. Pure. Times are microseconds."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from bench.report import OURS, Verdict

FLOOR = "floor"
BEFORE = "before"  # our server at another commit
PEERS = ("nbdkit", "nbd-server", "qsd")

Form = Literal["free", "pinned"]
Link = Literal["loopback", "veth"]
Mode = Literal["randread", "randwrite", "randrw", "read", "write"]


@dataclass(frozen=True, slots=True)
class Row:
    """One load on one server: ``depth`` requests in flight on each of ``connections``."""

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
    ``load_us`` is that of the load generator. ``instructions`` are the server's for each request, None
    on a machine that does not count them. The figures of fio for the same row are None if fio did not
    run or failed.
    """

    iops: float
    mb_per_s: float
    mean_us: float
    p50_us: float
    p99_us: float
    max_us: float
    cpu_us: float
    load_us: float
    instructions: float | None = None
    fio_iops: float | None = None
    fio_mean_us: float | None = None
    fio_cpu_us: float | None = None


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


def has_bar(row: Row) -> bool:
    """Return whether a row decides a bar. Such a row is also compared with the floor."""
    if row.link == "veth" or row.mode == "randrw":
        return False
    if row.form == "pinned":
        return row.connections == 1
    if row.depth == 32:
        return row.connections > 1
    return row.connections == 1


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
    if row.block_bytes > 4096:
        yield _ratio(row, samples, "mb_per_s", 1.2)
    elif row.form == "pinned":
        if row.depth == 32:
            yield _ratio(row, samples, "iops", 1.5)
            yield _ratio(row, samples, "cpu_us", 0.6)
            if FLOOR in samples:
                share = samples[OURS].cpu_us / samples[FLOOR].cpu_us
                yield Verdict(f"{row.name}: cpu_us / floor", share, 2.0, at_least=False)
        else:
            yield _ratio(row, samples, "mean_us", 0.85)
    elif row.depth == 1:
        yield _ratio(row, samples, "iops", 1.05)
    elif row.connections in (2, 8):
        yield _ratio(row, samples, "iops", 2.5)


def verdicts(results: Results) -> list[Verdict]:
    """Return the bars that these results can decide: ratios to the best peer, the floor, ours and before."""
    found: list[Verdict] = []
    for row, samples in results.items():
        if OURS in samples and BEFORE in samples and has_bar(row):
            share = samples[OURS].iops / samples[BEFORE].iops
            found.append(Verdict(f"{row.name}: iops / before", share, 0.97, at_least=True))
        if OURS not in samples or not any(peer in samples for peer in PEERS):
            continue
        found.extend(_row_verdicts(row, samples))
        many = results.get(replace(row, connections=32), {})
        at_8 = (row.form, row.link, row.depth, row.connections) == ("free", "loopback", 32, 8)
        if at_8 and row.mode != "randrw" and OURS in many:
            share = many[OURS].iops / samples[OURS].iops
            name = f"{replace(row, connections=32).name}: iops / ours at c8"
            found.append(Verdict(name, share, 0.9, at_least=True))
    return found


def table(results: Results) -> str:
    """Return a Markdown table with a line for each row and server."""
    times = "mean us | p50 us | p99 us | max us"
    costs = "server CPU us | / floor | instructions | generator CPU us"
    lines = [
        f"| load | server | IOPS | MB/s | {times} | {costs} | fio IOPS | IOPS / best peer |",
        f"|---|---|{'--:|' * 12}",
    ]
    for row, samples in results.items():
        peers = [samples[peer].iops for peer in PEERS if peer in samples]
        for server, got in samples.items():
            ratio = f"{got.iops / max(peers):.2f}" if peers else "-"
            limit = samples[FLOOR].cpu_us if FLOOR in samples else 0.0
            floor = f"{got.cpu_us / limit:.2f}" if limit else "-"
            counted = "-" if got.instructions is None else f"{got.instructions:.0f}"
            beside = "-" if got.fio_iops is None else f"{got.fio_iops:.0f}"
            lines.append(
                f"| {row.name} | {server} | {got.iops:.0f} | {got.mb_per_s:.0f} "
                f"| {got.mean_us:.1f} | {got.p50_us:.1f} | {got.p99_us:.1f} | {got.max_us:.0f} "
                f"| {got.cpu_us:.2f} | {floor} | {counted} | {got.load_us:.2f} | {beside} | {ratio} |"
            )
    return "\n".join(lines)


_FIGURES: Mapping[str, Callable[[Sample], str]] = {
    "IOPS": lambda got: f"{got.iops:.0f}",
    "Server CPU, microseconds for each request": lambda got: f"{got.cpu_us:.1f}",
    "Latency, mean / p99 in microseconds": lambda got: f"{got.mean_us:.0f} / {got.p99_us:.0f}",
}


def full_results(results: Results) -> str:
    """Return the tables below "Full results" in docs/measurements/performance.md, with their headings.

    A line is a row, a column a server. tools.plots reads them.
    """
    servers = (OURS, *PEERS, FLOOR)
    titles = f"| load | {' | '.join(servers)} |\n|---|{'--:|' * len(servers)}"
    tables = []
    for heading, shown in _FIGURES.items():
        lines = [
            f"| {row.name} | "
            + " | ".join(shown(samples[name]) if name in samples else "" for name in servers)
            + " |"
            for row, samples in results.items()
        ]
        tables.append("\n".join([f"### {heading}", "", titles, *lines]))
    return "\n\n".join(tables)


def details(results: Results) -> dict[str, Any]:
    """Return all figures for the JSON report."""
    return {
        "rows": [
            {**asdict(row), "servers": {name: asdict(got) for name, got in samples.items()}}
            for row, samples in results.items()
        ]
    }
