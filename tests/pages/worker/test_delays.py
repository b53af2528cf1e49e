"""The seconds that seats wait, by reason."""

from hypothesis import given
from hypothesis import strategies as st

from netboot.pages.worker.delays import REASONS, Delays


def test_two_seats_wait_twice_and_each_reason_has_its_own_time() -> None:
    delays = Delays()
    delays.follow("rate", {"a", "b"}, 10.0)
    delays.follow("store", {"a"}, 11.0)
    delays.follow("rate", {"b"}, 12.0)
    held = [delays.held]
    assert delays.take(13.0) == {"rate": 5.0, "store": 2.0}
    delays.follow("rate", (), 13.5)
    delays.follow("store", (), 13.5)
    assert [*held, delays.held] == [True, False]
    assert delays.take(20.0) == {"rate": 0.5, "store": 0.5}
    assert delays.take(21.0) == {}


def test_a_seat_that_is_gone_waits_no_more() -> None:
    delays = Delays()
    delays.follow("share", {"a", "b"}, 1.0)
    delays.end("a", 2.0)
    delays.end("a", 9.0)
    delays.end("b", 1.5)
    assert delays.take(9.0) == {"share": 1.5}


@given(st.lists(st.tuples(st.sets(st.sampled_from("abc")), st.booleans())))
def test_no_second_is_lost_or_counted_twice(steps: list[tuple[set[str], bool]]) -> None:
    delays, expected, taken = Delays(), 0, 0.0
    waiting: set[str] = set()
    for second, (seats, takes) in enumerate(steps):
        expected += len(waiting)
        delays.follow(REASONS[0], seats, float(second))
        waiting = seats
        if takes:
            taken += delays.take(float(second)).get(REASONS[0], 0.0)
    end = float(len(steps))
    assert taken + delays.take(end).get(REASONS[0], 0.0) == expected + len(waiting)
