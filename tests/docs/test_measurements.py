"""Each benchmark in docs/measurements has the same headings, in the same order."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import name, prose
from tools.plots import FOLDER, PAGE

HEADINGS = ["What", "How", "Result", "What changed", "Missed and tried"]
EACH_PAGE = sorted(set(FOLDER.glob("*.md")) - {PAGE, FOLDER / "index.md"})


@pytest.mark.parametrize("page", EACH_PAGE, ids=name)
def test_benchmarks_are_told_under_the_same_headings(page: Path) -> None:
    found = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    told = [heading for heading in found if heading in HEADINGS]
    assert told == HEADINGS * (len(told) // len(HEADINGS))
    assert told
