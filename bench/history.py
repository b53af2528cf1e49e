"""The history of a benchmark on one kind of machine: a line for each figure of a row. Pure.

A file has JSON lines. Each names commit, machine, row and figure, our median, and its ratio to the best
peer of the same run, which is null without one.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from bench.report import OURS
from bench.rows import PEERS, Results, Row, Sample, best_peer, has_bar

# The relative changes that are more than noise, for a median of five runs. Ratios to a peer differ by 5
# to 10 % within an hour, CPU times by less. Instructions repeat.
NOISE = {"iops": 0.10, "mb_per_s": 0.10, "mean_us": 0.10, "cpu_us": 0.07, "instructions": 0.02}
SINGLE = 2.0  # times the noise, if one of the rows was measured once
MORE_IS_BETTER = ("iops", "mb_per_s")
COMMIT_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Entry:
    """One figure of one row, as a commit had it. ``commit`` ends in ``-dirty`` if files had changed."""

    commit: str
    date: str
    machine: str
    row: str
    figure: str
    runs: int
    median: float
    ratio: float | None

    def line(self) -> str:
        """Return the entry as a line of the file."""
        return json.dumps(asdict(self)) + "\n"


@dataclass(frozen=True, slots=True)
class Change:
    """A figure of a row that differs between two commits by more than noise."""

    row: str
    figure: str
    before: Entry
    after: Entry
    by: float  # relative

    @property
    def better(self) -> bool:
        """True if the change is an improvement."""
        return (self.by > 0) == (self.figure in MORE_IS_BETTER)


def kind(cpu: str, kernel: str) -> str:
    """Return the name of a kind of machine, of which a file name can be made.

    ``cpu`` is the number and the model; of the kernel's release the first two numbers count.
    """
    release = ".".join(kernel.split(".")[:2])
    return re.sub(r"[^a-z0-9.]+", "-", f"{cpu} linux {release}".lower()).strip("-")


def entries(
    results: Results, *, commit: str, date: str, machine: str, repetitions: int
) -> Iterator[Entry]:
    """Yield the entries of a run."""
    for row, samples in results.items():
        runs = repetitions if has_bar(row) else 1
        for figure in _figures(row, samples):
            value = getattr(samples[OURS], figure)
            yield Entry(
                commit, date, machine, row.name, figure, runs, value, _ratio(samples, figure)
            )


def parse(text: str) -> list[Entry]:
    """Return the entries of a file. Raises ValueError for a line that is none."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            entry = Entry(**json.loads(line))
            if entry.figure not in NOISE:
                raise ValueError(f"unknown figure '{entry.figure}'")
            found.append(entry)
        except (TypeError, ValueError) as error:
            raise ValueError(f"line {number}: expected an entry of the history: {error}") from error
    return found


def of_commit(found: Iterable[Entry], commit: str) -> dict[tuple[str, str], Entry]:
    """Return medians over the runs of a commit, by row and figure.

    ``commit`` is the begin of its number. Runs with changed files are those of ``NUMBER-dirty`` only.
    """
    number, mark, _ = commit.partition("-dirty")
    runs: dict[tuple[str, str], list[Entry]] = {}
    for each in found:
        if each.commit.startswith(number) and each.commit.endswith("-dirty") == bool(mark):
            runs.setdefault((each.row, each.figure), []).append(each)
    return {key: _median_of(each) for key, each in runs.items()}


def changes(
    before: Mapping[tuple[str, str], Entry], after: Mapping[tuple[str, str], Entry]
) -> list[Change]:
    """Return the figures of rows that both commits have, and that differ by more than noise.

    Ratios to the best peer are compared, because machines differ from day to day; without a peer, and
    for instructions, our medians.
    """
    found = []
    for key, old in before.items():
        new = after.get(key)
        if new is None:
            continue
        if old.ratio and new.ratio and old.figure != "instructions":
            by = new.ratio / old.ratio - 1
        else:
            by = new.median / old.median - 1 if old.median else 0.0
        noise = NOISE[old.figure] * (SINGLE if 1 in (old.runs, new.runs) else 1.0)
        # As factors, so that a change and its reverse are alike.
        if max(1 + by, 1 / (1 + by)) > 1 + noise:
            found.append(Change(old.row, old.figure, old, new, by))
    return found


def table(found: Sequence[Change], compared: int) -> str:
    """Return a Markdown table of the changes, of so many figures that were compared."""
    if not found:
        return f"None of {compared} figures has changed by more than noise."
    lines = ["| row | figure | before | after | ratio before | after | change | |"]
    lines.append("|---|---|--:|--:|--:|--:|--:|---|")
    lines += [
        f"| {each.row} | {each.figure} | {each.before.median:.2f} | {each.after.median:.2f} "
        f"| {_shown(each.before.ratio)} | {_shown(each.after.ratio)} | {each.by:+.0%} "
        f"| {'better' if each.better else '**worse**'} |"
        for each in found
    ]
    return "\n".join([*lines, "", f"{len(found)} of {compared} figures have changed."])


def _figures(row: Row, samples: Mapping[str, Sample]) -> list[str]:
    if OURS not in samples:
        return []
    figures = ["iops" if row.block_bytes <= 4096 else "mb_per_s"]
    figures += ["mean_us"] if row.depth == 1 else []
    figures += ["cpu_us"]
    return figures if samples[OURS].instructions is None else [*figures, "instructions"]


def _ratio(samples: Mapping[str, Sample], figure: str) -> float | None:
    peers = [name for name in PEERS if name in samples]
    if not peers or any(getattr(samples[name], figure) is None for name in peers):
        return None
    _, best = best_peer(samples, figure, highest=figure in MORE_IS_BETTER)
    ours = float(getattr(samples[OURS], figure))
    return ours / best if best else None


def _median_of(runs: Sequence[Entry]) -> Entry:
    last = runs[-1]
    ratios = [each.ratio for each in runs if each.ratio is not None]
    return Entry(
        **{
            **asdict(last),
            "runs": sum(each.runs for each in runs),
            "median": median(each.median for each in runs),
            "ratio": median(ratios) if ratios else None,
        }
    )


def _shown(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"
