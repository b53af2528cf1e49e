"""The verdicts that the benchmark makes of its figures. Nothing is measured here."""

from dataclasses import replace
from typing import Any

import pytest

from bench import dhcp, dhcp_load, fio, rows
from bench.plot import svg
from bench.report import OURS, medians, verdict_table
from bench.rows import FLOOR, Row, Sample
from netboot.serve.dhcp.packet import MessageType, parse
from tools.plots.figures import cell

ROW = Row("randread", 4096, 32, 1, "pinned")


def _sample(iops: float, cpu_us: float = 5.0) -> Sample:
    times = (1e6 / iops, 1e6 / iops, 2e6 / iops, 9e6 / iops)
    return Sample(iops, iops * 4096 / 1e6, *times, cpu_us, 1.0)


def _side(total: int, mean: float) -> dict[str, Any]:
    latency = {"mean": mean, "percentile": {"99.000000": mean * 2}}
    return {"total_ios": total, "iops": float(total), "bw_bytes": total * 4096, "lat_ns": latency}


def test_fio_json_of_a_mixed_load_is_weighted() -> None:
    job = {"error": 0, "read": _side(300, 1000.0), "write": _side(100, 5000.0)}
    got = fio.parse({"jobs": [job]}, ramp_share=0.5)
    assert (got.requests, got.iops, got.mean_us, got.p99_us) == (600, 400.0, 2.0, 10.0)
    assert got.mb_per_s == pytest.approx(400 * 4096 / 1e6)


def test_fio_error_is_not_a_figure() -> None:
    with pytest.raises(RuntimeError, match="error 5"):
        fio.parse({"jobs": [{"error": 5}]})


def test_pinned_rows_pin_fio() -> None:
    assert fio.command("nbd://x", ROW, 1 << 20, 1.0, cpu=0)[:3] == ["taskset", "-c", "0"]
    assert fio.command("nbd://x", ROW, 1 << 20, 1.0, cpu=None)[0] == "fio"


def test_bars_compare_with_the_best_peer_of_each_figure() -> None:
    samples = {
        OURS: _sample(150, 2.0),
        "nbdkit": _sample(100, 4.0),
        "qsd": _sample(50, 3.0),
        FLOOR: _sample(300, 0.8),
    }
    found = {each.name: each for each in rows.verdicts({ROW: samples})}
    iops = found["pinned randread 4k d32 c1: iops / best peer"]
    cpu = found["pinned randread 4k d32 c1: cpu_us / best peer"]
    floor = found["pinned randread 4k d32 c1: cpu_us / floor"]
    assert (iops.value, iops.met) == (1.5, True)
    assert cpu.value == pytest.approx(2 / 3)
    assert not cpu.met
    assert (floor.value, floor.met) == (2.5, False)


def test_another_commit_of_ours_is_no_peer_and_is_at_most_three_percent_faster() -> None:
    samples = {OURS: _sample(98), rows.BEFORE: _sample(100)}
    (alone,) = rows.verdicts({ROW: samples})
    assert (alone.name, alone.value, alone.met) == (f"{ROW.name}: iops / before", 0.98, True)
    (slower, *_) = rows.verdicts({ROW: {**samples, OURS: _sample(96), "nbdkit": _sample(50)}})
    assert not slower.met


def test_many_connections_are_compared_with_our_own_eight() -> None:
    results = {
        Row("randread", 4096, 32, count): {OURS: _sample(iops), "nbdkit": _sample(100)}
        for count, iops in ((8, 260), (32, 190))
    }
    found = {each.name: each for each in rows.verdicts(results)}
    assert found["free randread 4k d32 c8: iops / best peer"].met
    assert not found["free randread 4k d32 c32: iops / ours at c8"].met


def test_every_bar_is_in_the_quick_form() -> None:
    def bars(wanted: list[Row]) -> set[str]:
        samples = {name: _sample(100) for name in (OURS, "nbdkit", FLOOR)}
        return {each.name for each in rows.verdicts(dict.fromkeys(wanted, samples))}

    assert bars(rows.quick_rows()) == bars(rows.full_rows())
    assert len(rows.quick_rows()) < len(rows.full_rows()) / 2


def test_median_is_of_each_figure() -> None:
    samples = [_sample(100, 1.0), _sample(300, 9.0), _sample(200, 2.0)]
    middle = medians(samples)
    assert (middle["iops"], middle["cpu_us"]) == (200, 2.0)


def test_median_is_of_the_samples_that_have_the_figure() -> None:
    samples = [replace(_sample(100), fio_iops=70.0), _sample(300)]
    middle = medians(samples)
    assert (middle["fio_iops"], middle["fio_cpu_us"]) == (70, None)


def test_table_json_and_plot_name_every_server() -> None:
    results = {ROW: {OURS: replace(_sample(150), fio_iops=70.0), "nbdkit": _sample(100)}}
    found = rows.verdicts(results)
    ours, peer = rows.table(results).splitlines()[2:]
    assert ours.startswith("| pinned randread 4k d32 c1 | netboot | 150 |")
    assert ours.endswith("| 1.00 | 70 | 1.50 |")
    assert peer.endswith("| 1.00 | - | 1.00 |")
    assert verdict_table(found).count("\n") == 1 + len(found)
    assert set(rows.details(results)["rows"][0]["servers"]) == {OURS, "nbdkit"}
    assert svg(results).count("<title>") == 2


def test_the_plot_has_every_server_that_can_be_measured() -> None:
    servers = (OURS, *rows.PEERS, rows.FLOOR, rows.BEFORE)
    drawn = svg({ROW: dict.fromkeys(servers, _sample(100))})
    assert [drawn.count(f">{name}</text>") for name in servers] == [1] * len(servers)


def test_full_results_are_tables_that_the_plots_can_read() -> None:
    page = rows.full_results(
        {ROW: {OURS: _sample(150), "nbdkit": replace(_sample(100), cpu_us=2.5)}}
    )
    load = [ROW.name]
    assert cell(page, load, OURS, under="IOPS") == "150"
    assert cell(page, load, "nbdkit", under="Server CPU, microseconds for each request") == "2.5"
    assert " / " in cell(page, load, OURS, under="Latency, mean / p99 in microseconds")
    assert cell(page, load, FLOOR, under="IOPS") == ""


def _dhcp(in_time: float, per_second: float) -> dhcp.Sample:
    return dhcp.Sample(500, in_time, in_time, 1.0, 2.0, 3.0, per_second, 100.0)


def test_a_dhcp_client_of_the_load_is_a_pxe_client() -> None:
    packet = parse(dhcp_load.frame(513, 1)[dhcp_load.BOOTP_AT :])
    assert (packet.message_type, packet.mac) == (MessageType.DHCPDISCOVER, "52:54:00:00:02:01")
    assert (packet.xid, packet.options[93]) == (513, b"\0\x07")


def test_bars_of_dhcp_are_none_lost_and_a_rate() -> None:
    storm, closed = dhcp.ROWS[1], dhcp.ROWS[-1]
    results = {
        storm: {OURS: _dhcp(500, 4000), "kea": _dhcp(167, 19000)},
        closed: {OURS: _dhcp(500, 4000)},
    }
    assert [(bar.value, bar.met) for bar in dhcp.verdicts(results)] == [(1.0, True), (4000, False)]
    assert "0.21" in dhcp.table(results)


def test_offers_a_second_have_a_bar_beside_the_peer_that_does_not_ping() -> None:
    results = {dhcp.ROWS[-1]: {OURS: _dhcp(500, 5000), dhcp.PEER: _dhcp(500, 20000)}}
    assert [(bar.value, bar.met) for bar in dhcp.verdicts(results)] == [(5000, True), (0.25, False)]


def test_one_run_that_loses_a_dhcp_client_counts() -> None:
    assert dhcp.median_of([_dhcp(500, 1), _dhcp(499, 2), _dhcp(500, 3)]).in_time == 499
