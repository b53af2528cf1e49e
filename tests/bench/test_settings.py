"""The table of settings: medians, ranges and the differences that repeat. Nothing is measured."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bench import client, settings
from bench.settings import FIGURES, SETTINGS
from bench.ways import BARRED, Load, Run, Way
from netboot.profile import file as profile_file

RUN = Run(1, 1, 1, 1, memory=2, io=3, out_mib=100, in_mib=120, refault_mib=150, stall=0.5)
DEFAULT, CLUSTER, *_ = SETTINGS


def _moved(*mib: float) -> list[Run | None]:
    return [replace(RUN, out_mib=each) for each in mib]


def test_a_difference_is_marked_if_no_run_lies_among_the_default_s() -> None:
    results = {
        DEFAULT: _moved(100, 110, 104),
        CLUSTER: _moved(99, 98, 97),
        SETTINGS[2]: _moved(99, 101, 97),
        SETTINGS[3]: [*_moved(99, 101), None],
    }
    head, _, default, apart, mixed, killed = settings.table(results, "a load").splitlines()
    assert head == f"| a load | {' | '.join(FIGURES)} |"
    assert default.startswith("| default | 104 (100 to 110) | 120 (120 to 120) |")
    assert apart.startswith("| page-cluster 3 | **98 (97 to 99)** | 120 (120 to 120) |")
    assert mixed.startswith(f"| {SETTINGS[2].name} | 99 (97 to 101) |")
    assert killed.startswith(f"| {SETTINGS[3].name} | OOM killer, 1 of 3 |")
    assert {line.count("|") for line in (default, apart, mixed, killed)} == {head.count("|")}


def test_without_the_default_nothing_is_marked() -> None:
    assert "**" not in settings.table({CLUSTER: _moved(1, 2)}, "a load")


def test_each_setting_differs_from_the_default_which_is_the_barred_way() -> None:
    assert replace(DEFAULT, name=BARRED.name) == BARRED
    assert len({(row.profile, row.kernel) for row in SETTINGS}) == len(SETTINGS)
    assert len({row.name for row in SETTINGS}) == len(SETTINGS)


def test_the_profile_takes_each_setting() -> None:
    for row in SETTINGS:
        profile_file.load(client.PROFILE, list(row.profile))


def test_the_guest_is_told_what_to_write() -> None:
    words = client.arguments(CLUSTER, 3, Load(4096, 1, 3, 2)).split()
    assert "netboot.bench_kernel=/proc/sys/vm/page-cluster:3" in words
    assert not any("kernel" in word for word in client.arguments(DEFAULT, 1, client.LOAD).split())


def test_the_rows_take_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    @contextmanager
    def prepared() -> Iterator[tuple[Path, client.Measure]]:
        def runs_of(way: Way, count: int, load: Load) -> list[Run | None]:
            asked.append((way.name, load))
            return [RUN] * count

        yield tmp_path, runs_of

    monkeypatch.setattr(client, "prepared", prepared)
    monkeypatch.setattr(client, "versions", lambda _: {})
    assert client.run_settings([DEFAULT, CLUSTER], quick=False, folder=tmp_path) == 0
    names, loads = (DEFAULT.name, CLUSTER.name), (client.LOAD, client.FITTING)
    assert asked == [(name, load) for load in loads for name in names] * 3
    written = json.loads((tmp_path / "client-settings.json").read_text())
    rows = written["three quarters of the RAM"]
    assert [(row["name"], len(row["runs"])) for row in rows] == [(name, 3) for name in names]
    said = capsys.readouterr().out
    assert "| as large as the RAM | MiB out |" in said
    assert "| bar |" not in said
