"""Rows out of the events of virtual PCs, as servers have recorded them.

``reattached.json``: two PCs boot, lose their server for 3 s, and go on. ``reboot.json``: the server of a PC
restarts, and then the PC is reset; its old connections end in the middle of its boot.
"""

import json
from pathlib import Path
from typing import Any

from netboot.feed.records import Event, Report
from netboot.feed.state import RoomState
from tests.feed.playing import BEGIN

DATA = Path(__file__).with_name("data")
FIRST, SECOND = "52:54:00:77:00:01", "52:54:00:77:00:02"


class Recording:
    """A recording and the room that it is played to. ``shown``: states and troubles of each seat."""

    def __init__(self, name: str) -> None:
        self.events: list[Any] = json.loads((DATA / name).read_text())
        self.room = RoomState({FIRST: "pc1", SECOND: "pc2"})
        self.shown: dict[str, list[tuple[str, str]]] = {FIRST: [], SECOND: []}
        self.boots: dict[str, list[str]] = {FIRST: [], SECOND: []}
        self.now = BEGIN
        self.room.tick(self.now)

    def look(self, seat: str) -> None:
        row = self.room.row(seat)
        shown = (row.state, "" if row.trouble is None else row.trouble.stage)
        if self.shown[seat][-1:] != [shown]:
            self.shown[seat].append(shown)
        if row.boot and self.boots[seat][-1:] != [row.boot]:
            self.boots[seat].append(row.boot)

    def wait(self, end: float) -> None:
        while self.now + 1 < end:
            self.now += 1
            self.room.tick(self.now)
            self.look(FIRST)
            self.look(SECOND)

    def play(self) -> None:
        for number, (seat, seconds, stage, message, data) in enumerate(self.events):
            self.wait(BEGIN + seconds)
            self.room.event(Event(number + 1, BEGIN + seconds, seat, stage, message, data))
            self.look(seat)


def test_two_pcs_lose_their_server_and_go_on() -> None:
    recording = Recording("reattached.json")
    recording.play()
    for seat in (FIRST, SECOND):
        assert recording.shown[seat] == [
            ("unknown", ""),
            ("booting", ""),
            ("running", ""),
            ("running", "pages:refused"),
            ("running", "agent:lost"),
            ("running", ""),
        ]
        assert len(recording.boots[seat]) == 1
    row = recording.room.row(SECOND)
    assert (row.address, row.hardware.memory, row.hardware.driver, row.hardware.kernel) == (
        "10.77.0.111",
        196_091 << 10,
        "e1000",
        "6.1.0-56-amd64",
    )
    recording.room.report(FIRST, Report(recording.now))
    recording.wait(recording.now + 60)
    assert recording.shown[FIRST][-1] == ("lost", "lost")


def test_a_reset_whose_old_connections_end_late() -> None:
    recording = Recording("reboot.json")
    recording.play()
    assert recording.shown[FIRST] == [
        ("booting", ""),
        ("running", ""),
        ("running", "agent:lost"),
        ("running", ""),
        ("booting", ""),
        ("booting", "silent"),
        ("booting", ""),
        ("running", ""),
    ]
    assert len(recording.boots[FIRST]) == 2
    assert recording.shown[SECOND] == [("unknown", "")]
