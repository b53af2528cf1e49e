"""The results of a task on each machine, and their table. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from netboot.host.text import printable


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result on one machine. ``seat`` is its name; ``done`` and ``result`` are a few words."""

    seat: str
    done: str
    ok: bool
    result: str
    seconds: float


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the table of all results; a ``!`` marks a failure.

    The words of far machines reach a terminal here, so they are made printable.
    """
    rows = [("", "seat", "done", "seconds", "result")]
    rows += [
        (
            " " if outcome.ok else "!",
            printable(outcome.seat),
            outcome.done,
            f"{outcome.seconds:.1f}",
            printable(outcome.result),
        )
        for outcome in outcomes
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        f"{mark:<{widths[0]}} {seat:<{widths[1]}}  {done:<{widths[2]}}  {taken:>{widths[3]}}  "
        + result
        for mark, seat, done, taken, result in rows
    ]
    failed = sum(not outcome.ok for outcome in outcomes)
    count = len(outcomes)
    end = f"{failed} of {count} failed" if failed else f"all {count} done"
    return "\n".join([*(line.rstrip() for line in lines), end])
