"""Entries of the journal: each field is one, whatever a PC says."""

import os
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netboot.host import journald
from netboot.host.journald import MOST_BYTES, Journald, Priority, entry, is_journal
from tests.support.journal import journal_at, parsed, stream


def test_an_entry_has_its_message_priority_and_fields() -> None:
    data = entry("pc-1 swap: 512 MiB", Priority.INFO, {"SEAT": "00:1e:37:11:22:33"})
    assert data == b"MESSAGE=pc-1 swap: 512 MiB\nPRIORITY=6\nSEAT=00:1e:37:11:22:33\n"


@given(st.text(max_size=300), st.text(max_size=30))
def test_no_text_makes_a_field_of_its_own(message: str, stage: str) -> None:
    found = parsed(entry(message, Priority.ERROR, {"STAGE": stage}))
    as_sent = [text.encode("utf-8", "replace").decode() for text in (message, stage)]
    assert found == {"MESSAGE": as_sent[0], "PRIORITY": "3", "STAGE": as_sent[1]}


@pytest.mark.parametrize("mark", ["x", "\n"])
def test_a_long_message_is_cut(mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journald, "SOCKET", str(tmp_path / "socket"))
    with journal_at(tmp_path / "socket") as journal, closing(Journald()) as sender:
        assert sender.send([entry(mark * 10**6, Priority.INFO, {})]) == 1
        assert journal.take()["MESSAGE"] == mark * MOST_BYTES


def test_only_a_descriptor_that_systemd_named_is_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    assert not is_journal(writer)
    monkeypatch.setenv("JOURNAL_STREAM", stream(writer))
    assert is_journal(writer)
    # As in a program of a service whose output goes elsewhere.
    with (tmp_path / "log").open("w") as log:
        assert not is_journal(log.fileno())
    os.close(writer)
    os.close(reader)
    assert not is_journal(writer)


def test_a_journal_that_is_away_takes_nothing_and_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journald, "SOCKET", str(tmp_path / "socket"))
    sender = Journald()
    entries = [entry(word, Priority.INFO, {}) for word in ("one", "two")]
    assert sender.send(entries) == 0
    for _ in range(2):  # it is restarted
        with journal_at(tmp_path / "socket") as journal:
            assert sender.send(entries) == 2
            assert [journal.take()["MESSAGE"] for _ in entries] == ["one", "two"]
        assert sender.send(entries) == 0
    sender.close()
