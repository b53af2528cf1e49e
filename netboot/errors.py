"""The kinds of error, and the value for traffic that gets no answer.

NetbootError
├── OperatorError    a mistake of the operator: one line with a hint, exit status 2, no traceback
│   ├── FailedError  the command was right, and the work failed: the same, exit status 1
│   └── NobodyError  nobody answers where a server should: the same, exit status 3
├── ProtocolError    a mistake of a peer: its packet or connection is dropped, one log line
├── DeniedError      a peer that asks for what is another one's: it is told, one log line
└── AnswerError      a server that we queried failed to answer correctly: the caller is told
    └── SilenceError no server is there, or it says nothing

Any other exception is a bug, and shows its traceback once.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import ClassVar


class Exit(IntEnum):
    """The exit statuses of every verb (docs/reference/exit-codes.md)."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOBODY = 3
    INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it


class NetbootError(Exception):
    """The root of all errors that this package raises on purpose."""


class OperatorError(NetbootError):
    """A mistake that the operator can correct.

    ``str(error)`` is the one line to show. ``hint`` (may be empty) gives the remedy. ``exit`` is the
    status of a command that ends by it.
    """

    exit: ClassVar[Exit] = Exit.USAGE

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def text(self) -> str:
        """Return the message, and the hint on a line of its own if there is one."""
        return f"{self}\n  hint: {self.hint}" if self.hint else str(self)

    def as_json(self) -> dict[str, str | int]:
        """Return the error as JSON-ready values. Its message has the form problem: cause; remedy.

        ``problem`` and ``cause`` are those of the first line if there are several.
        """
        first, remedy = str(self).partition("\n")[0], self.hint
        if not remedy:
            first, _, remedy = first.partition("; ")
        problem, mark, cause = _split(first)
        row = {"problem": problem, "cause": cause if mark else "", "remedy": remedy}
        return {"message": str(self), **row, "exit_code": int(self.exit)}


def _split(line: str) -> tuple[str, str, str]:
    """Split a line at its last colon that is not within quotes, like ``str.rpartition``."""
    at = len(line)
    while (at := line.rfind(": ", 0, at)) >= 0:
        if line.count("'", at) % 2 == 0:
            return line[:at], ": ", line[at + 2 :]
    return line, "", ""


class FailedError(OperatorError):
    """Work that failed though the command was right: a full disk, a download, another program."""

    exit = Exit.FAILED


class NobodyError(OperatorError):
    """No server answers at the address that the command asks."""

    exit = Exit.NOBODY


class ProtocolError(NetbootError):
    """Bytes from a peer that violate its protocol; the message gives both numbers."""


class DeniedError(NetbootError):
    """A peer asks for what belongs to another one; the message, one line, is for that peer."""


class AnswerError(NetbootError):
    """A server's missing or wrong answer to our request; the message is one line."""


class SilenceError(AnswerError):
    """No server is where we asked, or it says nothing."""


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
