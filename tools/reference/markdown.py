"""Markdown from rows and words."""

from collections.abc import Iterable, Sequence


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; a ``|`` in a cell is escaped."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def code(text: str) -> str:
    """Return ``text`` as code within a line; empty stays empty."""
    return f"`{text}`" if text else ""


def block(lines: Iterable[str], language: str) -> str:
    """Return a fenced block of code."""
    return "\n".join([f"```{language}", *lines, "```"])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
