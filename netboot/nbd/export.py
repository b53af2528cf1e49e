"""Export: what a client may attach; Refused: why it may not."""

from dataclasses import dataclass
from enum import Enum

from netboot.nbd.wire import MAX_PAYLOAD_BYTES, TransmissionFlag

MINIMUM_BLOCK = 1
PREFERRED_BLOCK = 4096  # a page
MAXIMUM_BLOCK = MAX_PAYLOAD_BYTES

_READABLE = TransmissionFlag.HAS_FLAGS | TransmissionFlag.SEND_FLUSH | TransmissionFlag.SEND_FUA
_WRITABLE = TransmissionFlag.SEND_TRIM | TransmissionFlag.SEND_WRITE_ZEROES


@dataclass(frozen=True, slots=True)
class Export:
    """``size_bytes`` bytes under a name. The name never holds a token: it is shown in logs."""

    name: str
    size_bytes: int
    description: str = ""
    read_only: bool = False

    @property
    def transmission_flags(self) -> TransmissionFlag:
        """What the export can do, as the handshake tells it."""
        # One store behind all connections: a flush on one covers the writes of all of them.
        flags = _READABLE | TransmissionFlag.CAN_MULTI_CONN
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
