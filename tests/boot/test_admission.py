"""Admission control, run against a link made of numbers."""

import heapq
from collections.abc import Container

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netboot.boot.admission import (
    AHEAD_SECONDS,
    GONE_SECONDS,
    IDLE_SECONDS,
    LATE_SECONDS,
    MAX_STRANGERS,
    MAX_WAIT_SECONDS,
    Admission,
    Turn,
)

RATE = 1000  # bytes per second
SMALL = 500


class Everyone:
    """All seats are in the profile."""

    def __contains__(self, seat: object) -> bool:
        return True


EVERYONE = Everyone()
NOBODY = frozenset[str]()
both = pytest.mark.parametrize("named", [EVERYONE, NOBODY], ids=["named", "strangers"])


def test_without_a_rate_everybody_may() -> None:
    admission = Admission(None)
    assert {admission.ask(str(seat), 1 << 30, 0.0) for seat in range(100)} == {Turn(0, 0)}


def test_as_many_begin_as_the_wire_can_serve_soon_and_the_rest_is_told_how_long() -> None:
    admission = Admission(RATE, EVERYONE)
    turns = [admission.ask(str(seat), SMALL, 0.0) for seat in range(10)]
    assert [turn.wait for turn in turns] == [0, 0, 0, 0, 0, 0, 1, 1, 1, 2]
    assert [turn.before for turn in turns] == list(range(10))


def test_one_may_always_begin_however_large() -> None:
    admission = Admission(RATE, EVERYONE)
    assert admission.ask("a", 100 * RATE, 0.0).wait == 0
    assert admission.ask("b", 1, 0.0).wait == MAX_WAIT_SECONDS


@both
def test_a_pc_that_waits_no_longer_may_begin_and_counts(named: Container[str]) -> None:
    admission = Admission(RATE, named)
    admission.ask("a", 100 * RATE, 0.0)
    assert admission.ask("b", RATE, 0.0).wait and not admission.is_admitted("b", 0.0)
    assert admission.ask("b", RATE, 15.0, at_last=True).wait == 0
    assert admission.is_admitted("b", 15.0)
    admission.fetched("b", RATE)
    assert not admission.is_admitted("b", 15.0)


def test_a_download_that_is_through_makes_room() -> None:
    admission = Admission(RATE, EVERYONE)
    admission.ask("a", 100 * RATE, 0.0)
    admission.fetched("a", 99 * RATE)
    assert admission.ask("b", 1, 0.0).wait == 0
    admission.left("a")
    admission.fetched("a", RATE)
    assert admission.ask("c", 1, 0.0) == Turn(0, 1)


def test_nobody_overtakes() -> None:
    admission = Admission(RATE, EVERYONE)
    for seat in range(8):
        admission.ask(str(seat), SMALL, 0.0)
    # By now there is room for one PC: the one that came first.
    assert admission.ask("late", SMALL, 0.2).wait > 0
    assert admission.ask("7", SMALL, 0.2).wait > 0
    assert admission.ask("6", SMALL, 0.2).wait == 0


def test_who_does_not_come_when_it_is_its_turn_loses_its_place() -> None:
    admission = Admission(RATE, EVERYONE)
    for seat in range(8):
        admission.ask(str(seat), SMALL, 0.0)
    later = 1 + LATE_SECONDS + 0.1
    for seat in range(6):
        admission.fetched(str(seat), SMALL)
    assert admission.ask("late", SMALL, later) == Turn(0, 0)


def test_who_was_switched_off_is_forgotten() -> None:
    admission = Admission(RATE, EVERYONE)
    for seat in range(12):  # the link carries nothing: twice its share, and no more
        admission.ask(str(seat), SMALL, seat * 10.0)
        admission.begun(str(seat))
    assert admission.ask("next", SMALL, 0.0).wait > 0
    assert admission.ask("next", SMALL, 120.0 + GONE_SECONDS + 10).wait == 0


def test_who_begins_anew_takes_no_second_place() -> None:
    admission = Admission(RATE, EVERYONE)
    for _ in range(20):
        assert admission.ask("a", 2 * RATE, 0.0).wait == 0


class Wire:
    """A link that all downloads share fairly, with PCs that come and wait as they are told."""

    def __init__(self, rate: float, admission: Admission) -> None:
        self.rate, self.admission = rate, admission
        self.left: dict[str, float] = {}
        self.begun: list[str] = []
        self.asked: list[str] = []
        self.longest = 0.0
        self.idle = 0.0
        self.now = 0.0
        self._since: dict[str, float] = {}

    def run(self, sizes: dict[str, int], arrivals: dict[str, float]) -> float:
        """Return the time at which the last PC has everything."""
        due = [(when, number, seat) for number, (seat, when) in enumerate(arrivals.items())]
        heapq.heapify(due)
        while due or self.left:
            following = due[0][0] if due else float("inf")
            share = self.rate / len(self.left) if self.left else 0.0
            through = self.now + min(self.left.values()) / share if self.left else float("inf")
            self._pass(min(following, through), share)
            for seat in [seat for seat, left in self.left.items() if left < 1e-6]:
                del self.left[seat]
                self.longest = max(self.longest, self.now - self._since[seat])
                self.admission.fetched(seat, sizes[seat])
            while due and due[0][0] <= self.now:
                _, number, seat = heapq.heappop(due)
                if seat not in self.asked:
                    self.asked.append(seat)
                wait = self.admission.ask(seat, sizes[seat], self.now).wait
                if wait:
                    heapq.heappush(due, (self.now + wait, number, seat))
                else:
                    self.begun.append(seat)
                    self.left[seat], self._since[seat] = float(sizes[seat]), self.now
                    self.admission.begun(seat)
        return self.now

    def _pass(self, until: float, share: float) -> None:
        if not self.left:
            self.idle += until - self.now
        for seat in self.left:
            self.left[seat] -= share * (until - self.now)
        self.now = until


@both
def test_a_room_of_sixty_keeps_the_wire_busy_and_nobody_downloads_for_long(
    named: Container[str],
) -> None:
    size, rate = 10_000_000, 125_000_000
    wire = Wire(rate, Admission(rate, named))
    seats = [str(number) for number in range(60)]
    end = wire.run(dict.fromkeys(seats, size), {seat: int(seat) / 60 for seat in seats})
    assert end <= 60 * size / rate * 1.02
    assert wire.longest <= AHEAD_SECONDS + 1
    assert wire.begun == wire.asked or named is not EVERYONE


@both
def test_a_wire_of_half_the_rate_is_served_too(named: Container[str]) -> None:
    size, rate = 10_000_000, 125_000_000
    wire = Wire(rate / 2, Admission(rate, named))
    seats = [str(number) for number in range(200)]
    end = wire.run(dict.fromkeys(seats, size), dict.fromkeys(seats, 0.0))
    assert end <= 200 * size / (rate / 2) * 1.02
    assert wire.longest <= 2 * 2 * AHEAD_SECONDS + 1


@given(
    st.lists(st.tuples(st.integers(1, 5000), st.floats(0, 20)), min_size=1, max_size=30),
    st.floats(0.3, 3.0),
    st.sets(st.integers(0, 29)),
)
def test_everybody_gets_its_download(
    pcs: list[tuple[int, float]], speed: float, named: set[int]
) -> None:
    wire = Wire(RATE * speed, Admission(RATE, {str(number) for number in named}))
    sizes = {str(number): size for number, (size, _) in enumerate(pcs)}
    wire.run(sizes, {str(number): when for number, (_, when) in enumerate(pcs)})
    assert sorted(wire.begun) == sorted(sizes)


@pytest.mark.parametrize("size", [0, 1])
def test_empty_files_wait_for_nothing(size: int) -> None:
    admission = Admission(RATE, EVERYONE)
    assert all(admission.ask(str(seat), size, 0.0).wait == 0 for seat in range(50))


IMAGE, GIGABIT = 30_000_000, 125_000_000


def waited(admission: Admission, begin: float, until: float, *, flood: int) -> float:
    """Return how long the seat "honest" waits from ``begin``, beside a ``flood`` of askers a second.

    None of them downloads, and each asks once.
    """
    due = begin
    for number in range(int(until * flood)):
        now = number / flood
        if now >= due:
            turn = admission.ask("honest", IMAGE, now)
            if not turn.wait:
                return now - begin
            due = now + turn.wait
        admission.ask(f"made up {number}", IMAGE, now)
    raise AssertionError("never admitted")


@pytest.mark.parametrize("begin", [0.0, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("flood", [10, 100, 155])
def test_made_up_pcs_delay_a_stranger_by_5_seconds_at_most(begin: float, flood: int) -> None:
    assert waited(Admission(GIGABIT), begin, 30.0, flood=flood) <= IDLE_SECONDS + 1


@pytest.mark.parametrize("flood", [10, 100, 155])
def test_made_up_pcs_do_not_delay_a_seat_of_the_profile(flood: int) -> None:
    assert waited(Admission(GIGABIT, {"honest"}), 3.0, 30.0, flood=flood) < 0.2


def test_a_stranger_that_asks_too_early_gets_no_place() -> None:
    admission = Admission(RATE)
    assert admission.ask("first", 100 * RATE, 0.0).wait == 0
    admission.begun("first")
    for _ in range(10):
        assert admission.ask("hasty", SMALL, 0.1) == Turn(MAX_WAIT_SECONDS, 1)
    assert admission.ask("next", SMALL, 0.2).before == 1, "it is not behind the hasty one"
    admission.ask("hasty", SMALL, 0.1 + MAX_WAIT_SECONDS)
    assert admission.ask("next", SMALL, 0.2 + MAX_WAIT_SECONDS).before == 2


def test_the_queue_of_strangers_and_the_memory_of_them_are_bounded() -> None:
    admission = Admission(RATE)
    admission.ask("first", 10_000 * RATE, 0.0)
    admission.begun("first")
    for now in (0.0, float(MAX_WAIT_SECONDS)):
        for number in range(2 * MAX_STRANGERS):
            admission.ask(str(number), SMALL, now)
    for number in range(20 * MAX_STRANGERS):
        admission.ask(f"later {number}", SMALL, float(MAX_WAIT_SECONDS))
    last = admission.ask("last", SMALL, MAX_WAIT_SECONDS + 1.0)
    assert last.before == MAX_STRANGERS + 1
    assert len(admission._once) <= 16 * MAX_STRANGERS


def test_seats_that_wait_are_counted_until_they_are_late() -> None:
    admission = Admission(RATE, EVERYONE)
    waits = [admission.ask(seat, 5 * RATE, 0.0).wait for seat in "abc"]
    assert waits[0] == 0 and all(waits[1:])
    assert admission.waiting(1.0) == 2
    assert admission.waiting(MAX_WAIT_SECONDS + LATE_SECONDS + 1.0) == 0
