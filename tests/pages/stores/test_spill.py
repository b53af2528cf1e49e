"""The spilling thread, with files that are none."""

import threading

import pytest

from netboot.pages.stores.spill import Spiller


class Large:
    """A page file with many pages in memory, on a disk that fails."""

    pages_in_memory = 2

    def __init__(self, error: Exception) -> None:
        self.error = error

    def spill(self, *, going: bool) -> int:
        raise self.error


class Small:
    """A page file that has five batches."""

    pages_in_memory = 1

    def __init__(self) -> None:
        self.batches = 5
        self.done = threading.Event()

    def spill(self, *, going: bool) -> int:
        self.batches -= 1
        if not self.batches:
            self.done.set()
        return max(self.batches, 0)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(5, "Input/output error"), "cannot spill to disk: Input/output error"),
        (RuntimeError("a bug"), "spilling failed"),
    ],
)
def test_a_file_that_fails_keeps_no_other_in_memory(
    error: Exception, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    spiller, large, small = Spiller(), Large(error), Small()
    spiller.add(large)
    spiller.add(small)
    assert small.done.wait(10)
    spiller.remove(small)
    spiller.remove(large)
    assert [told in record.getMessage() for record in caplog.records] == [True]
