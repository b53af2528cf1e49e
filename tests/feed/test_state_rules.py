"""Rules that hold for the row of a seat after any events in any order."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from netboot.boot.stages import BY_NAME
from netboot.feed.reading import read
from netboot.feed.records import STATES, Event, Pages, Pressure, Report, SeatRow, line
from netboot.feed.state import RoomState
from tests.feed.playing import BEGIN, MAC

OTHER, STRANGER = "00:1e:37:44:55:66", "02:00:00:00:00:01"
SEATS = st.sampled_from([MAC, OTHER, STRANGER])
STAGES = st.sampled_from([*BY_NAME, "failed:new", "init:new", "new"])
DATA: dict[str, st.SearchStrategy[Any]] = {
    "type": st.sampled_from(["DISCOVER", "REQUEST", "OFFER", "ACK", 5]),
    "arch": st.sampled_from(["bios", "uefi-x64", "new"]),
    "stage": st.sampled_from(["firmware", "ipxe"]),
    "file": st.sampled_from(["snponly.efi", "bios.ipxe", "amd64/vmlinuz", "", 5]),
    "bytes": st.integers(-5, 10**9),
    "wait": st.integers(-5, 100),
    "uptime": st.floats(0, 1000) | st.text(max_size=3),
    "export": st.sampled_from(["seat-001e37112233", "seat-001e37112233-2", "desktop", 5]),
    "connections": st.integers(-1, 3),
    "address": st.sampled_from(["10.0.0.5", "<script>", 5]),
    "order": st.sampled_from(["poweroff", "reboot now", "identify", ""]),
    "retry_seconds": st.just(1),
    "goes_on": st.booleans(),
}
MESSAGES = st.sampled_from(
    [
        "",
        "refused: no room",
        "poweroff",
        "desktop: its lease has ended",
        "seat-001e37112233: disconnected by the client",
        "512 MiB of RAM, Linux 6.12",
        "x" * 999,
    ]
)
EVENT = st.builds(
    lambda seat, stage, message, data, ago: ("event", seat, stage, message, data, ago),
    SEATS,
    STAGES,
    MESSAGES,
    st.fixed_dictionaries({}, optional=DATA),
    st.floats(0, 700),
)
STEP = st.one_of(
    EVENT,
    EVENT,
    st.tuples(st.just("report"), SEATS, st.floats(0, 100), st.integers(0, 3)),
    st.tuples(st.just("pages"), SEATS, st.integers(0, 3), st.integers(0, 9)),
    st.tuples(st.just("orders"), SEATS),
    st.tuples(st.just("tick"), st.sampled_from([0, 1, 1, 1, 20, 31, 200, 2000, -50, 90_000])),
    st.tuples(st.just("forget"), SEATS),
)


class Room:
    """A room and its clock. ``play`` takes one step."""

    def __init__(self) -> None:
        self.state = RoomState({MAC: "a", OTHER: "b"}, is_proven=lambda mac: mac != STRANGER)
        self.now = BEGIN
        self.rows: dict[str, SeatRow] = {}  # as a reader has them who gets what ``tick`` tells
        self.state.tick(self.now)
        self.read([MAC, OTHER])

    def read(self, changed: list[str]) -> None:
        for mac in self.state.gone():
            self.rows.pop(mac, None)
        self.rows |= {mac: self.state.row(mac) for mac in changed}

    def play(self, step: tuple[Any, ...]) -> None:
        match step:
            case ("event", seat, stage, message, data, ago):
                self.state.event(Event(1, self.now - ago, seat, stage, message, data))
            case ("report", seat, some, kills):
                pressure = Pressure(some)
                self.state.report(seat, Report(self.now, pressure=pressure, oom_kills=kills))
            case ("pages", seat, connections, moved):
                self.state.pages(seat, Pages(connections, read=moved))
            case ("orders", seat):
                self.state.asked_orders(seat, self.now)
            case ("tick", seconds):
                self.now += seconds
                self.read(self.state.tick(self.now))
            case (_, seat):
                self.state.forget(seat)
            case _:
                raise AssertionError(step)


@settings(max_examples=200, deadline=None)
@given(st.lists(STEP, max_size=60))
def test_a_row_is_well_formed_whatever_comes(steps: list[tuple[Any, ...]]) -> None:
    room = Room()
    for step in steps:
        room.play(step)
        for row in room.state.rows():
            assert row.state in STATES
            assert row.named == (row.mac != STRANGER)
            assert row.address in ("", "10.0.0.5")
            assert len(row.stage) <= 60 and len(row.message) <= 300
            assert (row.boot == "") == (row.booted == 0)
            if row.state == "unknown":
                assert row.booted == 0 and row.report is None
            if row.trouble is not None and row.trouble.stage in BY_NAME:
                assert row.trouble.remedy == BY_NAME[row.trouble.stage].remedy
            assert read(line(row).rstrip(b"\n")) == row
    room.play(("tick", 1))
    assert room.rows == {row.mac: row for row in room.state.rows()}, "a reader has each row"


@settings(max_examples=80, deadline=None)
@given(st.lists(STEP, max_size=40))
def test_the_same_steps_make_the_same_rows(steps: list[tuple[Any, ...]]) -> None:
    first, second = Room(), Room()
    for step in steps:
        first.play(step)
        second.play(step)
    assert first.state.rows() == second.state.rows()


@settings(max_examples=80, deadline=None)
@given(st.lists(STEP, max_size=40))
def test_a_seat_changes_by_its_own_events_alone(steps: list[tuple[Any, ...]]) -> None:
    room, alone = Room(), Room()
    for step in steps:
        room.play(step)
        if step[0] == "tick" or step[1] == MAC:
            alone.play(step)
    assert room.state.row(MAC) == alone.state.row(MAC)


@settings(max_examples=30, deadline=None)
@given(st.lists(STEP, max_size=40))
def test_a_silent_seat_is_off_or_unknown_at_last(steps: list[tuple[Any, ...]]) -> None:
    room = Room()
    for step in steps:
        room.play(step)
    for _ in range(9000):
        if all(row.state in ("off", "unknown") for row in room.state.rows()):
            break
        room.play(("tick", 4))
        for mac in (MAC, OTHER, STRANGER):  # a connection is a sign of life
            for export in ("seat-001e37112233", "seat-001e37112233-2", "desktop"):
                data = {"export": export, "connections": 0}
                room.state.event(Event(1, room.now, mac, "pages:detach", "x: it is gone", data))
    for row in room.state.rows():
        assert row.state == "off" or (row.state == "unknown" and row.report is None)


@settings(max_examples=200, deadline=None)
@given(st.lists(STEP, max_size=40))
def test_a_seat_boots_after_anything(steps: list[tuple[Any, ...]]) -> None:
    room = Room()
    for step in steps:
        room.play(step)
    for _ in range(720):  # an hour, in which the server does not stand still
        room.play(("tick", 5))
    now = room.now
    events = (
        Event(2, now + 1, MAC, "http", "", {"file": "amd64/vmlinuz", "bytes": 5}),
        Event(3, now + 2, MAC, "kernel", ""),
        Event(4, now + 4, MAC, "init:network", "", {"uptime": 2}),
    )
    for event in events:
        room.state.event(event)
        assert room.state.row(MAC).state == "booting"
    room.state.event(Event(5, now + 5, MAC, "userland", "", {"uptime": 3}))
    row = room.state.row(MAC)
    assert row.state in ("running", "short") and row.booted == now + 1
    room.state.report(MAC, Report(now + 6))
    assert room.state.row(MAC).state in ("running", "short")


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["dhcp", "pxe", "loader", "silent", "missing", "pages:refused"]),
            st.fixed_dictionaries({}, optional=DATA),
        ).filter(lambda pair: "uptime" not in pair[1]),
        max_size=60,
    )
)
def test_packets_that_anybody_can_send_do_not_end_a_lesson(
    forged: list[tuple[str, dict[str, Any]]],
) -> None:
    room = Room()
    room.state.event(Event(1, BEGIN, MAC, "userland", "", {"uptime": 9}))
    room.state.report(MAC, Report(BEGIN))
    boot = room.state.row(MAC).boot
    for number, (stage, data) in enumerate(forged):
        room.play(("tick", 1))
        room.state.event(Event(2, room.now, MAC, stage, "", data))
        if number % 10 == 0:
            room.state.report(MAC, Report(room.now))
        row = room.state.row(MAC)
        assert (row.state, row.boot) == ("running", boot)
