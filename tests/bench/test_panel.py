"""The bars of the panel's benchmark, and what its played seats count. Nothing is measured here."""

import math
from dataclasses import replace

import pytest

from bench import panel
from bench.panel import BOTH, NEITHER, Sample
from bench.panel_load import Load
from bench.panel_parts import Month, Page
from bench.report import Verdict

SAMPLE = Sample(
    server_cpu=3.0,
    worker_cpu=0.0,
    server_mb=80.0,
    panel_cpu=5.0,
    panel_mb=120.0,
    reports=6000,
    refused=0,
    report_p99_ms=5.0,
    dhcp_sent=1000,
    dhcp_in_time=1000,
    dhcp_p50_ms=0.5,
    dhcp_p99_ms=2.0,
    dhcp_max_ms=5.0,
    seen_p50=0.6,
    seen_p99=1.1,
    seen_max=1.2,
    stream_kb=100.0,
    load=1.0,
)
NONE = math.nan
WITHOUT = replace(SAMPLE, server_cpu=1.0, panel_cpu=NONE, panel_mb=NONE, seen_p99=NONE, reports=0)
PAGE, MONTH = Page(60.0, 17.0, 500.0, 80.0), Month(16.0, {"a day": 20.0, "30 days": 12.0}, 9.0)


def _found(**values: float) -> dict[str, Verdict]:
    samples = {NEITHER: [WITHOUT], BOTH: [replace(SAMPLE, **values)]}
    return {each.name: each for each in panel.verdicts(samples, PAGE, MONTH)}


def test_all_bars_are_met_by_good_figures() -> None:
    assert all(each.met for each in _found().values())


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("reports that were taken", {"refused": 1}),
        ("DHCP: offered in 2 s", {"dhcp_in_time": 999}),
        ("panel: % of a CPU", {"panel_cpu": 26.0}),
        ("panel: MB", {"panel_mb": 201.0}),
        ("control plane: % of a CPU more than without", {"server_cpu": 6.5}),
        ("DHCP p99: ms more than without", {"dhcp_p99_ms": 4.5}),
        ("report to stream, p99: s", {"seen_p99": 1.6}),
    ],
)
def test_a_bar_is_missed(name: str, values: dict[str, float]) -> None:
    assert [each.name for each in _found(**values).values() if not each.met] == [name]


def test_a_difference_is_of_neighbours_in_time() -> None:
    """A machine that is busier in the second pair of runs is no cost of the panel."""
    samples = {
        NEITHER: [WITHOUT, replace(WITHOUT, server_cpu=11.0)],
        BOTH: [SAMPLE, replace(SAMPLE, server_cpu=13.0)],
    }
    found = {each.name: each for each in panel.verdicts(samples, PAGE, MONTH)}
    assert found["control plane: % of a CPU more than without"].value == 2.0


def test_the_table_shows_a_dash_for_what_there_is_not() -> None:
    shown = panel.table({NEITHER: [WITHOUT], BOTH: [SAMPLE]}, PAGE, MONTH)
    assert "| panel, % of a CPU | - | 5.0 |" in shown
    assert "| a chart, ms: a day 20.0, 30 days 12.0 | 20.0 |" in shown


def test_a_report_has_an_age_once_and_not_the_first_one_of_a_seat() -> None:
    load = Load("10.77.0.1", 8080, 8081, counts=True)
    seen: dict[str, float] = {}
    for when, now in ((10.2, 11.0), (10.2, 12.0), (20.5, 20.9)):
        load.look({"seats": [{"mac": "m", "report": {"when": when}}]}, now, seen)
    load.look({"seats": [{"mac": "n", "report": None}]}, 20.9, seen)
    assert load.ages == pytest.approx([0.4])
