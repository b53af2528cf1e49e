"""Figures of the tables in docs/measurements. Pure: it is given the text of a page."""

import re
from collections.abc import Iterator, Sequence

_HEADING = re.compile(r"#+ +(.*)")
_RULE = re.compile(r"[|:\s-]+")
# 33,484 and 24 067 are one number.
_NUMBER = re.compile(r"\d{1,3}(?:[, ]\d{3})+(?![\d.])|\d+(?:\.\d+)?")


class FigureError(ValueError):
    """A table does not have a figure that a plot needs."""


def cell(
    page: str, row: Sequence[str], column: str, *, under: str = "", topmost: bool = False
) -> str:
    """Return the text of a cell. It must be the only one.

    ``row`` are the first cells of its line, ``column`` is its title. ``under`` is the heading nearest
    above the table, if tables of several headings have such a cell. ``topmost`` takes the first of
    several. Raise FigureError for none, or for two otherwise.
    """
    found = [
        cells[titles.index(column)]
        for heading, titles, cells in _lines(page)
        if column in titles[: len(cells)]
        and cells[: len(row)] == list(row)
        and under in ("", heading)
    ]
    if not found or (len(found) > 1 and not topmost):
        where = f" under '{under}'" if under else ""
        wanted = f"row '{' | '.join(row)}' and column '{column}'{where}"
        raise FigureError(f"{wanted}: expected one cell, found {len(found)}")
    return found[0]


def rows(page: str) -> list[dict[str, str]]:
    """Return the lines of all tables, by the titles of their columns."""
    return [dict(zip(titles, cells, strict=False)) for _, titles, cells in _lines(page)]


def number(text: str) -> float:
    """Return the first number of a cell: 33,484, ``10.9 s``, ``26 / 60``. ``none of 1 s`` is 0."""
    match = _NUMBER.search(text)
    if match is None:
        raise FigureError(f"expected a number, found '{text}'")
    return 0.0 if text.startswith("none") else float(re.sub("[, ]", "", match[0]))


def _lines(page: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield heading, titles and cells of each line of a table. An empty first cell repeats the last."""
    heading, titles, first = "", list[str](), ""
    for line in page.splitlines():
        if match := _HEADING.match(line):
            heading = match[1]
        if not line.startswith("|"):
            titles = []
        elif not titles:
            titles = _cells(line)
        elif not _RULE.fullmatch(line):
            cells = _cells(line)
            first = cells[0] = cells[0] or first
            yield heading, titles, cells


def _cells(line: str) -> list[str]:
    return [each.strip().replace("\\|", "|") for each in re.split(r"(?<!\\)\|", line)[1:-1]]
