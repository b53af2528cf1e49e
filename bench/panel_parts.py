"""What ``bench.panel`` measures of a panel's page and of its history, without a server."""

import itertools
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from playwright.sync_api import Browser

from netboot.panel.history import reading
from netboot.panel.history.records import SeatMinute, ServerMinute
from netboot.panel.history.schema import SEATS
from tests.panel.history.rig import NOW, Clock, mac_of, row
from tests.panel.history.test_pruning import (
    BEGIN,
    DAY,
    Store,
    events_of_a_day,
    fill,
    server_figures,
)
from tests.panel.page.conftest import PAINTED
from tests.panel.page.visit import Visit, chromium
from tests.panel.played import Played, Running

SEATS_OF_PAGE, SEATS_OF_MONTH, DAYS = 1000, 60, 30
SCREENS = ("boot", "servers", "troubles", "inventory", "schedules")
FILES = """performance.getEntriesByType('navigation').concat(performance.getEntriesByType('resource'))
.filter(each => !each.name.includes('/api/')).reduce((sum, each) => sum + each.transferSize, 0)"""
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
SEAT = "52:54:00:77:00:08"  # of the played room
# The times of all frames of so many seconds.
COUNT = """seconds => new Promise(done => {
  const times = []; const end = performance.now() + seconds * 1000;
  const frame = now => { times.push(now); now < end ? requestAnimationFrame(frame) : done(times); };
  requestAnimationFrame(frame);
})"""
CHARTS = {"an hour": 1 / 24, "a day": 1.0, "30 days": 30.0}


@dataclass(frozen=True, slots=True)
class Page:
    """The page in headless Chromium. ``kb``: all files of all screens."""

    frames: float
    longest_ms: float
    first_paint_ms: float
    kb: float


def page(seconds: int, paints: int) -> Page:
    """Measure the page of 1,000 seats, which all change each second."""
    with chromium() as browser:
        with Running(Played()) as room:
            room.played.still = True
            painted = median(_paint(browser, room.url) for _ in range(paints))
            weight = _weight(browser, room.url)
        with Running(Played(SEATS_OF_PAGE)) as large:
            frames, longest = _frames(browser, large, seconds)
    return Page(frames, longest, painted, weight / 1000)


def _paint(browser: Browser, url: str) -> float:
    """Return the ms until the first paint, with nothing in the browser's cache."""
    context = browser.new_context(locale="en-GB")
    try:
        shown = Visit(context, url).page
        shown.wait_for_selector(PAINTED)
        return float(shown.evaluate(PAINT))
    finally:
        context.close()


def _weight(browser: Browser, url: str) -> float:
    """Return the bytes of all files that a visit of all screens loads."""
    context = browser.new_context(locale="en-GB")
    try:
        visit = Visit(context, url)
        for screen in SCREENS:
            visit.go(screen)
            visit.page.wait_for_timeout(300)
        shown = visit.go(f"seat/{SEAT}")
        shown.wait_for_selector(".chart canvas")
        return float(shown.evaluate(FILES))
    finally:
        context.close()


def _frames(browser: Browser, large: Running, seconds: int) -> tuple[float, float]:
    """Return frames a second, and the longest one in ms."""
    large.played.still = True
    context = browser.new_context(locale="en-GB")
    try:
        shown = Visit(context, large.url).page
        shown.wait_for_selector(PAINTED)
        # Made before, so that the measured time has no Python in it.
        room = large.played.room
        steps = [room.rows(room.stir()) for _ in range(seconds)]
        shown.evaluate(f"window.frames = ({COUNT})({seconds})")
        for rows in steps:
            large.played.patch(seats=rows)
            time.sleep(1)
        times = shown.evaluate("frames")
    finally:
        context.close()
    gaps = [after - before for before, after in itertools.pairwise(times)]
    return len(gaps) / (sum(gaps) / 1000), max(gaps)


@dataclass(frozen=True, slots=True)
class Month:
    """30 days of 60 seats in SQLite. ``chart_ms``: the median of each chart."""

    mb: float
    chart_ms: dict[str, float]
    inventory_ms: float


def month(repetitions: int) -> Month:
    """Write a month, and draw from it: a sample of each minute of a day and of each hour before."""
    chance = random.Random(18)
    with tempfile.TemporaryDirectory() as name:
        store = Store("", Path(name), Clock(NOW))
        names = (
            SeatMinute("alpha", row(NOW, mac_of(each)), 0, None) for each in range(SEATS_OF_MONTH)
        )
        store.write(*names)
        fill(store, "", SEATS.hours, range(BEGIN - DAYS * DAY, BEGIN - DAY, 60), chance)
        fill(store, "", SEATS.minutes, range(BEGIN - DAY, BEGIN), chance)
        for at in range(BEGIN - DAY, BEGIN, 10):
            store.write(ServerMinute("alpha", at, server_figures(chance)))
        for day in range(DAYS):
            store.write(*events_of_a_day(NOW - 86400 * (day + 1), chance))
        store.upkeep.run()
        size = store.size()
        charts = {
            title: _ms(partial(store.chart, mac_of(7), days), repetitions)
            for title, days in CHARTS.items()
        }
        question = partial(reading.inventory, now=NOW)
        inventory = _ms(lambda: store.database.read(question), repetitions)
        store.database.close_writer()
        store.database.close_readers()
    return Month(size / 1e6, charts, inventory)


def _ms(question: Callable[[], object], repetitions: int) -> float:
    times = []
    for _ in range(repetitions):
        begin = time.perf_counter()
        question()
        times.append(time.perf_counter() - begin)
    return median(times) * 1000
