"""docs/reference/ agrees with the code: each generated block is current, and on one page."""

from collections import Counter
from pathlib import Path

import pytest

from netboot.profile.profile import Profile
from tools.reference import BLOCKS, PAGES, cli, exits, names, render
from tools.reference.markdown import table

EACH_PAGE = sorted(PAGES.glob("*.md"))


@pytest.mark.parametrize("path", EACH_PAGE, ids=lambda path: path.stem)
def test_page_is_current(path: Path) -> None:
    text = path.read_text()
    assert render(text) == text, "run: .venv/bin/python -m tools.reference"


def test_every_block_is_on_exactly_one_page() -> None:
    found = Counter(name for path in EACH_PAGE for name in names(path.read_text()))
    assert found == Counter(list(BLOCKS))
    assert {f"profile {name}" for name in Profile.model_fields} <= set(BLOCKS)


def test_index_names_every_page() -> None:
    text = (PAGES / "index.md").read_text()
    assert [path.name for path in EACH_PAGE if path.stem != "index" and path.name not in text] == []


def test_agents_exit_codes_each_have_a_meaning() -> None:
    assert list(exits.codes()) == list(exits.MEANINGS)


def test_a_table_escapes_what_would_end_a_cell() -> None:
    page = "<!-- generated: agent -->\nold\n<!-- end: agent -->"
    assert "CANNOT_CONNECT" in render(page) and "old" not in render(page)
    assert "| a\\|b | c |" in table(("one", "two"), [("a|b", "c")])
    order = next(verb for name, verb, _ in cli.verbs(cli.command()) if name == "netboot order")
    assert "--state" in cli.options(order)
