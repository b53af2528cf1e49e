"""What a server says: at which level, as a line or as an entry of the journal."""

import json
import logging
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from netboot.boot.events import BootEvent
from netboot.cli import room_lines, telling
from netboot.cli.telling import LEVELS, Telling, level_of, priority_of
from netboot.errors import OperatorError
from netboot.feed.records import State
from netboot.feed.state import Standing
from netboot.host import journald
from netboot.host.journald import Priority
from netboot.profile.profile import Profile
from tests.support.journal import Journal, journal_at, stream

MAC = "00:1e:37:11:22:33"
SWAP = BootEvent(1_795_896_000.0, MAC, "swap", "512 MiB", {})
LOST = BootEvent(1_795_896_001.0, MAC, "agent:lost", "10.0.0.5: no answer", {})
FULL = BootEvent(1_795_896_002.0, MAC, "overlay:full", "90 %\nMESSAGE=hm", {})


@pytest.fixture(autouse=True)
def _loggers() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("netboot")
    before = root.handlers[:], root.level, own.level
    yield
    root.handlers[:], level, of_own = before
    root.setLevel(level)
    own.setLevel(of_own)


@pytest.fixture
def profile() -> Profile:
    return Profile.model_validate(
        {"swap": {"size": "1GiB"}, "clients": {MAC: {"hostname": "pc-1"}}}
    )


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journal]:
    """Yield a journal that standard output and standard error lead to."""
    path = tmp_path / "socket"
    monkeypatch.setattr(journald, "SOCKET", str(path))
    with (tmp_path / "stream").open("w") as file, journal_at(path) as played:
        # pytest has streams of its own for each phase of a test.
        monkeypatch.setattr(telling, "sys", SimpleNamespace(stdout=file, stderr=file))
        monkeypatch.setattr(telling, "ERRORS", file.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", stream(file.fileno()))
        yield played


def test_events_have_a_priority_by_their_stage() -> None:
    assert priority_of(SWAP) is Priority.INFO
    assert priority_of(LOST) is Priority.ERROR
    assert priority_of(FULL) is Priority.WARNING
    assert priority_of(BootEvent(0.0, MAC, "failed:new", "", {})) <= Priority.WARNING


def test_the_journal_gets_priorities_and_fields(journal: Journal, profile: Profile) -> None:
    told = Telling(profile, Priority.INFO, as_json=False)
    for event in (SWAP, LOST, FULL):
        told.tell(event)
    common = {"SYSLOG_IDENTIFIER": "netboot", "SEAT": MAC, "SEAT_NAME": "pc-1"}
    message = {"MESSAGE": "pc-1 swap: 512 MiB", "PRIORITY": "6", "STAGE": "swap"}
    assert journal.take() == {**common, **message}
    message = {"MESSAGE": "pc-1 agent:lost: 10.0.0.5: no answer", "PRIORITY": "3"}
    assert journal.take() == {**common, **message, "STAGE": "agent:lost"}
    assert journal.take() == {
        **common,
        "MESSAGE": "pc-1 overlay:full: 90 %\nMESSAGE=hm",
        "PRIORITY": "4",
        "STAGE": "overlay:full",
    }


def test_the_journal_gets_messages_of_the_program(journal: Journal, profile: Profile) -> None:
    told = Telling(profile, Priority.INFO, as_json=False)
    logging.getLogger("netboot.serve").warning("no %s", "room")
    assert journal.take() == {
        "MESSAGE": "no room",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "netboot",
        "LOGGER": "netboot.serve",
    }
    logging.getLogger("netboot").error("worse")
    assert journal.take()["PRIORITY"] == "3"
    told.drain()


def test_without_the_journal_the_lines_are_written(
    journal: Journal, profile: Profile, tmp_path: Path
) -> None:
    journal.close()
    told = Telling(profile, Priority.INFO, as_json=False)
    told.tell(SWAP)
    logging.getLogger("netboot").warning("no room")
    told.drain()
    lines = (tmp_path / "stream").read_text().splitlines()
    assert sorted(line[9:] if "pc-1" in line else line for line in lines) == [
        "no room",
        "pc-1         swap           512 MiB",
    ]


def test_a_program_gets_its_json_whatever_reads_it(
    journal: Journal, profile: Profile, tmp_path: Path
) -> None:
    told = Telling(profile, Priority.ERROR, as_json=True)
    told.ready({"http": 8080})
    told.tell(SWAP)
    told.drain()
    ready, event = map(json.loads, (tmp_path / "stream").read_text().splitlines())
    assert ready == {"ready": {"http": 8080}} and event == SWAP.as_json()


@pytest.mark.parametrize(
    ("word", "stages", "logged"),
    [
        ("error", ["agent:lost"], ["error"]),
        ("warning", ["agent:lost", "overlay:full"], ["error", "warning"]),
        ("info", ["swap", "agent:lost", "overlay:full"], ["error", "warning"]),
        ("debug", ["swap", "agent:lost", "overlay:full"], ["error", "warning", "info", "debug"]),
    ],
)
def test_the_level_decides(
    journal: Journal, profile: Profile, word: str, stages: list[str], logged: list[str]
) -> None:
    told = Telling(profile, LEVELS[word], as_json=False)
    for event in (SWAP, LOST, FULL):
        told.tell(event)
    told.drain()
    for name in ("error", "warning", "info", "debug"):
        getattr(logging.getLogger("netboot.x"), name)(name)
    logging.getLogger("asyncio").info("of a library")
    told.drain()
    found = [journal.take() for _ in range(len(stages) + len(logged))]
    assert [each["STAGE"] for each in found if "STAGE" in each] == stages
    assert [each["MESSAGE"] for each in found if "LOGGER" in each] == logged


def test_the_options_name_one_level() -> None:
    assert level_of("") is Priority.INFO
    assert level_of("error") is Priority.ERROR
    assert level_of("", verbose=True) is Priority.DEBUG
    assert level_of("", quiet=True) is Priority.WARNING
    for words in ({"word": "loud"}, {"word": "info", "quiet": True}):
        with pytest.raises(OperatorError, match="expected"):
            level_of(**words)
    with pytest.raises(OperatorError, match="one of them"):
        level_of("", verbose=True, quiet=True)


def test_other_servers_write_messages_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    telling.log_to_errors(Priority.INFO, "netboot: ")
    logging.getLogger("netboot.panel").warning("no history")
    assert capsys.readouterr().err == "netboot: no history\n"


def test_the_panel_and_the_pages_write_to_the_journal(journal: Journal) -> None:
    telling.log_to_errors(Priority.INFO, "netboot: ")
    logging.getLogger("netboot.panel").warning("no history")
    found = journal.take()
    assert (found["MESSAGE"], found["PRIORITY"]) == ("no history", "4")


@pytest.mark.parametrize(("words", "says"), [([], True), (["-q"], False)])
def test_pages_are_quiet_if_told(words: list[str], says: bool) -> None:
    command = [sys.executable, "-P", "-m", "netboot", "pages", "--listen", "127.0.0.1:0", *words]
    with subprocess.Popen([*command, "--export", "a=1MiB"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        deadline = time.monotonic() + (60 if says else 4)
        told = b""
        while not told and time.monotonic() < deadline:
            told = process.stdout.read() or b""
            time.sleep(0.1)
        process.terminate()
        process.wait(60)
    assert told.startswith(b"listening on 127.0.0.1:") if says else told == b""


@pytest.mark.parametrize(
    ("states", "troubled", "text"),
    [
        ({}, 0, "0 seats: none was seen yet"),
        ({"unknown": 60}, 0, "60 seats: none was seen yet"),
        ({"running": 1}, 0, "1 seat: 1 running"),
        (
            {"running": 50, "short": 2, "waiting": 1, "booting": 4, "lost": 1, "off": 2},
            3,
            "60 seats: 52 running, 5 booting, 2 off, 3 in trouble",
        ),
        ({"lost": 2}, 2, "2 seats: 2 in trouble"),
    ],
)
def test_the_status_is_a_line(states: dict[State, int], troubled: int, text: str) -> None:
    room = Standing(Counter(states), troubled)
    assert room_lines.standing(room) == text
    named = "boot files named by the LAN's own DHCP server"
    assert room_lines.standing(room, left=True) == f"{text}; {named}"
