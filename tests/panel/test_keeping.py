"""What the history gets of a room, and what the log says of the feeds."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from netboot.feed.records import Event, Gone, Hello, Record, SeatRow, ServerRow, Trouble
from netboot.panel.boots import Boots
from netboot.panel.keeping import AWAY_SECONDS, Keeper, Teller
from netboot.panel.records import Boot
from netboot.panel.room import Room
from tests.panel.feeding import a_seat, figures, mac_of

NOW = 1_700_000_000.0
A, B = "a.sock", "10.0.0.2:8080"


@dataclass
class Heard:
    """A history that writes down what it is told."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)

    def seat(self, server: str, row: SeatRow) -> None:
        self.calls.append(("seat", server, row.mac, row.stage))

    def gone(self, server: str, mac: str) -> None:
        self.calls.append(("gone", server, mac))

    def server(self, name: str, row: ServerRow) -> None:
        self.calls.append(("server", name))

    def boot(self, server: str, mac: str, name: str, boot: Boot) -> None:
        self.calls.append(("boot", server, mac, name, boot.outcome))

    def trouble(self, server: str, trouble: Trouble | None, cause: str = "") -> None:
        self.calls.append(("trouble", server, trouble and trouble.message, cause))

    def number(self, server: str, run: str, number: int) -> None:
        self.calls.append(("number", server, run, number))

    def take(self, *kinds: str) -> list[tuple[Any, ...]]:
        """Return and forget the calls of these kinds."""
        found = [call for call in self.calls if call[0] in kinds]
        self.calls = []
        return found


class Played:
    """A room whose records go to a keeper as well."""

    def __init__(self) -> None:
        self.now = NOW
        self.heard = Heard()
        self.room = Room((A, B), clock=lambda: self.now)
        self.keeper = Keeper(self.heard, self.room, clock=lambda: self.now)
        self.boots = Boots((self.keeper.take_boot,))

    def begin(self, link: str, name: str, *rows: SeatRow) -> None:
        self.connected(link, "")
        records: list[Record] = [Hello(name, "0.2.0", "r", 0.0, 1, 1), *rows, figures(NOW)]
        for record in records:
            self.take(link, record)
        self.room.publish()

    def connected(self, link: str, reason: str) -> None:
        self.room.connected(link, reason)
        self.keeper.connected(link, reason)

    def take(self, link: str, record: Record) -> None:
        self.room.take(link, record)
        self.keeper.take(link, record)
        self.boots.take(link, record)


@pytest.fixture
def played() -> Played:
    return Played()


def test_seats_are_told_when_they_change_and_servers_each_second(played: Played) -> None:
    played.begin(A, "school", a_seat(1, NOW), a_seat(2, NOW))
    assert played.heard.take("seat", "server") == [
        ("server", "school"),
        ("seat", "school", mac_of(1), "userland"),
        ("seat", "school", mac_of(2), "userland"),
    ]
    played.take(A, replace(a_seat(2, NOW), stage="agent:lost"))
    played.take(A, figures(NOW + 1))
    played.room.publish()
    assert played.heard.take("seat") == [("seat", "school", mac_of(2), "agent:lost")]
    played.take(A, Gone(mac_of(2)))
    played.room.publish()
    assert played.heard.take("seat", "gone") == [("gone", "school", mac_of(2))]


def test_a_seat_of_two_servers_is_one_seat_that_may_move(played: Played) -> None:
    played.begin(A, "one", a_seat(1, NOW))
    played.begin(B, "two", SeatRow(mac_of(1), "pc-001"))
    assert {call[1] for call in played.heard.take("seat")} == {"one"}
    played.take(B, replace(a_seat(1, NOW), booted=NOW + 5))
    played.room.publish()
    assert played.heard.take("seat", "gone") == [
        ("gone", "one", mac_of(1)),
        ("seat", "two", mac_of(1), "userland"),
    ]


def test_a_keeper_that_is_late_is_told_the_whole_room(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    played.begin(A, "school", a_seat(1, NOW))
    monkeypatch.setattr(played.room, "changes", lambda _: None)
    played.heard.take()
    played.take(A, a_seat(2, NOW))
    played.room.publish()
    assert {call[2] for call in played.heard.take("seat")} == {mac_of(1), mac_of(2)}


def test_the_number_of_the_last_event_is_told_once_a_second(played: Played) -> None:
    played.begin(A, "school")
    for number in (1, 2, 3):
        played.take(A, Event(number, NOW, mac_of(1), "kernel", ""))
    assert played.heard.take("number") == []
    for _ in range(2):
        played.take(A, figures(NOW + 1))
    assert played.heard.take("number") == [("number", A, "r", 3)]


def test_boots_are_told_with_the_name_of_their_server(played: Played) -> None:
    played.begin(A, "school", a_seat(1, NOW, "off", ""))
    played.take(A, Event(1, NOW, mac_of(1), "kernel", ""))
    played.take(A, Event(2, NOW + 9, mac_of(1), "userland", "", {"uptime": 9.0}))
    assert played.heard.take("boot") == [
        ("boot", "school", mac_of(1), "pc-001", "unfinished"),
        ("boot", "school", mac_of(1), "pc-001", "running"),
    ]


def test_a_server_is_in_trouble_if_it_is_away_for_longer_than_a_restart(played: Played) -> None:
    played.begin(A, "school")
    played.heard.take()
    for seconds in (0, 1, 5):
        played.now = NOW + seconds
        played.connected(A, "cannot connect")
    assert played.heard.take("trouble") == []
    played.now = NOW + AWAY_SECONDS
    played.connected(A, "cannot connect")
    message = "the panel cannot read this server's feed"
    assert played.heard.take("trouble") == [("trouble", "school", message, "cannot connect")]
    played.connected(A, "")
    assert played.heard.take("trouble") == [("trouble", "school", None, "")]


def test_a_trouble_of_before_the_panels_start_ends_under_the_servers_name(played: Played) -> None:
    played.begin(A, "school")
    assert ("trouble", "school", None, "") in played.heard.take("trouble")


def test_what_becomes_of_a_feed_is_logged_once(
    played: Played, caplog: pytest.LogCaptureFixture
) -> None:
    teller = Teller(played.room)
    teller.take(A, figures(NOW))
    for reason in ("", "", "wrong key", "wrong key", "", "wrong key"):
        teller.connected(A, reason)
    teller.connected(B, "cannot connect")
    assert caplog.messages == [
        f"server {A}: wrong key; retried",
        f"server {A}: connected",
        f"server {A}: wrong key; retried",
        f"server {B}: cannot connect; retried",
    ]
