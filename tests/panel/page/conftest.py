"""One browser for all tests of the page, and a played panel for each."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.panel.page.visit import Visit, chromium
from tests.panel.played import Played, Running

PAINTED = ".tile[class*=s-]"  # a tile that has its state
Open = Callable[..., Visit]


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Debian's Chromium. Playwright's event loop runs in this thread, so it ends before other tests."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def panel() -> Iterator[Running]:
    """A played panel of 12 seats that stand still."""
    played = Played()
    played.still = True
    with Running(played) as running:
        yield running


@pytest.fixture
def visit(browser: Browser, panel: Running) -> Iterator[Open]:
    """Open the page; log in if told so. At the end, nothing may have been complained of."""
    opened = []

    def open_page(*, operator: bool = False, url: str = "", **options: Any) -> Visit:
        context = browser.new_context(**({"locale": "en-GB"} | options))
        visit = Visit(context, url or panel.url)
        opened.append((context, visit))
        if operator:
            visit.log_in()
            visit.page.wait_for_selector(".who")
            visit.page.wait_for_selector(PAINTED)
        return visit

    yield open_page
    for context, visit in opened:
        context.close()
        assert visit.complaints == []
