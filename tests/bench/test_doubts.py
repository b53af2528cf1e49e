"""The benchmark finds the rows that cannot be true."""

from dataclasses import replace

from bench import doubts
from bench.doubts import Doubt
from bench.report import OURS
from bench.rows import Row, Sample

ROW = Row("randread", 4096, 32, 8)
SAMPLE = Sample(
    iops=100_000,
    mb_per_s=409.6,
    mean_us=2560,  # 256 requests in flight
    p50_us=2000,
    p99_us=9000,
    max_us=20000,
    cpu_us=8.0,
    load_us=2.0,  # one CPU in all
)


def test_a_row_that_can_be_true_is_believed() -> None:
    assert doubts.doubts({ROW: {OURS: SAMPLE}}, cpus=1) == []
    assert doubts.table([]) == "Every row can be true."


def test_connections_that_were_not_at_work_are_noticed() -> None:
    half = replace(SAMPLE, mean_us=SAMPLE.mean_us / 2)
    (doubt,) = doubts.doubts({ROW: {"nbd-server": half}}, cpus=1)
    assert (doubt.row, doubt.server) == (ROW.name, "nbd-server")
    assert doubt.why == "128.0 requests were in flight, and 256 were meant to be"


def test_nobody_uses_more_cpu_than_there_is() -> None:
    busy = replace(SAMPLE, cpu_us=25.0)
    assert doubts.doubts({ROW: {OURS: busy}}, cpus=4) == []
    (doubt,) = doubts.doubts({ROW: {OURS: busy}}, cpus=2)
    assert doubt.why == "2.70 s of CPU in a second, with 2 of them"


def test_a_pinned_row_has_one_cpu() -> None:
    busy = replace(SAMPLE, cpu_us=12.0)
    (doubt,) = doubts.doubts({replace(ROW, form="pinned"): {OURS: busy}}, cpus=2)
    assert doubt.why == "1.40 s of CPU in a second, with 1 of them"


def test_one_cpu_does_not_do_more_because_more_ask() -> None:
    many = replace(ROW, form="pinned")
    alone = replace(SAMPLE, iops=SAMPLE.iops / 2.5, mean_us=800, cpu_us=23.0)
    results = {replace(many, connections=1): {"nbd-server": alone}, many: {"nbd-server": SAMPLE}}
    (doubt,) = doubts.doubts(results, cpus=1)
    assert doubt.why.startswith("2.5 times its own rate for each second of CPU with one connection")


def test_a_server_that_waits_for_one_connection_may_do_more_with_many() -> None:
    # qsd, writes of 4 KiB at depth 32: it waits 44 ms after each batch (measured).
    many = replace(ROW, form="pinned")
    alone = replace(SAMPLE, iops=727, mean_us=44_000)
    results = {replace(many, connections=1): {"qsd": alone}, many: {"qsd": SAMPLE}}
    assert doubts.doubts(results, cpus=1) == []


def test_fio_is_held_against_the_same_law() -> None:
    good = replace(SAMPLE, fio_iops=50_000.0, fio_mean_us=5120.0, fio_cpu_us=10.0)
    assert doubts.fio_doubts({ROW: {OURS: good, "nbdkit": SAMPLE}}) == []
    (doubt,) = doubts.fio_doubts({ROW: {OURS: replace(good, fio_mean_us=2000.0)}})
    assert doubt.why == "fio: 100.0 requests were in flight, and 256 were meant to be"


def test_a_doubted_figure_decides_no_bar_and_is_in_the_table() -> None:
    doubt = Doubt(ROW.name, "nbdkit", "why")
    left = doubts.believed({ROW: {OURS: SAMPLE, "nbdkit": SAMPLE}}, [doubt])
    assert left == {ROW: {OURS: SAMPLE}}
    assert f"| {ROW.name} | nbdkit | why |" in doubts.table([doubt])
