"""Beacons: reports of an initramfs over HTTP, a line for people, figures for scripts. Pure."""

import math
from dataclasses import dataclass
from typing import Any

from netboot.boot.limits import BEACON_BYTES, BEACON_KEYS

MAX_AGE_SECONDS = 600.0  # a greater age is taken for this one
MAX_UPTIME_SECONDS = 1e9  # 30 years; a greater or negative one is no uptime
UPTIME = "uptime"
CONSOLE = "console"  # a key of several lines: the last ones of a PC's console


@dataclass(frozen=True, slots=True)
class Beacon:
    """A report of an initramfs: a line for people, and ``key=value`` lines for scripts.

    The values of ``console`` are a list: the last lines of the PC's console before a failure.

    ``age`` is the number of seconds that it waited in the PC, whose network may have been down.
    """

    message: str
    data: dict[str, Any]
    age: float


def parse_beacon(body: str, uptime: str, sent: str) -> Beacon:
    """Parse a beacon. Any text is one. Figures become numbers. Of a long text the begin is kept.

    ``uptime`` and ``sent`` are of the client's clock, in seconds since its kernel started: the
    times when the beacon was made and when it was sent.
    """
    # Beacons are shown on a terminal: no character in them may move its cursor.
    plain = "".join(
        letter if letter.isprintable() or letter == "\n" else "?" for letter in _begin(body)
    )
    lines = [line for line in plain.split("\n") if line.strip()]
    data: dict[str, Any] = {}
    for line in lines[1:]:
        key, separator, value = line.partition("=")
        key = key.strip()
        if separator and key == CONSOLE and key in data:
            data[key].append(value.strip())
        # The uptime is the query's; the order of a boot's events depends on it.
        elif separator and key != UPTIME and len(data) < (BEACON_KEYS.per_address or 0):
            data[key] = [value.strip()] if key == CONSOLE else _number(value.strip())
    made, gone = _uptime(uptime), _uptime(sent)
    age = 0.0
    if made is not None:
        data[UPTIME] = made
        if gone is not None:
            age = min(max(gone - made, 0.0), MAX_AGE_SECONDS)
    return Beacon(lines[0].strip() if lines else "", data, age)


def _begin(text: str) -> str:
    """Return the begin of a text, without a line that would be cut in two after the first one."""
    most = BEACON_BYTES.per_address or 0
    content = text.encode()
    if len(content) <= most:
        return text
    kept = content[:most].decode("utf-8", "ignore")
    return kept.rpartition("\n")[0] or kept


def _uptime(text: str) -> int | float | None:
    number = _number(text)
    if isinstance(number, int | float) and 0 <= number <= MAX_UPTIME_SECONDS:
        return number
    return None


def _number(text: str) -> int | float | str:
    for convert in (int, float):
        try:
            number = convert(text)
            if math.isfinite(number):  # JSON has no infinity and no NaN
                return number
        except (ValueError, OverflowError):  # a whole number of 400 digits is a text
            continue
    return text
