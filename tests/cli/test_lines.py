"""Lines that a thread writes: in order, whole, and without waiting for a reader."""

import contextlib
import errno
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

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


def test_a_full_disk_loses_lines_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    # Of the first lines the disk takes 6 bytes, then nothing for two tries, then all.
    rooms = iter([6, 0, 0])
    really = os.write

    def write(descriptor: int, data: bytes) -> int:
        room = next(rooms, len(data)) if descriptor == file else len(data)
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return really(descriptor, data[:room])

    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(lines, "RETRY_SECONDS", 0.001)
    output = Lines(file, lost)
    for line in ("one", "two", "three"):
        output.write(line)
    output.drain(10)
    output.write("after")
    output.drain(10)
    text = (tmp_path / "log").read_text()
    assert text.splitlines() == ["one", "tw", lost(2), "after"]
    os.close(file)


def test_a_pipe_that_does_not_block_is_waited_for(pipe: Pipe) -> None:
    reader, writer = pipe
    os.set_blocking(writer, False)
    output = Lines(writer, lost)
    line = "x" * 1000
    for _ in range(200):  # the pipe takes 65
        output.write(line)
    got = b""
    while got.count(b"\n") < 200:
        got += os.read(reader, 1 << 16)
    assert set(got.decode().splitlines()) == {line}


def test_lines_are_dropped_once_the_reader_is_gone(pipe: Pipe) -> None:
    reader, writer = pipe
    os.close(reader)
    output = Lines(writer, lost)
    output.write("one")
    output.drain(10)
    output.write("two")
    output.drain(10)
