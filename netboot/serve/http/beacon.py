"""Beacons: reports of an initramfs over HTTP, a line for people, figures for scripts. Pure."""

import math
from dataclasses import dataclass
from typing import Any

MAX_AGE_SECONDS = 600.0  # a greater age is taken for this one


@dataclass(frozen=True, slots=True)
class Beacon:
    """A report of an initramfs: a line for people, and ``key=value`` lines for scripts.

    ``age`` is the number of seconds that it waited in the PC, whose network may have been down.
    """

    message: str
    data: dict[str, Any]
    age: float


def parse_beacon(body: str, uptime: str, sent: str) -> Beacon:
    """Parse a beacon. Any text is one. Figures become numbers.

    ``uptime`` and ``sent`` are of the client's clock, in seconds since its kernel started: the
    times when the beacon was made and when it was sent.
    """
    # Beacons are shown on a terminal: no character in them may move its cursor.
    plain = "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in body)
    lines = [line for line in plain.split("\n") if line.strip()]
    data: dict[str, Any] = {}
    for line in lines[1:]:
        key, separator, value = line.partition("=")
        if separator:
            data[key.strip()] = _number(value.strip())
    made, gone = _number(uptime), _number(sent)
    age = 0.0
    if isinstance(made, int | float):
        data["uptime"] = made
        if isinstance(gone, int | float):
            age = min(max(gone - made, 0.0), MAX_AGE_SECONDS)
    return Beacon(lines[0].strip() if lines else "", data, age)


def _number(text: str) -> int | float | str:
    for convert in (int, float):
        try:
            number = convert(text)
        except ValueError:
            continue
        if math.isfinite(number):  # JSON has no infinity and no NaN
            return number
    return text
