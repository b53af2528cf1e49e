"""The kinds of error, and the value for traffic that gets no answer.

NetbootError
├── OperatorError    a mistake of the operator: one line with a hint, exit status 2, no traceback
├── ProtocolError    a mistake of a peer: its packet or connection is dropped, one log line
├── DeniedError      a peer that asks for what is another one's: it is told, one log line
└── AnswerError      a server that we queried failed to answer correctly: the caller is told

Any other exception is a bug, and shows its traceback once.
"""

from dataclasses import dataclass, field


class NetbootError(Exception):
    """The root of all errors that this package raises on purpose."""


class OperatorError(NetbootError):
    """A mistake that the operator can correct.

    ``str(error)`` is the one line to show. ``hint`` (may be empty) gives the remedy.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def text(self) -> str:
        """Return the message, and the hint on a line of its own if there is one."""
        return f"{self}\n  hint: {self.hint}" if self.hint else str(self)


class ProtocolError(NetbootError):
    """Bytes from a peer that violate its protocol; the message gives both numbers."""


class DeniedError(NetbootError):
    """A peer asks for what belongs to another one; the message, one line, is for that peer."""


class AnswerError(NetbootError):
    """A server's missing or wrong answer to our request; the message is one line."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """Traffic that gets no answer, and the reason. No error: most packets are not for us.

    ``serious``: worth telling the operator. ``shows``: what the PC's screen shows then, if known.
    """

    reason: str
    serious: bool = False
    shows: str = field(default="", kw_only=True)

    @property
    def told(self) -> str:
        """The reason, and the consequence if it is known."""
        return self.reason + (f"; the PC shows: {self.shows}" if self.shows else "")
