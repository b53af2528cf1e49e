"""Draws the plots of docs/measurements from its tables: ``.venv/bin/python -m tools.plots``.

Run it after a figure of docs/measurements has changed. It writes docs/measurements/plots/*.svg, and
the blocks of at-a-glance.md that show them. tests/docs/test_plots.py fails if one is not current.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from textwrap import fill

from tools.plots.charts import charts
from tools.plots.draw import Chart, described, svg
from tools.reference import render

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "measurements"
PAGE = FOLDER / "at-a-glance.md"
PLOTS = "plots"
LINE = 120  # characters (docs/contributing/style.md)


def files(folder: Path = FOLDER) -> Iterator[tuple[Path, str]]:
    """Yield path and content of each file. Raise FigureError if a table lacks a figure."""
    found = charts({path.stem: path.read_text() for path in folder.glob("*.md")})
    for chart in found:
        yield folder / PLOTS / f"{chart.name}.svg", svg(chart)
    blocks: Mapping[str, Callable[[], str]] = {
        f"plot {chart.name}": partial(_shown, chart) for chart in found
    }
    yield folder / PAGE.name, render((folder / PAGE.name).read_text(), blocks)


def _shown(chart: Chart) -> str:
    picture = f"![{described(chart)}]({PLOTS}/{chart.name}.svg)"
    return "\n\n".join(
        fill(text, LINE, break_long_words=False, break_on_hyphens=False)
        for text in (picture, chart.sentence)
    )
