"""The verdicts that the client's benchmark makes of its figures. Nothing is measured here."""

import pytest

from bench import ways
from bench.plot import seconds_svg
from bench.ways import WAYS, Run, Way

CONSOLE = """\
netboot: [   2.89] 20 hardware: eth0, driver virtio_net
[    3.079799] nbd0: detected capacity change from 0 to 1022160
[    3.086801] sys_swapon(specialfile: 411178, swap_flags: 5800a)
[    3.107809] Adding 511076k swap on nbd0.  Priority:10
netboot: [   3.03] 70 swap: /dev/nbd0, 499 MiB, 2 connections
"""


def _way(by: str, *, zswap: bool = False) -> Way:
    return next(way for way in WAYS if way.by == by and way.zswap == zswap)


def test_times_of_a_boot_are_read_from_its_console() -> None:
    assert list(ways.attach_times(CONSOLE)) == pytest.approx([140, 7.002, 28.01])
    with pytest.raises(ValueError, match="sys_swapon"):
        ways.attach_times(CONSOLE.replace("sys_swapon", ""))


def test_bars_are_decided_by_the_median() -> None:
    attach, header = ways.attach_bars([149.0, 151.0, 100.0], [9.0, 10.5, 11.0])
    assert (attach.value, attach.met) == (149.0, True)
    assert (header.value, header.met) == (10.5, False)


def test_a_run_is_cut_into_its_parts() -> None:
    told = {"written": 4.0, "verified": 10.5, "scattered": 12.0, "wrong": 0}
    told |= {"memory_us": 500000, "io_us": 2500000, "pages_out": 512, "pages_in": 256}
    assert ways.parse_run(told) == Run(4.0, 6.5, 1.5, 0.5, 2.5, 2, 1)
    assert ways.parse_run(told).total == 12.0


@pytest.mark.parametrize("wrong", [1, ""])
def test_a_load_that_failed_is_no_figure(wrong: object) -> None:
    with pytest.raises(ValueError, match="failed"):
        ways.parse_run({"written": 1, "verified": 2, "scattered": 3, "wrong": wrong})


def test_each_way_is_measured_with_and_without_zswap() -> None:
    titles = [way.title for way in WAYS]
    assert len(set(titles)) == len(WAYS)
    assert sum(way.zswap for way in WAYS) * 2 == len(WAYS)


def test_the_claim_is_shown_or_refuted_for_each_pair() -> None:
    ours, disk = _way("netboot"), _way("disk")
    packed = _way("disk", zswap=True)
    results = {
        ours: Run(1, 1, 2, 0, 0, 0, 0),
        disk: Run(2, 2, 1, 0, 0, 0, 0),
        packed: Run(9, 9, 9, 0, 0, 0, 0),
    }
    (line,) = ways.claims(results).splitlines()[2:]
    cells = ("true, 2.0 times as fast", "**refuted**, 2.0 times as slow", "true, 1.2 times as fast")
    assert line == f"| {ours.title} | {disk.name} | {' | '.join(cells)} |"


def test_table_and_plot_name_every_way() -> None:
    results = dict.fromkeys(WAYS, Run(1, 2, 3, 4, 5, 6, 7))
    assert all(f"| {way.title} | 1.0 s |" in ways.table(results) for way in WAYS)
    plot = seconds_svg({way.title: run.total for way, run in results.items()})
    assert all(way.title in plot for way in WAYS)
