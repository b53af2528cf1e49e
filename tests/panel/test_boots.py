"""Boots out of events: when they begin and end, their stages, and what a panel that was away makes of them."""

from dataclasses import replace
from typing import Any

import pytest

from netboot.feed.records import Event, Gone, Hello
from netboot.panel import boots as module
from netboot.panel.boots import Boots
from netboot.panel.records import Boot
from tests.panel.feeding import a_seat, figures, mac_of

NOW = 1_700_000_000.0
LINK = "a.sock"
ASKED = {"type": "DISCOVER", "arch": "bios", "stage": "firmware"}
STAGES: tuple[tuple[float, str, dict[str, Any]], ...] = (
    (0.0, "dhcp", ASKED),
    (2.0, "tftp", {"file": "undionly.kpxe", "bytes": 70000}),
    (3.0, "http", {"file": "vmlinuz", "bytes": 9000000}),
    (4.0, "http", {"file": "initrd", "bytes": 9000000}),
    (6.0, "kernel", {}),
    (8.0, "init:network", {"uptime": 2.0}),
    (11.0, "swap", {"uptime": 5.0}),
    (20.0, "userland", {"uptime": 14.0}),
)


class Told:
    """Boots, and all that they tell."""

    def __init__(self, known: dict[str, tuple[str, int]] | None = None) -> None:
        self.all: list[tuple[str, str, Boot]] = []
        self.number = 0
        self.boots = Boots((self.listen,), known)
        self.boots.connected(LINK, "")

    def listen(self, link: str, mac: str, name: str, boot: Boot) -> None:
        assert link == LINK
        self.all.append((mac, name, boot))

    def event(
        self, when: float, stage: str, data: dict[str, Any] | None = None, seat: int = 1
    ) -> None:
        self.number += 1
        record = Event(self.number, NOW + when, mac_of(seat), stage, f"{stage} is told", data or {})
        self.boots.take(LINK, record)

    def boot(self, begin: float = 0.0, until: str = "userland", seat: int = 1) -> None:
        for when, stage, data in STAGES:
            self.event(begin + when, stage, data, seat)
            if stage == until:
                return

    @property
    def last(self) -> Boot:
        return self.all[-1][2]


def test_a_boot_grows_and_ends_at_userland() -> None:
    told = Told()
    told.boot()
    assert [boot.outcome for _, _, boot in told.all][-2:] == ["unfinished", "running"]
    boot = told.last
    assert (boot.began, boot.ended, boot.seconds) == (NOW, NOW + 20, 20.0)
    assert [(step.stage, step.at) for step in boot.stages] == [
        *(("dhcp", 0.0), ("tftp", 2.0), ("http", 3.0), ("kernel", 6.0)),
        *(("init:network", 8.0), ("swap", 11.0), ("userland", 20.0)),
    ]
    assert boot.stages[3].message == "kernel is told"
    assert all(before.ended is None for _, _, before in told.all[:-1])


def test_a_packet_of_dhcp_alone_is_no_boot() -> None:
    told = Told()
    told.event(0.0, "dhcp", ASKED)
    assert told.all == []


def test_a_packet_in_the_name_of_a_pc_that_runs_is_no_end_of_its_boot() -> None:
    told = Told()
    told.boot(until="swap")
    told.event(15.0, "dhcp", ASKED)
    told.event(20.0, "userland", {"uptime": 14.0})
    assert {boot.began for _, _, boot in told.all} == {NOW} and told.last.outcome == "running"


def test_events_of_a_pc_that_runs_do_not_lengthen_its_boot() -> None:
    told = Told()
    told.boot()
    ended = told.last
    told.event(500.0, "agent:lost", {"uptime": 490.0})
    told.event(600.0, "pages:attach", {"export": "x"})
    assert told.last == ended


def test_the_next_boot_is_another_one() -> None:
    told = Told()
    told.boot()
    told.boot(begin=4000.0)
    assert told.last.began == NOW + 4000 and told.last.seconds == 20.0
    assert len({boot.began for _, _, boot in told.all}) == 2


def test_a_boot_that_fails_ends_then_and_goes_on_if_it_succeeds_after_all() -> None:
    told = Told()
    told.boot(until="init:network")
    told.event(30.0, "failed:lease")
    told.event(40.0, "failed:lease")
    assert (told.last.outcome, told.last.seconds) == ("failed", 30.0)
    told.event(50.0, "swap", {"uptime": 44.0})
    told.event(60.0, "userland", {"uptime": 54.0})
    assert (told.last.outcome, told.last.seconds) == ("running", 60.0)


def test_the_name_and_the_image_are_of_the_seats_row() -> None:
    told = Told()
    told.boot()
    assert told.all[-1][1] == mac_of(1)
    name = f"{round(NOW * 1000):x}"
    told.boots.take(LINK, replace(a_seat(1, NOW), boot=name, image="kiosk"))
    told.boots.take(LINK, replace(a_seat(1, NOW), boot=name, image="kiosk"))
    assert told.all[-1][1] == "pc-001" and told.last.image == "kiosk"
    assert [boot.image for _, _, boot in told.all].count("kiosk") == 1


def test_a_row_ends_a_boot_whose_userland_was_not_told() -> None:
    told = Told()
    told.boot(until="swap")
    name = f"{round(NOW * 1000):x}"
    told.boots.take(LINK, replace(a_seat(1, NOW), boot="other", since=NOW + 25))
    assert told.last.outcome == "unfinished"
    told.boots.take(LINK, replace(a_seat(1, NOW), boot=name, since=NOW + 25))
    assert (told.last.outcome, told.last.seconds) == ("running", 25.0)


def test_a_panel_that_was_away_tells_what_it_missed_and_nothing_twice() -> None:
    first = Told()
    first.boot()
    first.boot(begin=4000.0, until="kernel")
    missed = Told({LINK: ("run", first.number)})
    missed.boots.take(LINK, Hello("school", "0.2.0", "run", 0.0, 1, 99))
    missed.boot()
    assert missed.all == []
    missed.boot(begin=4000.0)
    assert {boot.began for _, _, boot in missed.all} == {NOW + 4000}
    assert len(missed.last.stages) == 7, "all of its stages, also those that were known"


def test_events_of_another_run_are_all_new() -> None:
    told = Told({LINK: ("run", 1000)})
    told.boots.take(LINK, Hello("school", "0.2.0", "another", 0.0, 1, 1))
    told.boot()
    assert told.last.outcome == "running"


def test_a_pc_that_ran_before_its_server_started_has_no_boot_yet() -> None:
    told = Told()
    told.event(0.0, "pages:attach", {"export": "seat-525400770001", "connections": 1})
    told.event(1.0, "agent:reattached", {"uptime": 40.0})
    assert told.all == []
    told.boot(60.0)
    assert told.last.outcome == "running" and told.last.began == NOW + 60


def test_boots_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SEATS", 5)
    monkeypatch.setattr(module, "MOST_STEPS", 3)
    told = Told()
    for seat in range(20):
        told.boot(seat=seat)
    assert len(told.boots._seats) == 5 and len(told.last.stages) == 3
    told.boots.take(LINK, Gone(mac_of(19)))
    told.boots.take(LINK, figures(NOW))
    assert len(told.boots._seats) == 4


def test_a_long_message_is_cut() -> None:
    told = Told()
    record = Event(1, NOW, mac_of(1), "kernel", "x" * 5000)
    told.boots.take(LINK, record)
    assert len(told.last.stages[0].message) == module.MOST_TEXT
