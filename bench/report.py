"""The bars of a benchmark, and its report: tables for people, JSON for programs."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NoReturn

from netboot.errors import OperatorError
from netboot.lab import network

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

OURS = "netboot"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bar and the measured value, which is a ratio or has the unit that ``name`` gives."""

    name: str
    value: float
    bar: float
    at_least: bool

    @property
    def met(self) -> bool:
        """True if the bar is met."""
        return self.value >= self.bar if self.at_least else self.value <= self.bar


def verdict_table(found: Iterable[Verdict]) -> str:
    """Return a Markdown table of the bars."""
    lines = ["| bar | measured | wanted | |", "|---|--:|--:|---|"]
    lines += [
        f"| {each.name} | {each.value:.2f} | {'≥' if each.at_least else '≤'} {each.bar:g} "
        f"| {'met' if each.met else '**missed**'} |"
        for each in found
    ]
    return "\n".join(lines)


def medians(samples: Sequence["DataclassInstance"]) -> dict[str, Any]:
    """Return the median of each field on its own, of the samples that have it; None without any."""
    fields = [asdict(sample) for sample in samples]
    found = {}
    for name in fields[0]:
        there = [each[name] for each in fields if each[name] is not None]
        found[name] = median(there) if there else None
    return found


def tell(text: str) -> None:
    """Print a line of progress."""
    sys.stderr.write(text + "\n")


def publish(
    folder: Path,
    name: str,
    found: Sequence[Verdict],
    *,
    tables: Iterable[str],
    details: Mapping[str, Any],
    about: Mapping[str, Any],
) -> int:
    """Print tables, bars and ``about``; write them with ``details`` to ``folder``/``name``.json.

    Returns the number of missed bars.
    """
    bars = [{**asdict(each), "met": each.met} for each in found]
    folder.mkdir(parents=True, exist_ok=True)
    document = json.dumps({**details, "bars": bars, **about}, indent=1)
    (folder / f"{name}.json").write_text(document + "\n")
    parts = [*tables, *[verdict_table(found)] * bool(found), json.dumps(about, indent=1)]
    sys.stdout.write("\n\n".join(parts) + "\n")
    return sum(not each.met for each in found)


def parser(program: str, about: str | None, quick: str) -> argparse.ArgumentParser:
    """Return a parser for the common options. ``quick`` is the help text of ``--quick``."""
    options = argparse.ArgumentParser(prog=f"bench.{program}", description=about)
    options.add_argument("--quick", action="store_true", help=quick)
    options.add_argument("--output", type=Path, default=Path("bench-results"))
    return options


def finish(run: Callable[[], int]) -> NoReturn:
    """End the program, with status 1 if ``run`` returns missed bars or raises OperatorError."""
    try:
        missed = run()
    except OperatorError as error:
        sys.exit(error.text())
    sys.exit(1 if missed else 0)


def in_network(run: Callable[[], int]) -> NoReturn:
    """Do the same as ``finish``, in namespaces of its own."""

    def isolated() -> NoReturn:
        network.check_root()
        network.run_isolated(lambda: 1 if run() else 0)

    finish(isolated)
