"""Export: an area that a client may attach. Refused: the reason why it may not."""

from dataclasses import dataclass, field
from enum import Enum

from netboot.pages.nbd.wire import MAX_PAYLOAD_BYTES, TransmissionFlag

MINIMUM_BLOCK = 1
PREFERRED_BLOCK = 4096  # a page
MAXIMUM_BLOCK = MAX_PAYLOAD_BYTES

_Flag = TransmissionFlag
_READABLE = _Flag.HAS_FLAGS | _Flag.SEND_FLUSH | _Flag.SEND_FUA | _Flag.SEND_CACHE
_WRITABLE = _Flag.SEND_TRIM | _Flag.SEND_WRITE_ZEROES | _Flag.SEND_FAST_ZERO


@dataclass(frozen=True, slots=True)
class Export:
    """``size_bytes`` bytes under a name. The name appears in logs, so it never contains a token.

    ``key`` opens the export from now on in place of the token that the client gave; empty if there
    is none. It is in the answer to INFO.
    """

    name: str
    size_bytes: int
    description: str = ""
    read_only: bool = False
    key: str = field(default="", repr=False)

    def transmission_flags(self, *, structured: bool) -> TransmissionFlag:
        """Return the flags that the handshake sends to a client.

        ``structured`` tells whether its reads are answered with structured replies.
        """
        # All connections share one store: a flush on one covers the writes of all.
        flags = _READABLE | TransmissionFlag.CAN_MULTI_CONN
        if structured:
            flags |= TransmissionFlag.SEND_DF
        return flags | (TransmissionFlag.READ_ONLY if self.read_only else _WRITABLE)


class Refusal(Enum):
    """The kinds of refusal. Each has its own reply type on the wire."""

    UNKNOWN = "unknown"
    POLICY = "policy"


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal of an export. ``reason`` is a sentence for the client's console.

    ``is_ours``: the client did nothing wrong, and the server's operator has to do something.
    ``is_full``: so many are served already, and a place may be free when the client comes again.
    """

    reason: str
    kind: Refusal = Refusal.POLICY
    is_ours: bool = False
    is_full: bool = False
