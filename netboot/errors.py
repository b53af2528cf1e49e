"""The kinds of error, and the value for traffic that is not ours.

NetbootError
├── OperatorError    the operator's mistake: one line with a hint, exit status 2, no traceback
├── ProtocolError    the peer's mistake: that packet or connection is dropped, one log line
└── AnswerError      a server that we asked as a client: it is told to who had us ask

Anything else that is raised is a bug and shows its traceback once.
"""

from dataclasses import dataclass


class NetbootError(Exception):
    """Root of what this package raises on purpose."""


class OperatorError(NetbootError):
    """A mistake that the person at the keyboard can mend.

    ``str(error)`` is the one line to show; ``hint`` (may be empty) says what to do about it.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ProtocolError(NetbootError):
    """Bytes from a peer that its protocol does not allow; the message names both numbers."""


class AnswerError(NetbootError):
    """A question of ours that a server did not answer, or not rightly; the message is one line."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """Traffic that gets no answer, and why. Not an error: most packets on a LAN are not for us."""

    reason: str
    serious: bool = False  # the operator should hear of it
