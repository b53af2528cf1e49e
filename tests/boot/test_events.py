"""The journal keeps what a person needs, within its limits."""

from netboot.boot.events import EVENTS_PER_SEAT, MAX_SEATS, BootEvent, Journal


def event(seat: str, stage: str = "dhcp", when: float = 0.0) -> BootEvent:
    return BootEvent(when, seat, stage, "message", {"bytes": 1})


def test_events_of_a_seat_stay_in_order_and_listeners_hear_each() -> None:
    journal, heard = Journal(), list[BootEvent]()
    journal.subscribe(heard.append)
    stages = ["dhcp", "tftp", "http"]
    for stage in stages:
        journal.record(event("a", stage))
    assert [one.stage for one in journal.history("a")] == stages == [one.stage for one in heard]
    assert journal.history("b") == []


def test_only_the_last_events_of_a_seat_are_kept() -> None:
    journal = Journal()
    for number in range(EVENTS_PER_SEAT + 1):
        journal.record(event("a", when=float(number)))
    history = journal.history("a")
    assert len(history) == EVENTS_PER_SEAT and history[0].when == 1.0


def test_forged_addresses_do_not_fill_the_memory() -> None:
    journal = Journal()
    for number in range(MAX_SEATS + 1):
        journal.record(event(f"seat {number}"))
    assert len(list(journal.seats())) == MAX_SEATS
    assert journal.history("seat 0") == [] and journal.history("seat 1") != []


def test_an_event_is_json_ready() -> None:
    assert event("a").as_json() == {
        "when": 0.0,
        "seat": "a",
        "stage": "dhcp",
        "message": "message",
        "data": {"bytes": 1},
    }
