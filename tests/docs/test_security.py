"""docs/security.md names tests that exist, for each of its promises."""

import re

from tests import ROOT

PAGE = (ROOT / "docs/security.md").read_text()
PROMISES = PAGE[PAGE.index("## What is promised") : PAGE.index("## What is not promised")]


def test_each_promise_has_a_test_that_exists() -> None:
    rows = [line for line in PROMISES.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 15
    for row in rows:
        named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", row)
        assert named, row
        for file, test in named:
            assert f"def {test}(" in (ROOT / "tests/attack" / file).read_text(), (file, test)
