"""The lines that seats may fill in the timeline."""

from netboot.boot.limits import TIMELINE_LINES, TIMELINE_LINES_OF_STRANGERS
from netboot.boot.rations import Rations

OWN = [f"own {number}" for number in range(100)]


def test_a_seat_fills_as_many_lines_as_it_may_and_the_rest_is_counted() -> None:
    rations = Rations(OWN)
    taken = sum(rations.take("own 1", 0.1 * number) for number in range(500))
    assert taken == TIMELINE_LINES.per_address and rations.take_refused() == 0
    assert rations.take("own 1", 60.0)
    assert (rations.take_refused(), rations.take_refused()) == (500 - taken, 0)


def test_strangers_leave_room_for_the_seats_of_the_profile() -> None:
    rations = Rations(OWN)
    taken = sum(rations.take(f"stranger {number}", 1.0) for number in range(10_000))
    assert taken == TIMELINE_LINES_OF_STRANGERS.in_total
    taken += sum(rations.take(seat, 1.0) for seat in OWN for _ in range(100))
    assert taken == TIMELINE_LINES.in_total
