"""Events that wait for the feed: their order, and their bounds."""

from hypothesis import given
from hypothesis import strategies as st

from netboot.boot.events import BootEvent
from netboot.boot.limits import FEED_EVENTS_OF_STRANGERS
from netboot.feed.waiting import Waiting

MOST = FEED_EVENTS_OF_STRANGERS.in_total or 0
OF_ONE = FEED_EVENTS_OF_STRANGERS.per_address or 0


def event(seat: str, number: int) -> BootEvent:
    return BootEvent(float(number), seat, "dhcp", "", {"number": number})


def test_strangers_wait_apart_from_others() -> None:
    waiting = Waiting(lambda seat: seat == "known")
    for number, seat in enumerate(("a", "known", "b", "known")):
        waiting.put(event(seat, number))
    assert (len(waiting), waiting.proven) == (4, 2)
    assert [each.when for each in waiting.take(9)] == [1, 3]
    assert [each.when for each in waiting.take_of_strangers(9)] == [0, 2]
    assert len(waiting) == 0


def test_events_of_a_seat_stay_in_their_order_when_it_is_proven() -> None:
    proven: set[str] = set()
    waiting = Waiting(lambda seat: seat in proven)
    waiting.put(event("a", 0))
    waiting.put(event("a", 1))
    proven.add("a")
    waiting.put(event("a", 2))
    assert [each.when for each in waiting.take(9)] == [0, 1, 2]
    assert len(waiting) == 0


def test_a_storm_of_strangers_keeps_the_newest_and_no_event_of_others_is_lost() -> None:
    waiting = Waiting(lambda seat: seat == "known")
    for number in range(5 * MOST):
        waiting.put(event(f"stranger-{number}", number))
        if number % MOST == 0:
            waiting.put(event("known", number))
    assert [each.when for each in waiting.take(9)] == [0, MOST, 2 * MOST, 3 * MOST, 4 * MOST]
    assert [each.when for each in waiting.take_of_strangers(9 * MOST)] == list(
        range(4 * MOST, 5 * MOST)
    )


def test_one_stranger_has_few_of_the_places() -> None:
    waiting = Waiting(lambda seat: False)
    for number in range(3 * OF_ONE):
        waiting.put(event("a", number))
    assert [each.when for each in waiting.take_of_strangers(1)] == list(
        range(2 * OF_ONE, 3 * OF_ONE)
    )


@given(
    st.lists(
        st.tuples(st.sampled_from(["put", "prove", "take", "strangers"]), st.integers(0, 4)),
        max_size=60,
    )
)
def test_each_event_is_taken_once_and_in_the_order_of_its_seat(
    steps: list[tuple[str, int]],
) -> None:
    proven: set[str] = set()
    waiting = Waiting(lambda seat: seat in proven)
    taken: list[BootEvent] = []
    count = 0
    for kind, number in [*steps, ("take", 99), ("strangers", 99)]:
        if kind == "put":
            waiting.put(event(str(number), count))
            count += 1
        elif kind == "prove":
            proven.add(str(number))
        elif kind == "take":
            taken += waiting.take(number)
        elif not waiting.proven:
            taken += waiting.take_of_strangers(number)
        assert len(waiting) == count - len(taken) or count > OF_ONE
    for seat in proven:
        of_seat = [each.when for each in taken if each.seat == seat]
        assert of_seat == sorted(of_seat)
    assert len({each.when for each in taken}) == len(taken)
