"""A page file that does not answer is told once, each minute, and when it answers again."""

from netboot.pages.worker.stalls import AGAIN_SECONDS, STALLED_SECONDS, Stall, Stalls


def test_a_task_that_stays_the_oldest_is_told_once() -> None:
    stalls, task = Stalls(), object()
    assert stalls.look({"a": task, "b": None}, 100.0) == []
    assert stalls.look({"a": task, "b": None}, 100.0 + STALLED_SECONDS - 0.1) == []
    assert stalls.look({"a": task, "b": None}, 105.5) == [Stall("a", 5.5)]
    assert stalls.look({"a": task, "b": None}, 106.5) == []


def test_it_is_told_again_each_minute_and_at_its_end() -> None:
    stalls, task = Stalls(), object()
    stalls.look({"a": task}, 0.0)
    stalls.look({"a": task}, STALLED_SECONDS)
    later = STALLED_SECONDS + AGAIN_SECONDS
    assert stalls.look({"a": task}, later) == [Stall("a", later)]
    assert stalls.look({"a": None}, later + 1) == [Stall("a", later + 1, over=True)]
    assert stalls.look({"a": None}, later + 2) == []


def test_a_page_file_that_answers_one_request_answers() -> None:
    stalls, first, second = Stalls(), object(), object()
    stalls.look({"a": first}, 0.0)
    stalls.look({"a": first}, 6.0)
    assert stalls.look({"a": second}, 7.0) == [Stall("a", 7.0, over=True)]
    assert stalls.look({"a": second}, 12.0) == [Stall("a", 5.0)]


def test_requests_that_are_answered_are_never_told() -> None:
    stalls = Stalls()
    assert all(stalls.look({"a": object()}, float(at)) == [] for at in range(20))


def test_a_lease_that_is_gone_is_forgotten() -> None:
    stalls, task = Stalls(), object()
    stalls.look({"a": task}, 0.0)
    stalls.look({"a": task}, 6.0)
    assert stalls.look({}, 7.0) == []
    assert stalls.look({"a": task}, 8.0) == []
