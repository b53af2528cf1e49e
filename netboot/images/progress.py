"""Progress reports of long operations."""

from typing import Protocol


class Progress(Protocol):
    """The receiver of a build's progress reports; the command line draws them."""

    def step(self, text: str) -> None:
        """Begin a new step."""

    def advance(self, done: int, total: int) -> None:
        """Report that ``done`` of ``total`` (bytes, percent) of this step are complete."""
