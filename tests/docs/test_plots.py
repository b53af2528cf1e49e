"""The plots of docs/measurements agree with its tables, and can be read without being seen."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.docs.pages import name
from tools.plots import FOLDER, PLOTS, files
from tools.plots.charts import charts
from tools.plots.draw import LABELS, Bar, Chart, Group, described, svg
from tools.plots.figures import FigureError, cell, number, rows

CHARTS = charts({path.stem: path.read_text() for path in FOLDER.glob("*.md")})
PIXELS = 7.9  # of a bold letter, on average
PAGE = """
## One
| load | netboot | nbdkit |
|---|--:|--:|
| read | 1 | 2 |
| a \\| b | 3 | 4 |

## Two
| load | RAM | netboot |
|---|---|--:|
| read | 96 MB | 5 |
| | 128 MB | none of 1 s |
"""


@pytest.mark.parametrize(
    ("path", "content"),
    list(files()),
    ids=lambda each: name(each) if isinstance(each, Path) else "",
)
def test_plots_are_those_of_the_tables(path: Path, content: str) -> None:
    assert path.is_file() and path.read_text() == content, "run: .venv/bin/python -m tools.plots"


def test_no_plot_is_left_over() -> None:
    assert set((FOLDER / PLOTS).iterdir()) == {path for path, _ in files() if path.suffix == ".svg"}


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_a_plot_has_its_figures_in_words_and_room_for_its_labels(chart: Chart) -> None:
    bars = [bar for group in chart.groups for bar in group.bars]
    drawn = ElementTree.fromstring(svg(chart))
    words = drawn.findtext("{*}desc")
    assert words == described(chart)
    assert [bar.label for bar in bars if f"{bar.label}, {bar.shown}" not in words] == []
    assert [bar.label for bar in bars if len(bar.label) * PIXELS > LABELS] == []
    assert len(drawn.findall("{*}rect")) == 1 + len(bars)


def test_bars_are_as_long_as_their_values() -> None:
    bars = [Bar("<a>", 10, "10 s", ours=True), Bar("b", 5, "5 s"), Bar("c", 0, "none")]
    drawn = ElementTree.fromstring(svg(Chart("x", "Title", [Group("s", "good", bars)], "")))
    whole, half, none = (float(rect.attrib["width"]) for rect in drawn.findall("{*}rect")[1:])
    assert whole / half == pytest.approx(2, rel=0.01)
    assert none == 1  # pixel


def test_a_cell_is_found_by_heading_row_and_column() -> None:
    assert cell(PAGE, ["read"], "netboot", under="One") == "1"
    assert cell(PAGE, ["read", "96 MB"], "netboot") == "5"
    assert cell(PAGE, ["a | b"], "nbdkit") == "4"
    assert cell(PAGE, ["read"], "netboot", topmost=True) == "1"
    assert cell(PAGE, ["read", "128 MB"], "netboot") == "none of 1 s"
    assert [row["RAM"] for row in rows(PAGE) if "RAM" in row] == ["96 MB", "128 MB"]


@pytest.mark.parametrize(("row", "column", "count"), [("read", "netboot", 3), ("read", "qsd", 0)])
def test_a_cell_that_is_not_the_only_one_is_refused(row: str, column: str, count: int) -> None:
    with pytest.raises(FigureError, match=f"row '{row}' and column '{column}'.* found {count}"):
        cell(PAGE, [row], column)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("33,484", 33484),
        ("24 067", 24067),
        ("10.9 s", 10.9),
        ("26 / 60", 26),
        ("60/60", 60),
        ("none of 1 s", 0),
    ],
)
def test_a_cell_has_a_number(text: str, value: float) -> None:
    assert number(text) == value


def test_a_cell_without_a_number_is_refused() -> None:
    with pytest.raises(FigureError, match="expected a number, found '-'"):
        number("-")


def test_a_plot_without_its_table_is_named() -> None:
    with pytest.raises(FigureError, match="plot 'server': row 'pinned randread 4k d1 c1' and"):
        charts({"performance": PAGE})
