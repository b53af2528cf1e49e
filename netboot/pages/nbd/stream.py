"""A parser that reads top to bottom, fed with bytes as they happen to come. Pure.

The parser is a generator: it yields how many bytes it wants next, is sent exactly those, and
returns its outcome. So it can neither read too far nor depend on how the bytes were split.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Generic, TypeVar

from netboot.errors import ProtocolError

Outcome = TypeVar("Outcome")
Parser = Generator[int, bytes, Outcome]


@dataclass(frozen=True, slots=True)
class Closed:
    """The connection is over; nothing more is read or said. ``reason`` is for the log."""

    reason: str


class Stream(Generic[Outcome]):
    """Feeds one parser. Its ProtocolError becomes the outcome ``Closed``."""

    def __init__(self, parser: Parser[Outcome]) -> None:
        self._parser = parser
        self._buffer = bytearray()
        self._wanted = next(parser)
        self.outcome: Outcome | Closed | None = None

    def receive_data(self, data: bytes) -> None:
        """Takes bytes from the peer; those after the end of the dialogue are kept."""
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
        """Bytes received and not parsed."""
        return bytes(self._buffer)


def skip(length: int, step: int = 65536) -> Parser[None]:
    """Reads ``length`` bytes and forgets them, holding no more than ``step`` at a time."""
    while length:
        length -= len((yield min(length, step)))
