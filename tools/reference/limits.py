"""The limits for every sender, from their table."""

from collections.abc import Callable, Iterator, Mapping

from netboot.boot.limits import LIMITS, Limit
from tools.reference.markdown import table

UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def _number(limit: Limit, value: int | None) -> str:
    if value is None:
        return ""
    if limit.what.startswith("bytes"):
        for size, unit in UNITS:
            if value >= size and value % size == 0:
                return f"{value // size} {unit}"
    return f"{value:,}"


def _rows() -> Iterator[tuple[str, ...]]:
    for limit in LIMITS:
        seconds = "" if limit.seconds is None else f"{limit.seconds:g} s"
        yield (
            limit.what,
            _number(limit, limit.per_address),
            _number(limit, limit.in_total),
            seconds,
            limit.at_limit,
        )


def _limits() -> str:
    titles = ("What", "For a machine or a seat", "In total", "Time", "At the limit")
    return table(titles, _rows())


BLOCKS: Mapping[str, Callable[[], str]] = {"limits": _limits}
