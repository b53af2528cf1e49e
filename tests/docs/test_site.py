"""MkDocs builds docs/ in strict mode: no dead link, no dead anchor, no page without a place."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT
from tools.docs_nav import navigation

LOADED = re.compile(r'<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)="((?:https?:)?//[^"]*)"')


@pytest.mark.system
def test_site_builds_without_a_warning_and_loads_nothing_from_the_net(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(done.stdout + done.stderr, pytrace=False)
    pages = {path: path.read_text() for path in tmp_path.rglob("*.html")}
    assert len(pages) > 10
    assert {url for text in pages.values() for url in LOADED.findall(text)} == set()


def test_pages_come_in_the_order_of_their_index(tmp_path: Path) -> None:
    howto, other = tmp_path / "howto", tmp_path / "zoo"
    for folder in (howto, other):
        folder.mkdir()
    for name in ("index.md", "howto/c.md", "howto/b.md", "howto/a.md", "zoo/z.md", "more.md"):
        (tmp_path / name).touch()
    (howto / "index.md").write_text("[c](c.md) and [a](./a.md#there), [c](c.md) again")
    assert navigation(tmp_path) == [
        "index.md",
        {"How-to guides": ["howto/index.md", "howto/c.md", "howto/a.md", "howto/b.md"]},
        "more.md",
        {"Zoo": ["zoo/z.md"]},
    ]
