"""Whatever a server sends becomes a record, an error with its reason, or nothing; never an exception."""

import dataclasses
import json
import math
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netboot.feed.reading import LONG, MAX_REASON, Lines, Reader, Wrong, read
from netboot.feed.records import (
    KINDS,
    MAX_LINE_BYTES,
    Event,
    Gone,
    Hardware,
    Hello,
    Pages,
    Plan,
    Pressure,
    Record,
    Report,
    SeatRow,
    ServerRow,
    Trouble,
    line,
)

MAC = "52:54:00:12:34:56"
RECORDS: tuple[Record, ...] = (
    Hello("server", "0.3.0", "a1b2", 1795896260.5, 1, 77),
    Plan((("row1-1", "", "row1-2"), ())),
    SeatRow(MAC, "row1-1"),
    SeatRow(
        MAC,
        "row1-1",
        ("first", "old"),
        named=True,
        state="short",
        since=2.0,
        hardware=Hardware(1 << 30, "8086:100e", "e1000", "bios", "6.12.0"),
        pages=Pages(2, 1 << 29, 4096, 1, 2, 0.5, 1.5),
        report=Report(5.0, 1, 2, ((1, 2), (3, 4)), Pressure(10.5, 1.0), (5, 6), users=-1),
        trouble=Trouble(4.0, "swap", "message", "remedy"),
    ),
    Event(5, 4.5, MAC, "http", "vmlinuz", {"bytes": 5, "list": [1, None, {"a": True}], "z": 0.5}),
    Gone(MAC),
    ServerRow(1.0, latency=(0, 5), disk=(1, 2), refused={"no room": 3}),
)


def test_every_kind_of_record_has_an_example() -> None:
    assert {type(record) for record in RECORDS} == set(KINDS.values()) == set(get_args(Record))


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_line_reads_back_as_its_record(record: Record) -> None:
    assert read(line(record).rstrip(b"\n")) == record


def test_what_a_newer_server_adds_is_left_out() -> None:
    gone = {"type": "gone", "mac": MAC, "why": {"since": [1]}}
    assert read(json.dumps(gone).encode()) == Gone(MAC)
    assert read(b'{"type": "weather", "rain": true}') is None
    row = dataclasses.asdict(RECORDS[3]) | {"type": "seat", "mood": "good"}
    row["report"]["temperature"] = 40
    assert read(json.dumps(row).encode()) == RECORDS[3]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b'"\\ud800"', "expected an object"),
        (b'{"type": "gone", "mac": "\\ud800"}', "gone: expected a MAC address, found '?'"),
        (b'{"type": "gone", "mac": "<img src=x>"}', "gone: expected a MAC address"),
        (b'{"type": "seat", "mac": "../../x", "name": "n"}', "seat: expected a MAC address"),
        (
            b'{"type": "event", "number": 1, "when": 1, "seat": "x", "stage": "s", "message": ""}',
            "event: e",
        ),
        (b'{"type": "gone", "mac": ' + b"9" * 5000 + b"}", "no JSON"),
        ('{"type": "gone"}'.encode("utf-16"), "no JSON"),
        (b"[" * 60_000, "no JSON"),
        (b"[]", "expected an object"),
        (b"null", "expected an object"),
        (b"{}", "type: expected a name"),
        (b'{"type": ["gone"]}', "type: expected a name"),
        (b'{"type": "gone"}', "gone: mac: "),
        (b'{"type": "gone", "mac": 5}', "gone: mac: "),
        (b'{"type": "server", "when": "5"}', "server: when: "),
        (b'{"type": "server", "when": NaN}', "no JSON"),
        (b'{"type": "server", "when": 1, "disk": [1]}', "server: disk"),
        (b'{"type": "server", "when": 1, "memory": 1.5}', "server: memory"),
        (b'{"type": "server", "when": 1, "memory": true}', "server: memory"),
        (b'{"type": "seat", "mac": "m", "name": "n", "state": "dead"}', "seat: state"),
        (b'{"type": "seat", "mac": "m", "name": "n", "report": {}}', "seat: report.when"),
        (b'{"type": "event", "number": 1}', "event: when"),
        (b'{"type": "plan", "rows": "front"}', "plan: rows"),
        (b"x" * (MAX_LINE_BYTES + 1), LONG),
    ],
)
def test_a_wrong_line_says_what_is_wrong(text: bytes, reason: str) -> None:
    found = read(text)
    assert isinstance(found, Wrong)
    assert found.reason.startswith(reason)
    assert len(found.reason) <= MAX_REASON and found.reason.isprintable()


@pytest.mark.parametrize(
    "number",
    ["1e999", "-1e999", "Infinity", "-Infinity", "1e300", "-1e19", f"{1 << 63}", f"{-(1 << 64)}"],
)
def test_no_record_has_a_figure_that_nobody_can_reckon_with(number: str) -> None:
    found = read(f'{{"type": "server", "when": {number}}}'.encode())
    assert isinstance(found, Wrong)
    found = read(f'{{"type": "event", "data": {{"a": [{number}]}}}}'.encode())
    assert isinstance(found, Wrong)


def test_a_row_that_is_no_row_of_ours_is_left_out() -> None:
    assert isinstance(
        read(line(SeatRow(MAC, "row1-1", message="x" * 15_000)).rstrip(b"\n")), SeatRow
    )
    found = read(line(SeatRow(MAC, "row1-1", message="x" * 16_400)).rstrip(b"\n"))
    assert found == Wrong("seat: more than 16384 bytes")


def test_a_histogram_has_as_many_buckets_as_there_are_powers() -> None:
    row = ServerRow(1.0, latency=(1,) * 64)
    assert read(line(row).rstrip(b"\n")) == row
    assert isinstance(read(line(ServerRow(1.0, latency=(1,) * 65)).rstrip(b"\n")), Wrong)


@pytest.mark.parametrize("letter", ("\x1b", "\x07", "\0", "\x9b", "\u202e", "\u2028", "\ud800"))
def test_no_text_acts_on_a_terminal_or_turns_the_writing(letter: str) -> None:
    event = Event(5, 4.5, MAC, "http", f"a{letter}b", {f"k{letter}": [f"{letter}c"]})
    expected = Event(5, 4.5, MAC, "http", "a?b", {"k?": ["?c"]})
    assert read(line(event).rstrip(b"\n")) == expected
    row = json.dumps(dataclasses.asdict(SeatRow(MAC, letter)) | {"type": "seat"}).encode()
    assert read(row) == SeatRow(MAC, "?")


def test_accents_and_the_lines_of_a_console_stay() -> None:
    event = Event(5, 4.5, MAC, "failed:swap", "Café „ö“ ✓", {"console": "one\n\ttwo\n"})
    assert read(line(event).rstrip(b"\n")) == event
    raw = json.dumps(dataclasses.asdict(event) | {"type": "event"}, ensure_ascii=False)
    assert read(raw.encode()) == event


def test_a_long_line_is_thrown_away_and_the_next_one_is_read() -> None:
    lines = Lines()
    assert lines.feed(b"x" * MAX_LINE_BYTES) == []
    assert lines.feed(b"x") == [Wrong(LONG)]
    assert lines.feed(b"x" * 10_000_000) == []
    assert lines.feed(b"x\nnext\n\n") == [b"next"]
    assert lines.feed(b"x" * MAX_LINE_BYTES + b"\n") == [b"x" * MAX_LINE_BYTES]


def test_a_reader_yields_records_and_errors_and_leaves_out_what_it_does_not_know() -> None:
    reader = Reader()
    text = line(Gone(MAC)) + b'{"type": "weather"}\nnonsense\n' + line(Plan())
    found = [record for at in range(len(text)) for record in reader.feed(text[at : at + 1])]
    assert [type(record) for record in found] == [Gone, Wrong, Plan]


@settings(deadline=None)
@given(st.lists(st.sampled_from(RECORDS)), st.data())
def test_the_cuts_of_the_stream_change_nothing(records: list[Record], data: st.DataObject) -> None:
    text = b"".join(line(record) for record in records)
    reader, found = Reader(), list[Record | Wrong]()
    while text:
        size = data.draw(st.integers(1, len(text)))
        found += reader.feed(text[:size])
        text = text[size:]
    assert found == records


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=40)))
def test_no_bytes_raise(parts: list[bytes]) -> None:
    reader = Reader()
    for part in parts:
        assert all(isinstance(each, Wrong) for each in reader.feed(part))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


def _has_no_strange_figure(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_has_no_strange_figure(each) for each in value.values())
    if isinstance(value, list | tuple):
        return all(_has_no_strange_figure(each) for each in value)
    return not isinstance(value, float) or math.isfinite(value)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(RECORDS), st.data(), VALUES)
def test_a_record_with_a_value_of_another_type_is_wrong_or_well_formed(
    record: Record, data: st.DataObject, value: Any
) -> None:
    content = json.loads(line(record))
    content[data.draw(st.sampled_from(sorted(content)))] = value
    found = read(json.dumps(content).encode())
    if isinstance(found, Wrong):
        assert found.reason
    elif found is not None:
        assert _has_no_strange_figure(dataclasses.asdict(found))
        assert read(line(found).rstrip(b"\n")) == found
