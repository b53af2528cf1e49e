"""The model against two rooms that were measured: ``python -m bench.scale.held [--quick]``.

It measures rooms of 125 and 500 seats, has the model say what 1,000 seats take by these costs, and
compares that with the files that ``bench.scale.seats`` and ``bench.scale.storm`` have written. It
prints the result of each bar, and writes JSON. The exit status is 1 if a bar is missed. It needs root.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any, NoReturn

from bench.machine import versions
from bench.report import in_network, medians, parser, publish
from bench.scale import model, seats, storm
from bench.scale.model import Costs, Point, Room
from bench.storm import MBIT
from netboot.errors import OperatorError

SMALL = (125, 500)


def points(
    small: Sequence[seats.Sample], large: Mapping[str, float], room: Mapping[str, float]
) -> list[Point]:
    """Return both rooms. ``large``: a ``seats.Sample`` of more seats. ``room``: a ``bench.storm.Sample``.

    ``small`` are two rooms of fewer seats: what each seat costs, and what any room does.
    """
    fewer, more = small
    each = (more.attach_cpu - fewer.attach_cpu) / (more.attached - fewer.attached)
    base = fewer.attach_cpu - each * fewer.attached
    costs = replace(Costs(), attach_base=base, attach_ms=each * 1000)
    attaching = model.need(Room(seats=round(large["attached"])), costs)
    booting = model.boot_seconds(round(room["done"]), room["mb"] / room["done"], MBIT)
    return [
        Point(f"{attaching.seats} seats attach, CPU s", large["attach_cpu"], attaching.attach),
        Point(f"{room['done']:.0f} PCs boot, {storm.WIRE}, s", room["seconds"], booting),
    ]


def read(folder: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Return the medians of both measured rooms. Raises OperatorError if one is missing."""
    found = []
    for part in ("seats", "storm"):
        path = folder / f"scale-{part}.json"
        try:
            found.append(json.loads(path.read_text()))
        except FileNotFoundError:
            hint = f"measure it: python -m bench.scale.{part}"
            raise OperatorError(f"{path}: no such file", hint=hint) from None
    runs: Sequence[Mapping[str, float]] = found[0]["runs"]
    room: dict[str, Any] = found[1]["storms"][storm.WIRE]["room"]
    return {name: median(each[name] for each in runs) for name in runs[0]}, room


def run(repetitions: int, folder: Path) -> int:
    """Measure, print, write ``scale-model.json``; return the number of missed bars."""
    large, room = read(folder)
    small = [seats.Sample(**medians(seats.measure(size, repetitions))) for size in SMALL]
    found = points(small, large, room)
    lines = ["| | measured | the model says |", "|---|--:|--:|"]
    lines += [f"| {each.name} | {each.measured:.2f} | {each.modelled:.2f} |" for each in found]
    rooms = [Room(seats=each) for each in model.SIZES]
    return publish(
        folder,
        "scale-model",
        model.verdicts(found),
        tables=[model.table(rooms, Costs()), "\n".join(lines)],
        details={"points": [asdict(each) for each in found]},
        about={"versions": versions({}), "seats": SMALL, "repetitions": repetitions},
    )


def main() -> NoReturn:
    """Run the command line. Exits with status 1 if a bar is missed."""
    given = parser("scale.held", __doc__, "once instead of three times").parse_args()
    folder, repetitions = given.output.resolve(), 1 if given.quick else 3
    in_network(lambda: run(repetitions, folder))


if __name__ == "__main__":
    main()
