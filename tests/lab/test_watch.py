"""The rules for a watched seat: done, or failed. `vagrant up` watches real ones."""

import pytest

from netboot.boot.events import BootEvent
from netboot.lab.watch import Watched

MAC = "52:54:00:77:00:01"
STAGES = ("swap", "userland")


def history(*stages: str) -> list[BootEvent]:
    return [BootEvent(float(when), MAC, stage, "told") for when, stage in enumerate(stages)]


@pytest.mark.parametrize(
    ("stages", "done", "failure"),
    [
        ((), False, ""),
        (("dhcp", "http", "swap"), False, ""),
        (("dhcp", "swap", "init:root", "userland", "http"), True, ""),
        (("dhcp", "userland"), False, ""),
        (("dhcp", "failed:network"), False, "network: told"),
        (("swap", "failed:root", "userland"), False, "root: told"),
        (("failed:network", "dhcp", "swap", "userland"), True, ""),
        (("swap", "userland", "dhcp", "failed:swap"), False, "swap: told"),
    ],
)
def test_a_seat_is_done_when_it_has_reported_all_since_it_failed(
    stages: tuple[str, ...], done: bool, failure: str
) -> None:
    seat = Watched(MAC)
    seat.take(history(*stages), STAGES)
    assert (seat.done, seat.failure) == (done, failure)


def test_each_event_is_new_once_and_in_the_order_of_time() -> None:
    seat, events = Watched(MAC), history("dhcp", "tftp", "http")
    assert seat.take(events[:1], STAGES) == events[:1]
    # The server keeps events in order of arrival: a PC's own reports are older.
    assert seat.take([events[0], events[2], events[1]], STAGES) == events[1:]
    assert seat.take([events[0], events[2], events[1]], STAGES) == []
