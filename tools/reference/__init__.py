"""Makes the generated parts of docs/reference/ from the code: ``.venv/bin/python -m tools.reference``.

A page is written by hand, but for its blocks. A block stands between two comments that name it::

    <!-- generated: NAME -->
    <!-- end: NAME -->

Its content comes from ``BLOCKS[NAME]``. tests/docs/test_reference.py fails if a block is not current,
or if no page has it.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from tools.reference import cli, events, exits, fab, files, limits, profile

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "reference"

BLOCKS: Mapping[str, Callable[[], str]] = {
    **profile.BLOCKS,
    **cli.BLOCKS,
    **fab.BLOCKS,
    **events.BLOCKS,
    **exits.BLOCKS,
    **files.BLOCKS,
    **limits.BLOCKS,
}

_BLOCK = re.compile(
    r"^<!-- generated: (?P<name>[\w .:-]+) -->\n.*?^<!-- end: (?P=name) -->$",
    re.MULTILINE | re.DOTALL,
)


def names(page: str) -> list[str]:
    """Return the names of a page's blocks, in their order."""
    return [match["name"] for match in _BLOCK.finditer(page)]


def render(page: str, blocks: Mapping[str, Callable[[], str]] = BLOCKS) -> str:
    """Return the page with each block replaced. Raise KeyError for a block that nothing makes."""

    def block(match: re.Match[str]) -> str:
        name = match["name"]
        return f"<!-- generated: {name} -->\n\n{blocks[name]()}\n\n<!-- end: {name} -->"

    return _BLOCK.sub(block, page)
