"""The verdicts that the benchmark of one boot makes of its figures. Nothing boots here."""

import pytest

from bench import seat
from bench.report import OURS
from bench.seat import BASELINE, Boot

RESULTS = {BASELINE: Boot(30.0, 40.0), OURS: Boot(9.0, 12.0)}


def test_bars_compare_with_the_baseline() -> None:
    found = seat.verdicts(RESULTS, little=12.0)
    assert [(each.value, each.bar, each.met) for each in found] == [
        (pytest.approx(0.3), 0.3, True),
        (pytest.approx(0.3), 0.3, True),
        (1.0, 1, True),
    ]


def test_a_pc_with_little_ram_has_to_come_to_its_userland() -> None:
    assert not seat.verdicts(RESULTS, little=None)[-1].met
    assert seat.table(RESULTS, little=None).endswith("| 80 | userland | never | - | - |")
