"""The verdicts that the client's benchmark makes of its figures. Nothing is measured here."""

import pytest

from bench import client, ways
from bench.plot import seconds_svg
from bench.ways import BARRED, TIERS, WAYS, ZRAM, Load, Run, Way

CONSOLE = """\
netboot: [   2.89] 20 hardware: eth0, driver virtio_net
[    3.079799] nbd0: detected capacity change from 0 to 1022160
[    3.086801] sys_swapon(specialfile: 411178, swap_flags: 5800a)
[    3.107809] Adding 511076k swap on nbd0.  Priority:10
netboot: [   3.03] 70 swap: /dev/nbd0, 499 MiB, 2 connections
"""


def _way(by: str, *, zswap: bool = False) -> Way:
    return next(way for way in WAYS if way.by == by and way.zswap == zswap)


def _run(write: float, read: float, scattered: float, touched: float, stall: float = 0) -> Run:
    return Run(write, read, scattered, touched, 0, 0, 0, 0, 0, stall)


def test_times_of_a_boot_are_read_from_its_console() -> None:
    assert list(ways.attach_times(CONSOLE)) == pytest.approx([140, 7.002, 28.01])
    with pytest.raises(ValueError, match="sys_swapon"):
        ways.attach_times(CONSOLE.replace("sys_swapon", ""))


def test_bars_are_decided_by_the_median() -> None:
    attach, header = ways.attach_bars([129.0, 131.0, 100.0], [9.0, 10.5, 11.0])
    assert (attach.value, attach.met) == (129.0, True)
    assert (header.value, header.met) == (10.5, False)


TOLD = {
    "status": 0,
    "written": 4.0,
    "verified": 10.5,
    "scattered": 12.0,
    "touched": 14.0,
    "wrong": 0,
    "stall": 0.25,
    "memory_us": 500000,
    "io_us": 2500000,
    "pages_out": 512,
    "pages_in": 256,
    "refaults": 128,
}


def test_a_run_is_cut_into_its_parts() -> None:
    run = ways.parse_run(TOLD)
    assert run == Run(4.0, 6.5, 1.5, 2.0, 0.5, 2.5, 2, 1, 0.5, 0.25)
    assert run.total == 14.0


@pytest.mark.parametrize(("status", "wrong"), [(1, 1), (0, ""), (2, ""), ("", 0), (139, "")])
def test_a_load_that_failed_is_no_figure(status: object, wrong: object) -> None:
    with pytest.raises(ValueError, match="failed"):
        ways.parse_run(TOLD | {"status": status, "wrong": wrong})


def test_a_load_that_moved_no_page_is_no_figure() -> None:
    with pytest.raises(ValueError, match="failed"):
        ways.parse_run(TOLD | {"pages_out": 0})


def test_the_pc_has_the_swap_of_its_way() -> None:
    ways.check_swap(BARRED, {"device": "/dev/nbd0\\040(deleted)", "zswap": "Y"})
    ways.check_swap(ZRAM, {"device": "/dev/zram0", "zswap": "N"})
    ways.check_swap(TIERS, {"device": "/dev/zram0,/dev/nbd0", "zswap": "N"})
    for data in ({}, {"device": "/dev/nbd0", "zswap": "N"}, {"device": "/dev/vda", "zswap": "Y"}):
        with pytest.raises(ValueError, match="another swap"):
            ways.check_swap(BARRED, data)
    for device in ("/dev/zram0", "/dev/nbd0", "/dev/nbd0,/dev/zram0"):
        with pytest.raises(ValueError, match="another swap"):
            ways.check_swap(TIERS, {"device": device, "zswap": "N"})


def test_a_load_that_the_oom_killer_ended_is_a_result() -> None:
    killed = dict.fromkeys(TOLD, "") | {"status": 137, "pages_out": 28026}
    assert ways.parse_run(killed) is None
    run = _run(1, 1, 1, 1)
    assert ways.median_of([_run(2, 2, 2, 2), run, _run(0, 0, 0, 0)]) == run
    assert ways.median_of([run, None, run]) is None
    assert ways.median_of([]) is None
    (shown,) = ways.details({ZRAM: [run, None]})
    assert (shown["name"], shown["runs"][0]["write"], shown["runs"][1]) == ("zram alone", 1, None)


def test_each_way_is_measured_with_and_without_zswap() -> None:
    titles = [way.title for way in WAYS]
    assert len(set(titles)) == len(WAYS)
    assert sum(way.zswap for way in WAYS) * 2 == len(WAYS) - 2  # zram packs its pages itself


def test_the_claim_is_shown_or_refuted_for_each_pair() -> None:
    ours, disk = _way("netboot"), _way("disk")
    packed = _way("disk", zswap=True)
    results = {
        ours: _run(1, 1, 2, 2),
        disk: _run(2, 2, 1, 2),
        packed: _run(9, 9, 9, 9),
    }
    (line,) = ways.claims(results).splitlines()[2:]
    cells = (
        *("true, 2.0 times as fast", "**refuted**, 2.0 times as slow"),
        *("no difference", "true, 1.2 times as fast"),
    )
    assert line == f"| {ours.title} | {disk.name} | {' | '.join(cells)} |"


def test_table_and_plot_name_every_way() -> None:
    results = dict.fromkeys(WAYS, Run(1, 2, 3, 4, 5, 6, 7, 8, 9, 10))
    head, _, *rows = ways.table(results, "a load").splitlines()
    assert head.startswith("| a load | write | read |")
    figures = "1.0 s | 2.0 s | 3.0 s | 4.0 s | 10.0 s | 10.00 s | 5.0 s | 6.0 s | 7 | 8 | 9"
    assert rows == [f"| {way.title} | {figures} |" for way in WAYS]
    plot = seconds_svg({way.title: run.total for way, run in results.items()})
    assert all(way.title in plot for way in WAYS)


def test_a_load_that_was_killed_has_a_row_of_the_same_width() -> None:
    rows = ways.table({BARRED: _run(1, 1, 1, 1), ZRAM: None}, "a load").splitlines()
    assert len({row.count("|") for row in rows}) == 1
    assert rows[-1].startswith("| zram alone | OOM killer |")


def test_the_bars_of_the_load_are_decided_by_the_ways_of_the_same_network() -> None:
    tuned = next(way for way in WAYS if way.tuned and way.by == "nbd-client")
    usual = {
        BARRED: _run(1, 1, 1, 1, stall=0.5),
        _way("netboot"): _run(1, 1, 1, 2, stall=1.5),
        _way("nbd-client"): _run(1, 1, 1, 1),
        tuned: _run(1, 1, 1, 0.5),
        ZRAM: None,
    }
    fitting = {BARRED: _run(1, 1, 1, 1), ZRAM: _run(1, 1, 1, 0.5)}
    tiers = {TIERS: _run(1, 1, 1, 0.1, stall=50)}  # a peer of its own, without a bar
    bars = ways.load_bars(usual | tiers, fitting | tiers, {BARRED: None, ZRAM: None, TIERS: None})
    assert [(bar.value, bar.met) for bar in bars] == [
        (pytest.approx(5 / 3.5), False),
        (pytest.approx(4 / 3.5), False),
        (1, False),
        (1.5, False),
    ]
    assert ways.load_bars({}, {}, {}) == []


def test_the_loads_of_others_that_run_out_of_memory_miss_no_bar() -> None:
    run = _run(1, 1, 1, 1)
    bars = ways.load_bars({BARRED: run, ZRAM: None}, {BARRED: run, ZRAM: None}, {BARRED: run})
    assert [(bar.value, bar.met) for bar in bars] == [(0, True), (0, True)]


def test_the_load_is_told_to_the_guest_in_words() -> None:
    assert Load(4096, 1, 3, 2).words == "4096:1:3:2"
    words = client.arguments(ZRAM, 3, Load(4096, 1, 3, 2)).split()
    assert words == ["netboot.bench=zram", "netboot.bench_load=3:4096:1:3:2"]
    how, *_ = client.arguments(TIERS, 1, Load(4096, 1, 3, 2)).split()
    assert how.startswith("netboot.bench=zram+nbd:")
    tuned = next(way for way in WAYS if way.tuned and way.zswap)
    assert {"netboot.bench_zswap=1", "netboot.bench_tuned=1"} < set(
        client.arguments(tuned, 1, Load(4096, 1, 3, 2)).split()
    )
