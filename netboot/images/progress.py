"""How long work says how far it is."""

from typing import Protocol


class Progress(Protocol):
    """Where a build reports its progress; the command line draws it."""

    def step(self, text: str) -> None:
        """A new step begins."""

    def advance(self, done: int, total: int) -> None:
        """``done`` of ``total`` (bytes, percent) of this step are through."""
