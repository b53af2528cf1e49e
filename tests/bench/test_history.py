"""The history of the page benchmark, and what changed between two commits."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench import compare, history
from bench.history import Entry
from bench.report import OURS
from bench.rows import Row, Sample
from netboot.errors import OperatorError

OLD, NEW, OTHER = "a" * 40, "b" * 40, "c" * 40
ROW = Row("randread", 4096, 1, 1, "pinned")
SAMPLE = Sample(30000, 122.9, 33.0, 30.0, 60.0, 900.0, 14.0, 10.0)
ENTRY = Entry(OLD, "2026-11-30", "2-x-cpu", ROW.name, "iops", 5, 30000.0, 1.10)


def _changes(before: Entry, after: Entry) -> list[history.Change]:
    key = (ROW.name, before.figure)
    return history.changes({key: before}, {key: after})


def _write(folder: Path, machine: str, *found: Entry) -> None:
    (folder / f"{machine}.jsonl").write_text("".join(each.line() for each in found))


def test_a_kind_of_machine_is_cpus_and_kernel() -> None:
    assert history.kind("2 x AMD EPYC (1)", "6.18.44-fc") == "2-x-amd-epyc-1-linux-6.18"


def test_a_run_is_a_line_for_each_figure_with_the_ratio_to_the_best_peer() -> None:
    slow, quick = replace(SAMPLE, iops=20000, cpu_us=28), replace(SAMPLE, iops=24000, cpu_us=35)
    big = Row("read", 128 << 10, 4, 1)
    results = {
        ROW: {OURS: replace(SAMPLE, instructions=9000.0), "qsd": slow, "nbdkit": quick},
        big: {OURS: SAMPLE},
        replace(ROW, connections=2): {"nbdkit": SAMPLE},
    }
    about = {"commit": OLD, "date": "2026-11-30", "machine": "m"}
    found = list(history.entries(results, **about, repetitions=5))
    shown = [(each.row, each.figure, each.median, each.ratio) for each in found]
    assert shown == [
        (ROW.name, "iops", 30000, 1.25),
        (ROW.name, "mean_us", 33.0, 1.0),
        (ROW.name, "cpu_us", 14.0, 0.5),
        (ROW.name, "instructions", 9000.0, None),
        (big.name, "mb_per_s", 122.9, None),
        (big.name, "cpu_us", 14.0, None),
    ]
    assert [each.runs for each in found] == [5] * 6
    assert history.parse("".join(each.line() for each in found)) == found


def test_a_change_is_more_than_noise() -> None:
    assert _changes(ENTRY, replace(ENTRY, ratio=1.19)) == []
    (change,) = _changes(ENTRY, replace(ENTRY, ratio=1.25))
    assert (round(change.by, 3), change.better) == (0.136, True)
    (change,) = _changes(ENTRY, replace(ENTRY, ratio=0.9))
    assert not change.better


def test_a_slower_machine_is_no_change_if_the_peer_is_slower_too() -> None:
    assert _changes(ENTRY, replace(ENTRY, median=15000.0)) == []
    alone = replace(ENTRY, ratio=None)
    assert len(_changes(alone, replace(alone, median=15000.0))) == 1


def test_less_cpu_is_better_and_a_single_run_is_trusted_less() -> None:
    cpu = replace(ENTRY, figure="cpu_us", ratio=0.50)
    (change,) = _changes(cpu, replace(cpu, ratio=0.45))
    assert change.better
    assert _changes(replace(cpu, runs=1), replace(cpu, ratio=0.45)) == []


def test_instructions_are_compared_without_a_peer() -> None:
    count = replace(ENTRY, figure="instructions", median=9000.0, ratio=0.5)
    assert len(_changes(count, replace(count, median=9300.0))) == 1


def test_runs_of_a_commit_are_one_and_those_with_changed_files_another() -> None:
    runs = [replace(ENTRY, ratio=ratio) for ratio in (1.0, 1.2, 1.1)]
    dirty = replace(ENTRY, commit=f"{OLD}-dirty", ratio=9.0)
    found = history.of_commit([*runs, dirty], OLD[:7])
    assert found[ROW.name, "iops"] == replace(ENTRY, runs=15, ratio=1.1)
    assert history.of_commit([*runs, dirty], f"{OLD[:7]}-dirty")[ROW.name, "iops"].ratio == 9.0


def test_commits_are_compared_on_each_kind_of_machine(tmp_path: Path) -> None:
    _write(tmp_path, "one", ENTRY, replace(ENTRY, commit=NEW, ratio=2.2))
    _write(tmp_path, "two", ENTRY, replace(ENTRY, commit=NEW))
    _write(tmp_path, "three", ENTRY)
    said = compare.compare(tmp_path, (OLD, NEW[:9]))
    assert f"| {ROW.name} | iops | 30000.00 | 30000.00 | 1.10 | 2.20 | +100% | better |" in said
    assert said.endswith("two:\n\nNone of 1 figures has changed by more than noise.")
    assert "three" not in said


def test_a_commit_that_was_not_measured_is_named(tmp_path: Path) -> None:
    _write(tmp_path, "one", ENTRY)
    with pytest.raises(OperatorError, match=f"no run of commit '{NEW}' in .*: it has {OLD[:9]}"):
        compare.compare(tmp_path, (OLD, NEW))
    _write(tmp_path, "two", replace(ENTRY, commit=NEW))
    with pytest.raises(OperatorError, match="no kind of machine in"):
        compare.compare(tmp_path, (OLD, NEW))


@pytest.mark.system
def test_a_commit_has_any_name_that_git_knows() -> None:
    head = compare.commit_of("HEAD")
    assert len(head) == 40
    assert compare.commit_of("HEAD-dirty") == f"{head}-dirty"
    assert compare.this_commit().removesuffix("-dirty") == head
    assert compare.commit_of("no-such-branch") == "no-such-branch"
    with pytest.raises(OperatorError, match="expected two commits, found ''"):
        compare.commit_of("")


def test_a_damaged_history_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").write_text(ENTRY.line() + json.dumps({"commit": OLD}) + "\n")
    with pytest.raises(OperatorError, match=r"one\.jsonl: line 2: expected an entry"):
        compare.compare(tmp_path, (OLD, OTHER))
    (tmp_path / "one.jsonl").write_text(replace(ENTRY, figure="speed").line())
    with pytest.raises(OperatorError, match="line 1: expected an entry .*: unknown figure 'speed'"):
        compare.compare(tmp_path, (OLD, OTHER))
