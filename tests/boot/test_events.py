"""The journal keeps what a person needs, within its limits."""

import json

from netboot.boot.client import played_mac
from netboot.boot.events import BootEvent, Journal, estimated_bytes
from netboot.boot.limits import JOURNAL_STRANGERS

STRANGERS = JOURNAL_STRANGERS.in_total or 0


def event(seat: str, stage: str = "http", when: float = 0.0) -> BootEvent:
    return BootEvent(when, seat, stage, "message", {"bytes": 1})


def test_events_of_a_seat_stay_in_order_and_listeners_hear_each() -> None:
    journal, heard = Journal(), list[BootEvent]()
    journal.subscribe(heard.append)
    stages = ["dhcp", "tftp", "http"]
    for stage in stages:
        journal.record(event("a", stage))
    assert [one.stage for one in journal.history("a")] == stages == [one.stage for one in heard]
    assert journal.history("b") == []


def test_a_storm_pushes_no_pc_out() -> None:
    journal, heard = Journal(), list[BootEvent]()
    journal.subscribe(heard.append)
    journal.record(event("a"))
    for number in range(STRANGERS + 1):
        journal.prove(played_mac(number))
        journal.record(event(played_mac(number)))
    assert list(journal.seats()) == ["a"]
    assert len(heard) == STRANGERS + 2


def test_only_the_last_events_of_a_seat_are_kept() -> None:
    for journal, most in ((Journal(["a"]), 100), (Journal(), 10)):
        for number in range(101):
            journal.record(event("a", when=float(number)))
        assert [each.when for each in journal.history("a")] == list(range(101 - most, 101))
    journal.prove("a")
    journal.record(event("a"))
    assert len(journal.history("a")) == 11, "a PC that boots keeps as many as the profile's"


def test_what_others_cause_drops_only_what_others_cause() -> None:
    journal = Journal(["a"])
    for stage in ("http", "swap"):
        journal.record(event("a", stage))
    for number in range(300):
        journal.record(event("a", ("dhcp", "identity")[number % 2], float(number)))
    stages = [each.stage for each in journal.history("a")]
    assert stages[:2] == ["http", "swap"] and len(stages) == 42
    assert [each.when for each in journal.history("a")[2:]] == list(range(260, 300))
    size = sum(map(estimated_bytes, journal.history("a")))
    journal = Journal(["a"], most_bytes=size)
    for number in range(300):
        journal.record(event("a", "dhcp", float(number)))
    assert len(journal.history("a")) == 40


def test_forged_addresses_do_not_fill_the_memory_and_drop_no_seat() -> None:
    journal = Journal(["own"])
    journal.record(event("own"))
    for seat in ("booted", "swaps"):
        journal.record(event(seat))
        journal.prove(seat)
    for number in range(STRANGERS + 1):
        journal.record(event(f"forged {number}"))
    assert set(journal.seats()) >= {"own", "booted", "swaps"}
    assert len(list(journal.seats())) == STRANGERS + 1
    assert "forged 0" not in journal and f"forged {STRANGERS}" in journal
    # Who forges boots as well drops those that booted, but none with swap in use.
    journal.in_use = lambda seat: seat == "swaps"
    for number in range(STRANGERS):
        journal.prove(f"booting {number}")
    assert "own" in journal and "swaps" in journal and "booted" not in journal
    journal.record(event("late"))
    assert "late" not in journal, "no place for a stranger"


def test_the_bytes_of_all_events_are_limited() -> None:
    size = estimated_bytes(event("0"))
    journal = Journal(["0", "1"], most_bytes=100 * size)
    for number in range(60):
        journal.record(event("0"))
        journal.record(event(str(2 + number % 8)))
    assert len(journal.history("0")) == 60, "strangers went"
    for _ in range(60):
        journal.record(event("1"))
    assert [len(journal.history(seat)) for seat in "01"] == [60, 40]
    kept = (each for seat in journal.seats() for each in journal.history(seat))
    assert sum(map(estimated_bytes, kept)) == 100 * size
    assert list(journal.seats()) == ["0", "1"]


def test_the_estimate_of_an_event_is_near_its_json() -> None:
    for data in ({}, {"ms": 0.5, "file": "bios.ipxe"}, {"running": ["10.0.0.1"] * 20}):
        each = BootEvent(1795896260.88, "52:54:00:12:34:56", "dhcp", "m" * 300, data)
        assert 0.7 < estimated_bytes(each) / len(json.dumps(each.as_json())) < 1.4


def test_an_event_is_json_ready() -> None:
    assert event("a").as_json() == {
        "when": 0.0,
        "seat": "a",
        "stage": "http",
        "message": "message",
        "data": {"bytes": 1},
    }
