"""The bars of 1,000 seats on one server, and a short run with few seats. No time is asserted."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.scale import seats
from bench.scale.seats import Sample
from tests import ROOT

SAMPLE = Sample(
    asked=1000,
    attached=1000,
    attach_median=2.4,
    attach_last=2.5,
    attach_cpu=1.5,
    dhcp_sent=200,
    dhcp_in_time=200,
    dhcp_p50_ms=0.9,
    dhcp_p99_ms=72.0,
    dhcp_max_ms=107.0,
    admitted=0,
    lines=1,
    beside=0.98,
    start=1.5,
    back=1000,
    back_median=1.9,
    back_last=2.1,
    back_cpu=1.9,
    server_mb=102.0,
    workers_mb=33.0,
    load=2.0,
)


def test_all_bars_are_met_by_good_figures() -> None:
    assert all(each.met for each in seats.verdicts([SAMPLE]))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("seats: attached", {"attached": 999}),
        ("seats: all attached, s", {"attach_last": 10.1}),
        ("seats: DHCP p99 meanwhile, ms", {"dhcp_p99_ms": 101.0}),
        ("one too many: let in", {"admitted": 1}),
        ("one too many: lines", {"lines": 2}),
        ("one too many: requests of others", {"beside": 0.89}),
        ("killed: back", {"back": 999}),
        ("killed: all back, s", {"back_last": 5.1}),
        ("control plane, MB", {"server_mb": 151.0}),
    ],
)
def test_a_bar_is_missed(name: str, values: dict[str, float]) -> None:
    found = seats.verdicts([replace(SAMPLE, **values)])
    assert [each.name for each in found if not each.met] == [name]


def test_one_run_in_which_a_seat_is_missing_misses_the_bar() -> None:
    found = seats.verdicts([SAMPLE, SAMPLE, replace(SAMPLE, back=999)])
    assert [each.name for each in found if not each.met] == ["killed: back"]


def test_the_table_has_a_row_for_each_figure() -> None:
    lines = seats.table([SAMPLE]).splitlines()
    assert "| 1000 seats at once: attached | 1000 |" in lines
    assert len({line.count("|") for line in lines}) == 1


@pytest.mark.root
@pytest.mark.system
def test_a_small_room_attaches_and_comes_back_and_one_seat_too_many_does_not(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-m", "bench.scale.seats", "--quick", "--seats", "60"]
    ended = subprocess.run(
        [*command, "--output", tmp_path], cwd=ROOT, capture_output=True, text=True, check=False
    )
    found = tmp_path / "scale-seats.json"
    assert found.exists(), ended.stderr
    (run,) = json.loads(found.read_text())["runs"]
    assert (run["attached"], run["admitted"], run["back"]) == (60, 0, 60)
    assert run["lines"] == 1
