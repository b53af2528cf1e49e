"""The bars of the disk store's benchmark. Nothing is measured here."""

from pathlib import Path

from bench.scale import disk
from bench.scale.disk import AS_IT_IS, PACED, Sample

SAMPLES = {
    AS_IT_IS: [Sample(100_000, 50_000, 9000, 20), Sample(100_000, 40_000, 9000, 20)],
    PACED: [Sample(20_000, 15_000, 12_000, 25)],
}


def test_bars_are_shares_of_fio_and_of_an_idle_seat() -> None:
    as_it_is, paced, beside = disk.verdicts(SAMPLES, 200, 500)
    assert (as_it_is.value, as_it_is.met) == (0.45, False)
    assert (paced.value, paced.met) == (0.75, True)
    assert (beside.value, beside.met) == (2.5, False)


def test_the_table_has_medians_and_both_latencies() -> None:
    lines = disk.table(SAMPLES, 200, 500).splitlines()
    assert "| as it is | 100000 | 45000 | 9.0 | 20.0 |" in lines
    assert lines[-1] == "| beside a read that takes 1 s | 500 |"


def test_a_file_that_is_forgotten_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(range(256)) * 64)
    disk.forget([path])
    assert path.read_bytes() == bytes(range(256)) * 64
