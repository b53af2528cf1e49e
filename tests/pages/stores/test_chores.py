"""Work beside the event loop."""

import errno
import threading

import pytest

from netboot.pages.stores import chores
from netboot.pages.stores.chores import Chores


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chores, "RETRY_SECONDS", 0.001)


def test_results_and_errors_arrive() -> None:
    found = Chores(2)
    assert found.do(lambda: 7).result(5) == 7
    with pytest.raises(ZeroDivisionError):
        found.do(lambda: 1 // 0).result(5)
    assert found.stop(5)


def test_a_call_is_made_again_until_it_succeeds_and_others_are_done_meanwhile() -> None:
    found, other = Chores(1), threading.Event()

    def call() -> int:
        if not other.is_set():
            raise OSError(errno.EBUSY, "busy")
        return 3

    result = found.do(call, lambda error: error.errno == errno.EBUSY)
    found.do(other.set)
    assert result.result(5) == 3
    assert found.stop(5)


def test_the_end_does_not_wait_for_a_call_that_never_returns() -> None:
    found, never = Chores(1), threading.Event()
    found.do(never.wait)
    assert not found.stop(0.01)
    never.set()


def test_at_the_end_nothing_is_made_again() -> None:
    found, begun, ended = Chores(1), threading.Event(), threading.Event()

    def call() -> None:
        begun.set()
        ended.wait()
        raise OSError(errno.EBUSY, "busy")

    result = found.do(call, lambda error: error.errno == errno.EBUSY)
    begun.wait()
    assert not found.stop(0)
    ended.set()
    with pytest.raises(OSError, match="busy"):
        result.result(5)
