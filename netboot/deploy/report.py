"""What was done on each machine, and the table of it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """``seat``: how the person calls the machine. ``done`` and ``result`` are a few words."""

    seat: str
    done: str
    ok: bool
    result: str
    seconds: float


def table(outcomes: Sequence[Outcome]) -> str:
    """Seat, what was done, result, seconds; who failed is told apart at the line's beginning."""
    rows = [("", "seat", "done", "seconds", "result")]
    rows += [
        (
            " " if outcome.ok else "!",
            outcome.seat,
            outcome.done,
            f"{outcome.seconds:.1f}",
            outcome.result,
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
