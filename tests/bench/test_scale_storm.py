"""The bars of a storm of 1,000 PCs, from figures that were not measured."""

import subprocess
import sys
from dataclasses import replace

import pytest

from bench import dhcp
from bench.scale import storm
from bench.scale.storm import CLIENTS, NO_LIMIT, WIRE, Results, Sample
from bench.storm import Sample as Room
from bench.storm import parse
from netboot.lab.storm.report import Outcome, Report
from tests import ROOT

FINE = Outcome(
    "a", "swap", "", 88.0, 90.0, {"images": 30.0, "wait": 20.0, "swap": 1.0}, {"images": 10_000_000}
)
ROOM = parse(Report([FINE] * CLIENTS, 20.0, 10.0).as_json(), 10_000_000_000)
GOOD = Sample(ROOM, 1.0, 2.0)
OFFERS = dhcp.Sample(1000, 1000, 0, 50.0, 160.0, 170.0, 5000.0, 200.0)
RESULTS = Results({WIRE: GOOD, NO_LIMIT: GOOD}, OFFERS)


def test_all_bars_are_met_by_good_figures() -> None:
    found = storm.verdicts(RESULTS)
    assert [each.value for each in found] == [1000, 1000, 1.125, 1.0, 160.0]
    assert all(each.met for each in found)


@pytest.mark.parametrize(
    ("wire", "offers", "missed"),
    [
        (replace(ROOM, done=999), OFFERS, "1000 PCs, 1 Gbit/s: with swap"),
        (replace(ROOM, seconds=97.0), OFFERS, "1000 PCs, 1 Gbit/s: seconds / wire"),
        (ROOM, replace(OFFERS, in_time=999), "1000 DISCOVERs in one instant: offered in 2 s"),
        (ROOM, replace(OFFERS, p99_ms=501.0), "1000 DISCOVERs in one instant: p99, ms"),
    ],
)
def test_each_bar_can_be_missed(wire: Room, offers: dhcp.Sample, missed: str) -> None:
    storms = {WIRE: replace(GOOD, room=wire), NO_LIMIT: GOOD}
    found = storm.verdicts(Results(storms, offers))
    assert [each.name for each in found if not each.met] == [missed]


def test_the_worst_run_counts_who_came_through() -> None:
    middle = storm.median_of([GOOD, replace(GOOD, room=replace(ROOM, done=998), load=5.0), GOOD])
    assert (middle.room.done, middle.load) == (998, 2.0)


def test_each_table_has_lines_of_one_width() -> None:
    for part in storm.table(RESULTS).split("\n\n"):
        assert len({line.count("|") for line in part.splitlines()}) == 1


def test_it_says_what_it_does() -> None:
    words = [sys.executable, "-m", "bench.scale.storm", "--help"]
    assert "--quick" in subprocess.check_output(words, cwd=ROOT, text=True)
