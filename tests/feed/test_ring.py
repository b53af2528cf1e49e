"""The ring keeps what a reader needs to catch up, within its limits, whatever strangers send."""

from collections import Counter
from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from netboot.boot.events import BootEvent, Journal
from netboot.boot.limits import FEED_EVENTS_OF_OTHERS, FEED_EVENTS_OF_STRANGERS
from netboot.feed.records import Event
from netboot.feed.ring import Ring

OTHERS = FEED_EVENTS_OF_OTHERS.per_address or 0
STRANGERS = FEED_EVENTS_OF_STRANGERS.in_total or 0


def add(ring: Ring, seat: str, stage: str = "http", times: int = 1, text: str = "") -> Event:
    events = [ring.add(float(ring.next), seat, stage, text, {"bytes": 1}) for _ in range(times)]
    return events[-1]


def numbers(events: Iterable[Event] | None) -> list[int]:
    assert events is not None, "the reader is told to take the rows anew"
    return [event.number for event in events]


def test_a_reader_gets_the_events_after_the_last_one_that_it_saw() -> None:
    ring = Ring()
    assert (ring.first, ring.next, ring.after(0)) == (1, 1, [])
    first = ring.add(5.0, "a", "dhcp", "DISCOVER", {"arch": "bios"})
    assert first == Event(1, 5.0, "a", "dhcp", "DISCOVER", {"arch": "bios"})
    assert ring.add(6.0, "a", "kernel", "Linux starts").data == {}
    add(ring, "b", times=3)
    assert numbers(ring.after(0)) == [1, 2, 3, 4, 5]
    assert numbers(ring.after(3)) == [4, 5]
    assert ring.after(5) == []
    assert ring.after(6) is None, "that number was never given: it is of another run"
    assert (ring.first, ring.next, len(ring)) == (1, 6, 5)


def test_the_last_events_of_a_seat_are_found_at_once() -> None:
    ring = Ring()
    for number in range(50):
        add(ring, "a", ("dhcp", "http")[number % 2])
        add(ring, "b")
    assert numbers(ring.of("a", 3)) == [95, 97, 99]
    assert len(ring.of("a")) == 50
    assert ring.of("a", 0) == ring.of("never seen") == []


def test_a_busy_seat_pays_with_its_own_events() -> None:
    ring = Ring(most_events=200)
    for seat in "abcd":
        add(ring, seat, times=20)
    add(ring, "busy", times=1000)
    assert len(ring) == 200
    assert [len(ring.of(seat)) for seat in "abcd"] == [20] * 4
    assert numbers(ring.of("busy", 500)) == list(range(961, 1081))
    assert ring.first == 961
    assert ring.after(959) is None
    assert numbers(ring.after(960)) == list(range(961, 1081))


def test_the_seat_last_heard_of_longest_ago_goes_first() -> None:
    ring = Ring(most_events=100)
    for seat in ("off", "on"):
        add(ring, seat, times=30)
    add(ring, "on")
    for number in range(45):
        add(ring, f"new {number}")
    assert len(ring.of("off")) == 24 and len(ring.of("on")) == 31
    assert numbers(ring.of("off"))[0] == ring.first == 7
    for number in range(45, 69):
        add(ring, f"new {number}")
    assert ring.of("off") == [] and len(ring.of("on")) == 31


def test_what_others_cause_in_the_name_of_a_seat_drops_only_what_others_cause() -> None:
    ring = Ring(most_events=100)
    add(ring, "a", "dhcp")
    add(ring, "a", "swap", times=10)
    add(ring, "b", "swap", times=10)
    add(ring, "a", "dhcp", times=1000)
    stages = Counter(event.stage for event in ring.of("a", 1000))
    assert stages == {"swap": 10, "dhcp": 80}
    assert len(ring.of("b")) == 10
    for _ in range(30):
        add(ring, "b", "http")
        add(ring, "c", "http")
    stages = Counter(event.stage for event in ring.of("a", 1000))
    assert stages == {"swap": 10, "dhcp": OTHERS}, "its surplus goes, its last events stay"


def test_strangers_never_push_a_seat_out_and_make_no_reader_begin_anew() -> None:
    proven: set[str] = set()
    ring = Ring(named=["named"], is_proven=proven.__contains__)
    proven.add("booted")
    add(ring, "named", times=30)
    add(ring, "booted", times=30)
    for number in range(30_000):
        add(ring, f"forged {number}", "dhcp")
    assert len(ring.of("named")) == len(ring.of("booted")) == 30
    assert len(ring) == 60 + STRANGERS
    assert (ring.first, ring.next) == (1, 30_061)
    caught_up = numbers(ring.after(10))
    assert caught_up[:50] == list(range(11, 61)) and caught_up[-1] == 30_060
    add(ring, "forged", "dhcp", times=50)
    assert len(ring.of("forged")) == FEED_EVENTS_OF_STRANGERS.per_address
    add(ring, "long texts", "dhcp", times=9, text="x" * 200_000)
    assert len(ring) < 60 + 10, "the bytes of strangers are limited as well"
    assert len(ring.of("named")) == 30


def test_a_stranger_that_proves_itself_takes_its_events_along() -> None:
    journal = Journal(["named"])
    ring = Ring(named=["named"], is_proven=journal.is_proven)
    assert journal.is_proven("named") and not journal.is_proven("new")
    add(ring, "new", "dhcp", times=4)
    journal.prove("new")
    add(ring, "new")
    for number in range(2 * STRANGERS):
        journal.record(BootEvent(0.0, f"forged {number}", "dhcp", ""))
        add(ring, f"forged {number}", "dhcp")
    assert numbers(ring.of("new")) == [1, 2, 3, 4, 5]
    assert not journal.is_proven("forged 5")


def test_pcs_that_no_profile_names_have_half_of_the_ring_at_most_if_it_is_needed() -> None:
    ring = Ring(most_events=100, named=["a", "b"])
    for number in range(200):
        add(ring, f"unnamed {number}")
    assert len(ring) == 100, "all of it if no other needs it"
    add(ring, "a", times=30)
    add(ring, "b", times=40)
    for number in range(200):
        add(ring, f"more {number}")
    assert len(ring.of("a")) == 10 and len(ring.of("b")) == 40
    assert len(ring) == 100


def test_the_bytes_of_all_events_are_limited_and_the_newest_event_stays() -> None:
    ring = Ring(most_bytes=10_000, named=["a"])
    for number in range(200):
        add(ring, f"seat {number % 7}", text="x" * 100)
        add(ring, "a", text="x" * 100)
        assert ring.size <= 10_000
    huge = add(ring, "a", text="x" * 20_000)
    assert ring.kept() == [huge] and ring.first == huge.number
    assert numbers(ring.after(huge.number - 1)) == [huge.number]
    add(ring, "b")
    assert ring.of("a") == [], "one that is too large goes with the next one"


SEATS = st.sampled_from(["n1", "n2", "p1", "p2", "p3", "s1", "s2"])
STEPS = st.lists(
    st.tuples(SEATS, st.sampled_from(["dhcp", "http", "swap"]), st.integers(0, 300)), max_size=200
)


@settings(max_examples=200, deadline=None)
@given(STEPS, st.integers(1, 60), st.integers(200, 5000))
def test_what_is_kept_is_in_order_within_the_limits_and_complete_from_first_on(
    steps: list[tuple[str, str, int]], most_events: int, most_bytes: int
) -> None:
    ring = Ring(most_events, most_bytes, named=("n1", "n2"), is_proven=lambda seat: seat[0] in "np")
    told: list[Event] = []
    for seat, stage, length in steps:
        told.append(ring.add(0.0, seat, stage, "m" * length))
        known = [event for event in ring.kept() if event.seat[0] != "s"]
        assert len(known) <= most_events
        assert ring.size <= most_bytes + (512 << 10) or len(known) == 1
        assert ring.kept()[-1] == told[-1]
    kept = ring.kept()
    assert kept == sorted(kept, key=lambda event: event.number)
    assert {event.number for event in kept} <= {event.number for event in told}
    assert all(event == told[event.number - 1] for event in kept)
    complete = [event for event in told if event.number >= ring.first and event.seat[0] != "s"]
    assert [event for event in kept if event.seat[0] != "s" and event.number >= ring.first] == (
        complete
    )
    for number in range(-1, ring.next + 2):
        after = ring.after(number)
        if after is None:
            assert number < ring.first - 1 or number >= ring.next
        else:
            assert after == [event for event in kept if event.number > number]
    of_seats = {event.number for seat in {e.seat for e in kept} for event in ring.of(seat, 999)}
    assert of_seats == {event.number for event in kept}
    assert len(ring) == len(kept)


def test_a_room_of_a_thousand_seats_fits() -> None:
    seats = [f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}" for number in range(1000)]
    ring = Ring(named=frozenset(seats))
    for _ in range(30):
        for seat in seats:
            add(ring, seat)
    assert len(ring) == 20_000 and {len(ring.of(seat)) for seat in seats} == {20}
    assert ring.first == 10_001
