"""Export: what a client may attach; Refused: why it may not."""

from dataclasses import dataclass
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
    """``size_bytes`` bytes under a name. The name never holds a token: it is shown in logs."""

    name: str
    size_bytes: int
    description: str = ""
    read_only: bool = False

    def transmission_flags(self, *, structured: bool) -> TransmissionFlag:
        """What the export can do, as the handshake tells it to a client whose reads are answered
        with ``structured`` replies, or not.
        """
        # One store behind all connections: a flush on one covers the writes of all of them.
        flags = _READABLE | TransmissionFlag.CAN_MULTI_CONN
        if structured:
            flags |= TransmissionFlag.SEND_DF
        return flags | (TransmissionFlag.READ_ONLY if self.read_only else _WRITABLE)


class Refusal(Enum):
    """Kinds of refusal; each has its own reply type on the wire."""

    UNKNOWN = "unknown"
    POLICY = "policy"


@dataclass(frozen=True, slots=True)
class Refused:
    """An export is not given out. ``reason`` is a sentence for the client's console."""

    reason: str
    kind: Refusal = Refusal.POLICY
