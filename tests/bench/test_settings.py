"""The table of settings: medians, ranges and the differences that repeat. Nothing is measured."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bench import client, settings, ways
from bench.settings import FIGURES, SETTINGS
from bench.ways import BARRED, Load, Run, Way
from netboot.images.build import Built
from netboot.profile import file as profile_file

RUN = Run(1, 1, 1, 1, memory=2, io=3, out_mib=100, in_mib=120, refault_mib=150, stall=0.5)
DEFAULT, CLUSTER, SWAPPINESS, ZSTD = (
    next(row for row in SETTINGS if row.name == name)
    for name in ("default", "page-cluster 2", "swappiness 120", "zstd")
)


def _moved(*mib: float) -> list[Run | None]:
    return [replace(RUN, out_mib=each) for each in mib]


def test_a_difference_is_marked_if_no_run_lies_among_the_default_s() -> None:
    results = {
        DEFAULT: _moved(100, 110, 104),
        CLUSTER: _moved(99, 98, 97),
        SWAPPINESS: _moved(99, 101, 97),
        ZSTD: [*_moved(99, 101), None],
    }
    head, _, default, apart, mixed, killed = settings.table(results, "a load").splitlines()
    assert head == f"| a load | {' | '.join(FIGURES)} |"
    assert default.startswith("| default | 104 (100 to 110) | 120 (120 to 120) |")
    assert apart.startswith("| page-cluster 2 | **98 (97 to 99)** | 120 (120 to 120) |")
    assert mixed.startswith(f"| {SWAPPINESS.name} | 99 (97 to 101) |")
    assert killed.startswith(f"| {ZSTD.name} | OOM killer, 1 of 3 |")
    assert {line.count("|") for line in (default, apart, mixed, killed)} == {head.count("|")}


def test_without_the_default_nothing_is_marked() -> None:
    assert "**" not in settings.table({CLUSTER: _moved(1, 2)}, "a load")


def test_each_setting_differs_from_the_default_which_is_the_barred_way() -> None:
    assert replace(DEFAULT, name=BARRED.name) == BARRED
    assert len({replace(row, name="") for row in SETTINGS}) == len(SETTINGS)
    assert SETTINGS[0] == DEFAULT and set(settings.POOL) < set(SETTINGS)
    assert len({row.name for row in SETTINGS}) == len(SETTINGS)


def test_the_profile_takes_each_setting() -> None:
    for row in SETTINGS:
        profile_file.load(client.PROFILE, list(row.profile))


def test_the_guest_is_told_what_to_write() -> None:
    words = client.arguments(CLUSTER, 3, Load(4096, 1, 3, 2)).split()
    assert "netboot.bench_kernel=/proc/sys/vm/page-cluster:2" in words
    assert not any("kernel" in word for word in client.arguments(DEFAULT, 1, client.LOAD).split())


def test_the_rows_take_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    @contextmanager
    def prepared(kernel: str) -> Iterator[tuple[Built, client.Measure]]:
        def runs_of(way: Way, count: int, load: Load) -> list[Run | None]:
            asked.append((way.name, load))
            return [RUN] * count

        yield Built(tmp_path, {"processors": {"amd64": {"kernel": kernel}}}, ()), runs_of

    monkeypatch.setattr(client, "prepared", prepared)
    monkeypatch.setattr(client, "versions", lambda _: {})
    rows = [DEFAULT, CLUSTER, ZSTD, *settings.NEWER]
    assert client.run_settings(rows, "6.1.0-57-amd64", quick=False, folder=tmp_path) == 0
    usual = [(way.name, client.LOAD) for way in (DEFAULT, CLUSTER, ZSTD)]
    assert asked == [*usual, *((way.name, client.FITTING) for way in (DEFAULT, ZSTD))] * 3
    written = json.loads((tmp_path / "client-settings.json").read_text())
    told = written["three quarters of the RAM, Linux 6.1.0-57-amd64"]
    assert [(row["name"], len(row["runs"])) for row in told] == [("default", 3), ("zstd", 3)]
    said = capsys.readouterr().out
    assert "| as large as the RAM, Linux 6.1.0-57-amd64 | MiB out |" in said
    assert "| bar |" not in said


def test_a_newer_kernel_has_further_settings() -> None:
    (row, *_) = settings.NEWER
    versions = ("5.10.0", "6.1.0-57-amd64", "6.7", "6.8.0", "6.12.117+deb13-amd64")
    assert [settings.fits(row, each) for each in versions] == [False] * 3 + [True] * 2
    assert all(settings.fits(DEFAULT, each) for each in versions)


def test_the_pc_has_the_settings_of_the_row() -> None:
    told = {"device": "/dev/nbd0", "zswap": "Y", "compressor": "zstd"}
    ways.check_swap(ZSTD, told)
    for wrong in (told | {"compressor": "lzo"}, told | {"device": "/dev/dm-0"}, {}):
        with pytest.raises(ValueError, match="another swap"):
            ways.check_swap(ZSTD, wrong)
    secret = next(row for row in SETTINGS if row.words)
    ways.check_swap(secret, {"device": "/dev/dm-0", "zswap": "Y"})
    with pytest.raises(ValueError, match="another swap"):
        ways.check_swap(secret, told)
    assert client.arguments(secret, 1, client.LOAD).endswith(" netboot.encrypt=aes")
