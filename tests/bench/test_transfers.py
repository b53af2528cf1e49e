"""The verdicts that the benchmark of downloads makes of its figures. Nothing is measured."""

from dataclasses import replace

from bench import transfers
from bench.report import OURS
from bench.transfers import ROWS, Sample

SAMPLE = Sample(done=32, failed=0, mb_per_s=100.0, server_cpu=2.0, client_cpu=1.0)


def test_bars_compare_with_the_best_peer_of_a_row() -> None:
    lockstep, _, window, *_, http = (row for row in ROWS if row.at_once == 32)
    slower = replace(SAMPLE, mb_per_s=80.0, server_cpu=2.5)
    results = {
        lockstep: {OURS: slower, "dnsmasq": SAMPLE, "tftpy": slower},
        window: {OURS: slower, "atftpd": SAMPLE},
        http: {OURS: slower, "nginx": SAMPLE},
    }
    found = [(each.value, each.bar, each.met) for each in transfers.verdicts(results)]
    assert found == [(0.8, 0.7, True), (0.8, 1.0, False), (0.8, 0.95, False), (1.25, 1.3, True)]


def test_of_two_hundred_none_fails() -> None:
    row = next(row for row in ROWS if row.at_once == 200)
    for failed, met in ((0, True), (1, False)):
        (verdict,) = transfers.verdicts({row: {OURS: replace(SAMPLE, failed=failed)}})
        assert verdict.met is met


def test_the_worst_of_failures_counts_and_the_median_of_the_rest() -> None:
    samples = [SAMPLE, replace(SAMPLE, failed=2, done=30, mb_per_s=50), SAMPLE]
    median = transfers.median_of(samples)
    assert (median.failed, median.done, median.mb_per_s) == (2, 30, 100)
    assert transfers.median_of([replace(SAMPLE, server_cpu=None)]).server_cpu is None


def test_table_and_json_name_every_row_and_server() -> None:
    results = {row: dict.fromkeys((OURS, *row.peers), SAMPLE) for row in ROWS}
    assert transfers.table(results).count("\n") == 1 + sum(len(each) for each in results.values())
    document = transfers.details(results)
    assert [row["name"] for row in document["rows"]] == [row.name for row in ROWS]
