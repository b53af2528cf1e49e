"""The text of a seat's report of itself, both ways."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netboot.errors import ProtocolError
from netboot.feed.records import Pressure, Report
from netboot.feed.report import KIB, MAX_AREAS, MAX_BYTES, parse, text

SAMPLE = (
    "v=1&d=1,4700&m=2012340&a=1012340&z=40960,12288&s=123456/524284&p=12.34,0.00&i=1.20,0.00&f=5678"
    "&r=9,1234&o=0&l=0.12&y=8.5&u=1&k=kiosk"
)
REPORT = Report(
    when=7.0,
    memory=2012340 * KIB,
    available=1012340 * KIB,
    areas=((123456 * KIB, 524284 * KIB),),
    pressure=Pressure(12.34, 0.0, 1.2, 0.0),
    zswap=(40960 * KIB, 12288 * KIB),
    refaults=1243,
    major_faults=5678,
    load=0.12,
    losses=1,
    longest_loss=4.7,
    users=1,
    screen="kiosk",
    copied=8.5,
)


def shares() -> st.SearchStrategy[float]:
    return st.integers(0, 10000).map(lambda hundredths: hundredths / 100)


def sizes(most: int = 16 << 20) -> st.SearchStrategy[int]:
    return st.integers(0, most).map(lambda kib: kib * KIB)


def areas() -> st.SearchStrategy[tuple[tuple[int, int], ...]]:
    area = st.tuples(sizes(4 << 20), sizes(4 << 20)).map(lambda pair: (min(pair), max(pair)))
    return st.lists(area, max_size=MAX_AREAS).map(tuple)


reports = st.builds(
    Report,
    when=st.just(7.0),
    memory=sizes(),
    available=sizes(),
    areas=areas(),
    pressure=st.builds(Pressure, shares(), shares(), shares(), shares()),
    zswap=st.tuples(sizes(), sizes()),
    refaults=st.integers(0, 10**9),
    major_faults=st.integers(0, 10**7),
    oom_kills=st.integers(0, 99),
    load=st.integers(0, 9999).map(lambda hundredths: hundredths / 100),
    losses=st.integers(0, 99),
    longest_loss=st.integers(0, 99999).map(lambda ms: ms / 1000),
    users=st.integers(-1, 9),
    screen=st.text("abcxyz", max_size=7),
    copied=st.just(-1.0) | st.integers(0, 1000).map(lambda tenths: tenths / 10),
)


def test_a_report_of_a_seat() -> None:
    assert parse(SAMPLE, 7.0) == REPORT
    assert parse(text(REPORT), 7.0) == REPORT


@given(reports)
def test_what_a_seat_writes_is_read_as_it_was(report: Report) -> None:
    written = text(report)
    assert len(written.encode()) <= MAX_BYTES
    fits = written.count("&") == 14
    assert parse(written, 7.0) == report or not fits


@given(
    st.builds(
        Report,
        when=st.just(1.0),
        memory=st.integers(0, 2**49),
        areas=st.lists(st.just((2**48, 2**49)), max_size=9).map(tuple),
        major_faults=st.integers(0, 10**15 - 1),
        refaults=st.integers(0, 10**15 - 1),
        screen=st.text("k", max_size=12),
    )
)
def test_a_report_with_large_figures_is_cut_between_two_of_them(report: Report) -> None:
    written = text(report)
    assert len(written) <= MAX_BYTES
    read = parse(written, 1.0)
    assert read.memory == report.memory // KIB * KIB
    if "&s=" in written:
        assert (read.swap_used, read.swap_size) == (report.swap_used, report.swap_size)


@given(
    st.text(max_size=220)
    | st.text("vmaszpfroldukxy=&,/.0123456789", max_size=220).map("v=1&".__add__)
)
def test_any_text_is_a_report_or_a_reason_of_one_line(said: str) -> None:
    try:
        report = parse(said, 0.0)
    except ProtocolError as error:
        assert str(error).startswith("report: ") and str(error).isprintable()
        assert len(str(error)) < 150
    else:
        assert 0 <= report.swap_used <= report.swap_size
        assert report.pressure.memory_some <= 100


def test_what_a_seat_does_not_know_is_empty() -> None:
    unknown = parse("v=1&m=&a=&z=,&s=&p=,&i=,&f=&r=,&o=&l=&d=,&y=&u=&k=", 0.0)
    assert unknown == Report(when=0.0) == parse("v=1", 0.0)
    assert (unknown.users, unknown.screen) == (-1, "")


def test_reports_of_earlier_agents_are_read() -> None:
    assert parse(SAMPLE.replace("&y=8.5", ""), 7.0) == replace(REPORT, copied=-1.0)


def test_keys_of_a_later_version_are_passed_over() -> None:
    assert parse(f"{SAMPLE.replace('v=1', 'v=2')}&new=x/y,z", 7.0) == REPORT


def test_further_areas_are_told_with_the_last_one() -> None:
    many = replace(REPORT, areas=tuple((KIB, 2 * KIB) for _ in range(7)))
    assert parse(text(many), 7.0).areas == (*many.areas[:3], (4 * KIB, 8 * KIB))


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("", "report: key 'v': expected the version first, v=1, found ''"),
        ("m=1&v=1", "report: key 'v': expected the version first, v=1, found 'm=1'"),
        ("v=0", "report: key 'v': expected the version first, v=1, found 'v=0'"),
        ("v=1&m", "report: key 'm': expected KEY=VALUE, found 'm'"),
        ("v=1&m=1&m=2", "report: key 'm' is given twice"),
        ("v=1&m=-1", "report: key 'm': expected a whole number of at most 15 digits, found '-1'"),
        ("v=1&m=٣", "report: key 'm': expected a whole number of at most 15 digits, found '٣'"),
        (
            f"v=1&f={'9' * 16}",
            f"report: key 'f': expected a whole number of at most 15 digits, found '{'9' * 16}'",
        ),
        ("v=1&z=1", "report: key 'z': expected two numbers with a comma, found '1'"),
        ("v=1&d=7", "report: key 'd': expected two numbers with a comma, found '7'"),
        ("v=1&s=3/2", "report: key 's': expected USED/SIZE, with USED at most SIZE, found '3/2'"),
        ("v=1&s=1", "report: key 's': expected USED/SIZE, with USED at most SIZE, found '1'"),
        (
            "v=1&s=" + ",".join(["0/1"] * 5),
            "report: key 's': expected at most 4 areas, found '0/1,0/1,0/1,0/1,0/1'",
        ),
        ("v=1&p=1,2,3", "report: key 'p': expected a number from 0 to 100, found '2,3'"),
        ("v=1&i=0,100.01", "report: key 'i': expected a number from 0 to 100, found '100.01'"),
        ("v=1&p=0,1e1", "report: key 'p': expected a number from 0 to 100, found '1e1'"),
        ("v=1&l=nan", "report: key 'l': expected a number from 0 to 99999, found 'nan'"),
        ("v=1&k=<b>", "report: key 'k': expected at most 12 small letters, found '<b>'"),
        ("v=1&k=\x1b[2J", "report: key 'k': expected at most 12 small letters, found '?[2J'"),
        ("v=1&x=" + "y" * 195, "report: expected at most 200 bytes, found 201"),
    ],
)
def test_a_wrong_report_has_one_reason(said: str, reason: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse(said, 0.0)
    assert str(caught.value) == reason
