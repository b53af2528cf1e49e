"""Pictures in the documents: each exists, is small, and has a text for those who do not see it."""

import re
from pathlib import Path

import pytest

from netboot.lab.screen import size_of
from tests import ROOT
from tests.docs.pages import PAGES, name, prose

PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
SHOWN = [(page, *found) for page in PAGES for found in PICTURE.findall(prose(page))]
MOST_BYTES = 60_000
MOST_PIXELS = 1280  # of width


@pytest.mark.parametrize(("page", "text", "path"), SHOWN, ids=lambda each: str(each)[-40:])
def test_a_picture_is_there_and_has_a_text(page: Path, text: str, path: str) -> None:
    assert (page.parent / path).is_file()
    assert len(text.split()) >= 3


@pytest.mark.parametrize("path", sorted((ROOT / "docs").rglob("*.png")), ids=name)
def test_a_screen_is_small_and_on_some_page(path: Path) -> None:
    assert path.stat().st_size <= MOST_BYTES
    assert size_of(path)[0] <= MOST_PIXELS
    assert path in {(page.parent / shown).resolve() for page, _, shown in SHOWN}
