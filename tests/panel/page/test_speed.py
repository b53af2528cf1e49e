"""The page of a large room changes its tiles in place; the browser loads little. make bench-panel has times."""

import sys
import time

import pytest

from tests.panel.page.conftest import PAINTED, Open
from tests.panel.played import Played, Running

pytestmark = pytest.mark.system

SEATS = 1000
STEPS = 3
PATIENCE_SECONDS = 60
MOST_BYTES = 150_000

# Texts that changed, and tiles that were added or removed.
WATCH = """() => { window.changed = window.made = 0; new MutationObserver(all => { for (const each of all)
  if (each.type === 'characterData') changed++; else for (const node of [...each.addedNodes, ...each.removedNodes])
    made += node.classList?.contains('tile') ? 1 : 0;
  }).observe(document.querySelector('.room'), {subtree: true, characterData: true, childList: true}); }"""


def test_a_thousand_tiles_change_and_none_is_made_again(visit: Open) -> None:
    with Running(Played(SEATS)) as large:
        large.played.still = True
        page = visit(url=large.url).page
        page.wait_for_selector(PAINTED)
        page.evaluate(WATCH)
        for step in range(1, STEPS + 1):
            large.played.patch(seats=large.played.room.rows(large.played.room.stir()))
            until = time.monotonic() + PATIENCE_SECONDS
            while page.evaluate("changed") <= SEATS * step:  # at least one text of each tile
                assert time.monotonic() < until
                page.wait_for_timeout(50)
        assert page.evaluate("made") == 0


def test_the_browser_loads_less_than_150_kb_for_all_screens(visit: Open) -> None:
    loader = visit(operator=True)
    page = loader.page
    for screen in ("boot", "servers", "troubles", "inventory", "schedules"):
        loader.go(screen)
    page.wait_for_timeout(500)
    loader.go("seat/52:54:00:77:00:08")
    page.wait_for_selector(".chart canvas")
    sizes = page.evaluate(
        """performance.getEntriesByType('resource').filter(each => !each.name.includes('/api/'))
        .map(each => [each.name, each.transferSize])"""
    )
    weight = sum(size for _, size in sizes)
    sys.stdout.write(f"loaded for all screens: {weight} bytes in {len(sizes)} files\n")
    assert any(name.endswith("uPlot.iife.min.js") for name, _ in sizes)
    assert weight < MOST_BYTES
