"""The verdicts that the benchmark of a start makes. Nothing is measured."""

from bench import start
from bench.start import ROWS, Sample

SAMPLE = Sample(nbd=0.4, http=0.42, tftp=0.41, dhcp=0.92, cpu=0.5)


def test_a_first_start_may_listen_before_it_answers_dhcp() -> None:
    found = start.verdicts(dict.fromkeys(ROWS, SAMPLE), (0.16, 0.1))
    assert {each.name: each.met for each in found} == {
        f"{mode} mode, a {kind} start: {door}, s": kind == "first" or door != "DHCP"
        for mode in ("full", "proxy")
        for kind in ("later", "first")
        for door in ("NBD, HTTP and TFTP", "DHCP")
    } | {"netboot --help, s": False}


def test_the_slowest_of_the_other_doors_counts() -> None:
    found = start.verdicts({ROWS[0]: SAMPLE}, (0.1, 0.1))
    assert [each.value for each in found] == [0.42, 0.92, 0.1]


def test_the_table_has_a_line_for_each_start() -> None:
    lines = start.table(dict.fromkeys(ROWS, SAMPLE), (0.1, 0.1)).splitlines()
    assert len(lines) == 2 + len(ROWS) + 1
    assert len({line.count("|") for line in lines}) == 1
