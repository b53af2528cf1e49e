"""The look before a worker sleeps: while it pays, and no longer."""

from collections.abc import Iterable

from netboot.pages.worker.lookout import (
    LEAST_SLEEPS,
    LEAST_TURNS,
    LEAST_WAITS,
    LOOK_SECONDS,
    MOST_WAITS,
    Lookout,
)

CLIENT, DISK = 5, 9
READY = [(CLIENT, 1)]


class Played:
    """An epoll and a clock. Each poll without a wait takes a fifth of the time of a look."""

    def __init__(self) -> None:
        self.now = 0.0
        self.comes_after: float | None = None  # the client's next request, from the begin of a wait
        self.slept = 0
        self.looked = 0
        self.ready = READY
        self._due = 0.0

    def clock(self) -> float:
        return self.now

    def begin(self) -> None:
        self._due = self.now + (self.comes_after or 0)

    def poll(self, timeout: float | None, /) -> list[tuple[int, int]]:
        if timeout == 0:
            self.looked += 1
            self.now += LOOK_SECONDS / 5
            return self.ready if self.comes_after is not None and self.now >= self._due else []
        self.slept += 1
        return self.ready


def _serve(played: Played, lookout: Lookout, clients: Iterable[int | None]) -> None:
    for client in clients:
        played.begin()
        assert lookout.events(None, client) == played.ready


def test_a_client_that_asks_again_at_once_is_seen_without_sleep() -> None:
    played = Played()
    played.comes_after = LOOK_SECONDS / 2
    _serve(played, Lookout(played, played.clock), [CLIENT] * 100)
    assert played.slept == 1  # at its first turn it is not yet known to be alone


def test_a_slow_client_is_looked_for_less_and_less() -> None:
    played = Played()
    lookout = Lookout(played, played.clock)
    _serve(played, lookout, [CLIENT] * (2 + LEAST_WAITS))
    once = played.looked
    assert 0 < once < 10
    _serve(played, lookout, [CLIENT])
    assert played.looked == 2 * once
    _serve(played, lookout, [CLIENT] * (2 * LEAST_WAITS))
    assert played.looked == 2 * once
    _serve(played, lookout, [CLIENT] * (100 * MOST_WAITS))
    assert 100 * once < played.looked < 120 * once
    assert played.slept == 3 * LEAST_WAITS + 3 + 100 * MOST_WAITS


def test_a_client_that_is_quick_again_is_found_again() -> None:
    played = Played()
    lookout = Lookout(played, played.clock)
    _serve(played, lookout, [CLIENT] * 1000)
    played.comes_after = LOOK_SECONDS / 2
    _serve(played, lookout, [CLIENT] * MOST_WAITS)
    slept = played.slept
    _serve(played, lookout, [CLIENT] * 100)
    assert played.slept == slept


def test_there_is_no_look_without_a_turn_or_with_others() -> None:
    played = Played()
    lookout = Lookout(played, played.clock)
    _serve(played, lookout, [None] * 100)
    _serve(played, lookout, [CLIENT, 6] * 100)
    _serve(played, lookout, [CLIENT, None] * 100)
    assert played.looked == 0


def test_a_poll_that_may_not_wait_is_only_that() -> None:
    played = Played()
    lookout = Lookout(played, played.clock)
    for _ in range(3):
        assert lookout.events(0, CLIENT) == []
    assert (played.looked, played.slept) == (3, 0)


def test_what_comes_in_place_of_the_client_makes_looks_rare_too() -> None:
    played = Played()
    played.comes_after, played.ready = LOOK_SECONDS / 2, [(DISK, 1)]
    _serve(played, Lookout(played, played.clock), [CLIENT] * 10000)
    assert played.slept > 9900


def test_a_lone_client_that_no_look_sees_is_slept_for_in_its_socket() -> None:
    played = Played()
    lookout = Lookout(played, played.clock)
    _serve(played, lookout, [CLIENT] * LEAST_TURNS)
    assert not lookout.may_sleep(CLIENT), "it had not enough turns"
    _serve(played, lookout, [CLIENT] * 4)
    assert lookout.may_sleep(CLIENT) and not lookout.may_sleep(6)
    lookout.slept(LEAST_SLEEPS)
    assert lookout.may_sleep(CLIENT)
    lookout.slept(LEAST_SLEEPS - 1)
    assert not lookout.may_sleep(CLIENT), "its requests come slowly"
    _serve(played, lookout, [CLIENT] * LEAST_TURNS)
    assert lookout.may_sleep(CLIENT)
    _serve(played, lookout, [6])
    assert not lookout.may_sleep(CLIENT), "another one was there"


def test_nobody_is_slept_for_while_looks_find_the_client() -> None:
    played = Played()
    played.comes_after = LOOK_SECONDS / 2
    lookout = Lookout(played, played.clock)
    _serve(played, lookout, [CLIENT] * 10 * LEAST_TURNS)
    assert not lookout.may_sleep(CLIENT)


def test_sleeps_count_as_waits_without_a_look() -> None:
    played = Played()
    lookout = Lookout(played, played.clock)
    _serve(played, lookout, [CLIENT] * 2 * LEAST_TURNS)
    lookout.slept(MOST_WAITS)
    looked = played.looked
    _serve(played, lookout, [CLIENT])
    assert played.looked > looked
