"""The documents for people, and the code blocks in them."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_BLOCK = re.compile(r"^( *)```([\w-]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def name(page: Path) -> str:
    """Return the page's path from the root of the repository."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield language and lines of each fenced block; lines that end with a backslash are joined."""
    for _, language, content in _BLOCK.findall(page.read_text()):
        yield language, re.sub(r"\\\n\s*", "", content).splitlines()


def prose(page: Path) -> str:
    """Return the page without its blocks; each line keeps its number."""
    return _BLOCK.sub(lambda block: "\n" * block[0].count("\n"), page.read_text())
