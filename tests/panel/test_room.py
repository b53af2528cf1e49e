"""The room in memory: rows of several servers become one view, and patches by number."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netboot.feed.records import Event, Gone, Hello, Pages, Plan, Record, SeatRow
from netboot.panel import room as module
from netboot.panel.records import Patch, RoomSeat
from netboot.panel.room import Room
from tests.panel.feeding import MIB, a_room, a_seat, figures, mac_of

BEGAN = 1_700_000_000.0
A, B = "a.sock", "10.0.0.2:8080"


class Clock:
    """A clock that stands until it is set."""

    now = BEGAN

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def room(clock: Clock) -> Room:
    return Room((A, B), clock=clock)


def hello(name: str = "school", run: str = "r") -> Hello:
    return Hello(name, "0.2.0", run, 1000.0, 1, 1)


def begin(room: Room, link: str, *rows: SeatRow, name: str = "school") -> None:
    room.connected(link, "")
    records: list[Record] = [hello(name), *rows, figures(BEGAN)]
    for record in records:
        room.take(link, record)
    room.publish()


def event(number: int, seat: int = 1) -> Event:
    return Event(number, BEGAN, mac_of(seat), "http", "sent")


def changed(room: Room, after: int) -> Patch:
    patch = room.changes(after)
    assert patch is not None
    return patch


def test_a_room_begins_empty_and_tells_of_servers_that_are_not_there(room: Room) -> None:
    view = room.view()
    assert view.seats == () and [each.name for each in view.servers] == [A, B]
    assert not any(each.connected for each in view.servers)


def test_rows_of_a_server_are_in_the_view_with_its_name(room: Room) -> None:
    begin(room, A, *a_room(10, BEGAN))
    view = room.view()
    assert len(view.seats) == 10 and {seat.server for seat in view.seats} == {"school"}
    first = view.servers[0]
    assert (first.name, first.version, first.connected, first.started) == (
        "school",
        "0.2.0",
        True,
        1000,
    )
    assert first.capacity == 64 << 30


def test_a_patch_has_what_changed_after_its_number_and_nothing_else(room: Room) -> None:
    begin(room, A, *a_room(10, BEGAN))
    number = room.number
    assert changed(room, number) == Patch(number)
    room.take(A, replace(a_seat(3, BEGAN), stage="init:swap"))
    room.take(A, replace(a_seat(4, BEGAN, "short"), stage="agent:grown"))
    room.publish()
    between = room.number
    room.take(A, a_seat(3, BEGAN + 5))
    room.publish()
    both = {seat.mac: seat for seat in changed(room, number).seats}
    assert set(both) == {mac_of(3), mac_of(4)}
    assert both[mac_of(3)].stage == "userland", "the last row, once"
    assert [seat.mac for seat in changed(room, between).seats] == [mac_of(3)]


def test_a_row_that_did_not_change_is_in_no_patch(room: Room) -> None:
    begin(room, A, a_seat(1, BEGAN))
    number = room.number
    room.take(A, a_seat(1, BEGAN))
    room.publish()
    assert changed(room, number).seats == ()


def test_nothing_new_is_no_change(room: Room) -> None:
    room.publish()
    number = room.number
    assert not room.publish() and room.number == number


@pytest.mark.parametrize("after", (-1, 0, 10**15))
def test_a_number_of_another_room_asks_for_a_reload(room: Room, after: int) -> None:
    assert room.changes(after) is None


def test_numbers_go_on_over_a_restart_of_the_panel(room: Room, clock: Clock) -> None:
    for second in range(100):
        room.take(A, a_seat(1, BEGAN + second))
        assert room.publish()
    last = room.number
    clock.now += 50  # two changes a second at most
    later = Room((A,), clock=clock)
    assert later.number > last and later.changes(last) is None


def test_a_seat_that_the_server_forgot_is_gone(room: Room) -> None:
    begin(room, A, a_seat(1, BEGAN), a_seat(2, BEGAN))
    number = room.number
    room.take(A, Gone(mac_of(2)))
    room.publish()
    assert changed(room, number).gone == (mac_of(2),) and room.seat(mac_of(2)) is None
    room.take(A, a_seat(2, BEGAN))
    room.publish()
    patch = changed(room, number)
    assert patch.gone == () and [seat.mac for seat in patch.seats] == [mac_of(2)]


def test_after_a_restart_of_the_server_rows_that_it_does_not_tell_are_gone(room: Room) -> None:
    begin(room, A, a_seat(1, BEGAN), a_seat(2, BEGAN))
    room.connected(A, "the connection broke")
    room.publish()
    assert len(room.view().seats) == 2, "the last that is known"
    begin(room, A, a_seat(2, BEGAN))
    assert [seat.mac for seat in room.view().seats] == [mac_of(2)]


def test_a_server_that_is_away_is_told(room: Room, clock: Clock) -> None:
    begin(room, A)
    number, clock.now = room.number, BEGAN + 7
    room.connected(A, "the connection broke")
    room.publish()
    (server,) = changed(room, number).servers
    assert not server.connected and server.since == BEGAN + 7


def test_two_servers_of_one_name_are_told_apart(room: Room) -> None:
    begin(room, A)
    begin(room, B)
    assert [each.name for each in room.view().servers] == ["school", f"school ({B})"]


def test_a_seat_of_two_servers_is_the_one_that_booted_it_with_the_traffic_of_both(
    room: Room,
) -> None:
    booted = a_seat(1, BEGAN)
    pages_alone = SeatRow(mac_of(1), "pc-001", seen=BEGAN + 9, pages=Pages(2, MIB, MIB, MIB, MIB))
    begin(room, A, booted, name="one")
    begin(room, B, pages_alone, name="two")
    (seat,) = room.view().seats
    assert (seat.server, seat.stage, seat.name) == ("one", "userland", "pc-001")
    assert seat.pages.connections == 4 and seat.pages.stored == 91 * MIB
    assert room.servers_of(seat.mac) == [A, B]
    room.connected(A, "the connection broke")
    room.publish()
    (seat,) = room.view().seats
    assert seat.server == "two" and room.servers_of(seat.mac) == [B]


def test_a_seat_of_two_boot_servers_is_shown_once_by_the_one_it_runs_on(room: Room) -> None:
    """Both have the seat in their profile, and the same plan (boot.servers)."""
    named, plan = SeatRow(mac_of(1), "pc-001"), Plan((("pc-001", "pc-002"),))
    begin(room, A, a_seat(1, BEGAN), name="one")
    begin(room, B, named, name="two")
    for link in (A, B):
        room.take(link, plan)
    room.publish()

    def server() -> str:
        room.publish()
        (seat,) = room.view().seats
        assert (seat.name, room.view().plan) == ("pc-001", plan.rows)
        return seat.server

    assert server() == "one"
    room.connected(A, "the connection broke")
    room.take(B, replace(named, seen=BEGAN + 5))  # its reports go to the other one
    assert server() == "two"
    begin(room, A, named, name="one")  # started again, and knows the seat by the profile alone
    assert server() == "two"
    room.take(A, replace(named, seen=BEGAN + 20))
    assert server() == "one", "the seat asks the server that booted it first"
    room.take(B, replace(a_seat(1, BEGAN + 60), name="pc-001"))
    assert server() == "two", "it has booted there"


def test_seats_of_one_name_at_two_servers_are_told_apart_as_long_as_both_are_there(
    room: Room,
) -> None:
    begin(room, A, replace(a_seat(1, BEGAN), name="pc-1"), name="one")
    room.take(A, Plan((("pc-1", "pc-2"),)))
    begin(room, B, replace(a_seat(2, BEGAN), name="pc-1"), name="two")
    names = {seat.mac: seat.name for seat in room.view().seats}
    assert names == {mac_of(1): "pc-1@one", mac_of(2): "pc-1@two"}
    assert room.view().plan == (("pc-1@one", "pc-2"),)
    number = room.number
    room.take(B, Gone(mac_of(2)))
    room.publish()
    patch = changed(room, number)
    assert [seat.name for seat in patch.seats] == ["pc-1"] and patch.plan == (("pc-1", "pc-2"),)


def test_the_plan_of_hand_replaces_the_plans_of_the_servers_until_it_is_empty(room: Room) -> None:
    begin(room, A)
    room.take(A, Plan((("a", "b"),)))
    room.take(B, Plan((("c",),)))
    room.publish()
    assert room.view().plan == (("a", "b"), ("c",))
    number = room.number
    room.set_plan((("b", "a"),))
    assert room.view().plan == (("b", "a"),), "at once, for the answer to the browser"
    room.publish()
    assert changed(room, number).plan == (("b", "a"),)
    room.set_plan(())
    room.publish()
    assert room.view().plan == (("a", "b"), ("c",)) and changed(room, room.number).plan is None


def test_events_are_in_patches_and_with_their_seat(room: Room) -> None:
    begin(room, A, a_seat(1, BEGAN))
    number = room.number
    for each in range(1, 101):
        room.take(A, event(each, seat=1 + each % 2))
    room.publish()
    assert [each.number for each in changed(room, number).events] == list(range(1, 101))
    assert changed(room, number).events[0].server == "school"
    room.take(A, event(101))
    room.publish()
    assert [each.number for each in room.events(mac_of(1))][-3:] == [98, 100, 101]
    assert len(room.events(mac_of(2))) == 50 and room.events("02:00:00:00:ff:ff") == []


def test_events_and_gone_seats_are_bounded_and_old_numbers_reload(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_EVENTS", 5)
    monkeypatch.setattr(module, "MOST_GONE", 2)
    begin(room, A)
    numbers = []
    for each in range(8):
        numbers.append(room.number)
        room.take(A, event(each))
        room.publish()
    assert room.changes(numbers[0]) is None
    assert [each.number for each in changed(room, numbers[3]).events] == [3, 4, 5, 6, 7]
    number = room.number
    for each in range(3):
        room.take(A, a_seat(each, BEGAN))
        room.publish()
        room.take(A, Gone(mac_of(each)))
        room.publish()
    assert room.changes(number) is None


def test_long_events_take_the_place_of_many(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_EVENT_BYTES", 200_000)
    begin(room, A)
    for each in range(8):
        room.take(A, replace(event(each), data={"console": "x" * 60_000}))
    room.publish()
    assert [each.number for each in room.events(event(7).seat)] == [5, 6, 7]


def test_a_flood_of_seats_is_bounded(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SEATS", 20)
    begin(room, A, *a_room(50, BEGAN))
    assert len(room.view().seats) == 20


def test_listeners_hear_of_each_change_until_they_leave(room: Room) -> None:
    heard: list[int] = []
    leave = room.subscribe(lambda: heard.append(room.number))
    begin(room, A)
    leave()
    begin(room, A, a_seat(1, BEGAN))
    assert len(heard) == 1


steps = st.lists(
    st.one_of(
        st.tuples(st.just("row"), st.integers(0, 5), st.integers(0, 3)),
        st.tuples(st.just("gone"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("link"), st.integers(0, 1), st.integers(0, 1)),
        st.tuples(st.just("hello"), st.just(0), st.just(0)),
        st.tuples(st.just("publish"), st.just(0), st.just(0)),
    ),
    max_size=40,
)


@given(steps, st.integers(0, 40))
def test_a_view_and_the_patches_after_it_make_the_view_of_now(
    steps: list[tuple[str, int, int]], when: int
) -> None:
    room = Room((A, B), clock=lambda: BEGAN)
    seats, number = dict[str, RoomSeat](), room.number
    for index, (what, one, two) in enumerate(steps):
        link = (A, B)[index % 2]
        match what:
            case "row":
                name = f"pc-{one % 3}"
                room.take(link, replace(a_seat(one, BEGAN + two), name=name))
            case "gone":
                room.take(link, Gone(mac_of(one)))
            case "link":
                room.connected((A, B)[one], "" if two else "away")
            case "hello":
                room.take(link, hello(link))
                room.take(link, figures(BEGAN))
            case _:
                room.publish()
        if index == when:
            view = room.view()
            number = view.number
            seats = {seat.mac: seat for seat in view.seats}
    room.publish()
    patch = room.changes(number)
    assert patch is not None
    seats |= {seat.mac: seat for seat in patch.seats}
    for mac in patch.gone:
        seats.pop(mac, None)
    if len(steps) > when:
        assert seats == {seat.mac: seat for seat in room.view().seats}
    servers: dict[str, set[str]] = {}
    for seat in room.view().seats:
        servers.setdefault(seat.name, set()).add(seat.server)
    assert all(len(names) == 1 for names in servers.values())
