"""Lines that a thread writes: in order, whole, and without waiting for a reader."""

import contextlib
import json
import logging
import os
from collections.abc import Iterator

import pytest

from netboot.cli import lines
from netboot.cli.lines import Lines, LinesHandler

Pipe = tuple[int, int]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    reader, writer = os.pipe()
    yield reader, writer
    for descriptor in (reader, writer):
        with contextlib.suppress(OSError):  # closed by the test
            os.close(descriptor)


def lost(count: int) -> str:
    return json.dumps({"lost": count})


def test_all_lines_come_in_order(pipe: Pipe) -> None:
    reader, writer = pipe
    output = Lines(writer, lost)
    sent = [f"{number} grüße" for number in range(2000)]
    for line in sent:
        output.write(line)
    got = b""
    while got.count(b"\n") < len(sent):
        got += os.read(reader, 1 << 16)
    output.drain(10)
    assert got.decode().splitlines() == sent


def test_a_pipe_without_a_reader_blocks_no_writer(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "KEPT", 100)
    reader, writer = pipe
    output = Lines(writer, lost)
    line = "x" * 1000
    for _ in range(1000):  # the pipe takes 65
        output.write(line)
    output.drain(0.01)
    got = b""
    while b"lost" not in got:
        got += os.read(reader, 1 << 16)
    output.write("after")
    output.drain(10)
    got += os.read(reader, 1 << 16)
    *kept, told, last = got.decode().splitlines()
    assert set(kept) == {line} and json.loads(told) == {"lost": 1000 - len(kept)}
    assert 100 <= len(kept) < 200 and last == "after"


def test_a_log_record_is_a_line(pipe: Pipe) -> None:
    reader, writer = pipe
    output = Lines(writer, lost)
    handler = LinesHandler(output)
    handler.handle(logging.LogRecord("a", logging.WARNING, "", 1, "seat %d", (14,), None))
    output.drain(10)
    assert os.read(reader, 1 << 16) == b"seat 14\n"


def test_lines_are_dropped_once_the_reader_is_gone(pipe: Pipe) -> None:
    reader, writer = pipe
    os.close(reader)
    output = Lines(writer, lost)
    output.write("one")
    output.drain(10)
    output.write("two")
    output.drain(10)
