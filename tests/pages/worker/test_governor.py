"""Order of turns: shares by bytes, reads first, no starvation, no wait for two writers."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from netboot.pages.worker.governor import BURST_SECONDS, QUANTUM_BYTES, Governor

PAGE = 4096


def test_a_page_waits_for_at_most_one_turn_of_all_who_write() -> None:
    governor = Governor()
    writers = [f"writer{number}" for number in range(8)]
    for _ in range(100):
        for name in governor.turns(writers, 0.0):
            governor.charge(name, 0, QUANTUM_BYTES, 0.0)
        turns = governor.turns([*writers, "reader"], 0.0)
        assert turns[0] == "reader"
        assert len(turns) <= 2
        governor.charge("reader", PAGE, 0, 0.0)


def test_a_reader_has_no_more_than_its_share_while_others_write() -> None:
    governor, moved = Governor(), Counter[str]()
    for _ in range(3000):
        for name in governor.turns(["writer", "reader"], 0.0):
            done = PAGE if name == "reader" else 128 << 10
            governor.charge(name, *((done, 0) if name == "reader" else (0, done)), 0.0)
            moved[name] += done
    assert 0.9 < moved["reader"] / moved["writer"] < 1.1


def test_a_seat_alone_always_has_its_turn() -> None:
    governor = Governor()
    for _ in range(100):
        assert governor.turns(["a"], 0.0) == ["a"]
        governor.charge("a", 0, 32 << 20, 0.0)
    governor.forget("a")
    assert governor.turns([], 0.0) == []


def test_a_ceiling_delays_and_never_refuses() -> None:
    governor = Governor()
    governor.limit("a", 1e6)
    assert governor.turns(["a", "b"], 5.0) != []
    governor.charge("a", 0, 500_000, 5.0)
    governor.charge("b", 0, 500_000, 5.0)
    assert governor.turns(["a"], 5.4) == []
    assert 0.089 < governor.rest("a", 5.4) < 0.091
    assert governor.turns(["a", "b"], 5.4) == ["b"]
    assert governor.turns(["a"], 5.491) == ["a"]
    assert governor.rest("a", 5.491) == governor.rest("unknown", 0.0) == 0.0


def test_ceilings_differ_and_can_be_lifted() -> None:
    governor = Governor()
    governor.limit("slow", 1e6)
    governor.limit("fast", 1e8)
    for name in ("slow", "fast", "free"):
        governor.charge(name, 1_000_000, 0, 0.0)
    assert [governor.rest(name, 0.0) for name in ("slow", "fast", "free")] == [
        1.0 - BURST_SECONDS,
        0.0,
        0.0,
    ]
    governor.limit("slow", None)
    assert governor.rest("slow", 0.0) == 0.0


@given(
    st.integers(4 << 20, 1 << 30),
    st.lists(st.tuples(st.integers(4096, 1 << 20), st.floats(0, 0.1)), max_size=20),
)
def test_no_more_is_moved_than_the_ceiling_allows_in_any_time(
    ceiling: int, steps: list[tuple[int, float]]
) -> None:
    governor, now, moved = Governor(), 100.0, 0
    governor.limit("a", ceiling)
    for size, pause in steps:
        now += pause
        if governor.turns(["a"], now):
            governor.charge("a", size, 0, now)
            moved += size
        assert moved <= ceiling * (now - 100.0 + BURST_SECONDS) + (1 << 20) + 1
        assert 0 <= governor.rest("a", now) <= (1 << 20) / ceiling


@given(
    st.lists(
        st.tuples(st.sampled_from("abcde"), st.booleans(), st.integers(1, 4 << 20)),
        min_size=2,
        max_size=5,
        unique_by=lambda seat: seat[0],
    )
)
def test_whoever_always_waits_gets_as_much_as_any_other(
    seats: list[tuple[str, bool, int]],
) -> None:
    governor, moved = Governor(), Counter[str]()
    kinds = {name: (reads, size) for name, reads, size in seats}
    largest = max(size for _, size in kinds.values())
    for _ in range(400):
        turns = governor.turns(kinds, 0.0)
        assert turns
        for name in turns:
            reads, size = kinds[name]
            governor.charge(name, size if reads else 0, 0 if reads else size, 0.0)
            moved[name] += size
    # The bound of deficit round robin on the difference between two seats, over any time.
    assert max(moved[name] for name in kinds) - min(moved[name] for name in kinds) <= 2 * (
        largest + QUANTUM_BYTES
    )
