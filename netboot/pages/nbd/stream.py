"""A parser that reads from top to bottom, fed with bytes as they arrive. Pure.

The parser is a generator: it yields the number of bytes that it needs next, is sent exactly those,
and returns its outcome. So it cannot read too far, and does not depend on how the bytes were split.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Generic, TypeVar

from netboot.errors import ProtocolError

Outcome = TypeVar("Outcome")
Parser = Generator[int, bytes, Outcome]


@dataclass(frozen=True, slots=True)
class Closed:
    """The end of a connection: nothing more is read or sent. ``reason`` is for the log."""

    reason: str


class Stream(Generic[Outcome]):
    """A parser and its input. A ProtocolError of the parser becomes the outcome ``Closed``."""

    def __init__(self, parser: Parser[Outcome]) -> None:
        self._parser = parser
        self._buffer = bytearray()
        self._wanted = next(parser)
        self.outcome: Outcome | Closed | None = None

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the peer. Those after the parser's end are kept."""
        self._buffer += data
        while self.outcome is None and len(self._buffer) >= self._wanted:
            taken = bytes(self._buffer[: self._wanted])
            del self._buffer[: self._wanted]
            try:
                self._wanted = self._parser.send(taken)
            except StopIteration as end:
                self.outcome = end.value
            except ProtocolError as error:
                self.outcome = Closed(str(error))

    @property
    def leftover(self) -> bytes:
        """The bytes received and not parsed."""
        return bytes(self._buffer)


def skip(length: int, step: int = 65536) -> Parser[None]:
    """Read and drop ``length`` bytes, with at most ``step`` in memory at a time."""
    while length:
        length -= len((yield min(length, step)))
