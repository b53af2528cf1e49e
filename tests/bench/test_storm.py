"""The verdicts that the benchmark of a room makes of a storm's report. Nothing is measured."""

from dataclasses import replace

from bench import storm
from bench.storm import CLIENTS, ROWS, parse
from netboot.lab.storm.report import Outcome, Report

FINE = Outcome("a", "swap", "", 5.0, 6.0, {"images": 3.0, "wait": 1.0}, {"images": 10_000_000})
REPORT = Report([FINE] * CLIENTS, 2.0, 1.0)
SAMPLE = parse(REPORT.as_json(), 625_000_000)


def test_a_report_is_set_against_the_wire() -> None:
    assert (SAMPLE.done, SAMPLE.seconds, SAMPLE.limit, SAMPLE.mb) == (CLIENTS, 6.0, 5.0, 600.0)
    assert (SAMPLE.ratio, SAMPLE.wait_max, SAMPLE.download_max) == (1.2, 1.0, 3.0)


def test_bars_are_of_the_governor_and_the_worst_run_counts_who_came_through() -> None:
    worse = replace(SAMPLE, done=CLIENTS - 1, seconds=7.0)
    middle = storm.median_of([SAMPLE, worse, SAMPLE])
    assert (middle.done, middle.seconds) == (CLIENTS - 1, 6.0)
    found = storm.verdicts(dict.fromkeys(ROWS, middle))
    assert [(each.value, each.met) for each in found] == [(1.2, True), (CLIENTS - 1, False)] * 2


def test_the_table_has_a_line_for_each_row() -> None:
    lines = storm.table(dict.fromkeys(ROWS, SAMPLE)).splitlines()
    assert len(lines) == 2 + len(ROWS)
    assert len({line.count("|") for line in lines}) == 1
