"""A played seat whose pages are in Ceph while parts of it die (bench/scale/ceph.py)."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.scale.ceph import FAULTS, SEEDS, STILL, play
from tests.support.ceph import is_installed

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not is_installed(), reason="Ceph is not installed: tools/setup ceph"),
]


@pytest.mark.parametrize(
    "seed", [SEEDS[0], *(pytest.param(seed, marks=pytest.mark.long) for seed in SEEDS[1:])]
)
@pytest.mark.parametrize("fault", FAULTS)
def test_no_page_is_stale_or_lost(
    fault: str, seed: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    outcome = play(fault, seed, tmp_path)
    record_property("stall", outcome.stall)
    assert (outcome.stale, outcome.lost, outcome.errors) == (0, 0, 0)
    assert outcome.requests > 1000
    assert outcome.told or fault != STILL
