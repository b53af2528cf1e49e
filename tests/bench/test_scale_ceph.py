"""The bars and the table of bench.scale.ceph."""

from bench.scale.ceph import FAULTS, STILL, Outcome, table, verdicts

GOOD = [
    Outcome(fault, seed, 1000, stall=1.5, calm_stall=0.1, cpu_us=350, told=1)
    for fault in FAULTS
    for seed in (1, 2)
]


def test_bars_are_met_without_stale_and_lost_pages() -> None:
    assert all(each.met for each in verdicts(GOOD))
    assert len(verdicts(GOOD)) == 3 * len(FAULTS) + 1


def test_one_stale_page_misses_its_bar() -> None:
    found = verdicts([*GOOD, Outcome("osd killed", 3, 1000, stale=1)])
    assert [each.name for each in found if not each.met] == ["rbd, osd killed: stale"]


def test_a_cluster_that_stands_still_must_be_told_in_each_run() -> None:
    found = verdicts([*GOOD, Outcome(STILL, 3, 1000)])
    assert [each.name for each in found if not each.met] == ["rbd, cluster stopped: told"]


def test_the_table_has_the_longest_stall_of_all_runs() -> None:
    text = table([*GOOD, Outcome("osd killed", 3, 500, stall=6.25, calm_stall=0.1, cpu_us=350)])
    assert "| osd killed | 3 | 2500 | 0 | 0 | 0 | 6.2 | 0.10 | 2 | 350 |" in text
    assert "| server stopped | 2 | 2000 | 0 | 0 | 0 | 1.5 | 0.10 | 2 | 350 |" in text
