"""docs/security.md names tests that exist, for each of its promises."""

import re

import pytest

from tests import ROOT

PAGE = (ROOT / "docs/security.md").read_text()
PROMISES = PAGE[PAGE.index("## What is promised") : PAGE.index("## What is not promised")]


PANEL = PAGE[PAGE.index("## The panel") : PAGE.index("## All attacks at once")]


@pytest.mark.parametrize(
    ("section", "folder", "least"), [(PROMISES, "tests/attack", 16), (PANEL, "tests/panel", 10)]
)
def test_each_promise_has_a_test_that_exists(section: str, folder: str, least: int) -> None:
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= least
    for row in rows:
        named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", row)
        assert named, row
        for file, test in named:
            assert f"def {test}(" in (ROOT / folder / file).read_text(), (file, test)
