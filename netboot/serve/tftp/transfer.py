"""One file on its way to a client: the terms, and the time of each packet. Pure; times in seconds.

RFC 1350; 2348 blksize, 2349 timeout and tsize, 7440 windowsize. A window of one block is the lock
step of RFC 1350.

Rules of retransmission: if the client acknowledges the beginning of a window, the rest is sent at
once. Otherwise the window is sent again after the deadline. A repeated ACK may mean that a window
was lost, or only that the network doubled a packet. An answer to it would double every packet from
then on ("Sorcerer's Apprentice", RFC 1123 section 4.2.3.1). So a repeated ACK only brings the
deadline nearer: if the window's own ACK is on its way, it arrives before the deadline.

An unproven transfer is one that was never acknowledged. Its request may come from a false address,
and the answer disturbs another machine. So it lasts ``limits.TFTP_UNPROVEN`` seconds, in which its
first packet is sent three times at most. All copies together have at most
``limits.TFTP_AMPLIFICATION`` times the bytes of the request, counted as Ethernet frames. A client
whose answers were lost sends its request again, and that request counts too.
"""

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from netboot.boot import limits
from netboot.errors import ProtocolError
from netboot.serve.tftp import packet
from netboot.serve.tftp.packet import Ack, Error, ErrorCode, Opcode

IP_UDP_TFTP_HEADERS = 20 + 8 + 4  # bytes of an MTU that are not payload of a DATA packet
DEFAULT_BLKSIZE = 512
MIN_BLKSIZE = 8  # RFC 2348
MAX_WINDOWSIZE = 64  # a tenth of a megabyte in one burst; tftp-hpa's bound too, dnsmasq's is 32
MAX_TIMEOUT_SECONDS = 10  # RFC 2349 has 255; a request for more gets our own timeout
FRAME_HEADERS = 14 + 20 + 8  # bytes of Ethernet, IP and UDP around each datagram

FIRST_WAIT_SECONDS = 0.5  # doubled at each retransmission
# If the client asks for a longer timeout. curl asks for 6 s: of 1700 blocks 66 are lost at 2 % each way.
LONGEST_FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 8.0
HURRY_SECONDS = 0.05  # after a repeated ACK; a LAN's round trip, with queues, is far below
# Without progress. A boot ROM gives up after 10 to 30 s as well.
PATIENCE_SECONDS = limits.TFTP_TRANSFERS.seconds or math.inf
UNPROVEN_SECONDS = limits.TFTP_UNPROVEN.seconds or math.inf
UNPROVEN_SENDINGS = 3
AMPLIFICATION = limits.TFTP_AMPLIFICATION.per_address or 0
CHUNK_BYTES = 64 << 10  # of the file, read at a time
# Repeats of the first packet, the second after 1.5 s: no chance any more. A client that asks for them
# gets them earlier.
STUCK_REPEATS, STUCK_SECONDS = 2, 1.25

_HEADER = struct.Struct(">HH").pack
_DATA, _ACK = int(Opcode.DATA), int(Opcode.ACK)  # looking a member up costs a quarter of a block
_NOTHING: list[bytes] = []


class Outcome(StrEnum):
    """The end of a request."""

    REFUSED = "refused"
    DONE = "done"
    PROBE = "probe"  # the client asked for the size and stopped: UEFI does
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of one transfer. ``oack`` are the acknowledged options, empty if there are none.

    ``timeout`` is in seconds, until the first retransmission. RFC 2349 lets the client choose it for
    both sides. A client that asks for a long one gets its option back, and an earlier repeat.
    """

    blksize: int = DEFAULT_BLKSIZE  # bytes
    windowsize: int = 1  # blocks
    timeout: float = FIRST_WAIT_SECONDS
    oack: Mapping[str, int] = field(default_factory=dict)


def agree(options: Mapping[str, str], size: int, mtu: int) -> Terms:
    """Return the terms for a file of ``size`` bytes on a link with ``mtu`` bytes.

    Options that are unknown or make no sense are left out of the OACK (RFC 2347). The client may
    go on without them or give up.
    """
    # Many boot ROMs do not reassemble IP fragments.
    largest = max(mtu - IP_UDP_TFTP_HEADERS, MIN_BLKSIZE)
    oack: dict[str, int] = {}
    for name, text in options.items():
        if not (text.isascii() and text.isdigit() and len(text) <= 10):
            continue
        value = int(text)
        if name == "blksize" and value >= MIN_BLKSIZE:
            oack[name] = min(value, largest)
        elif name == "windowsize" and value >= 1:
            oack[name] = min(value, MAX_WINDOWSIZE)
        elif name == "timeout" and 1 <= value <= MAX_TIMEOUT_SECONDS:
            oack[name] = value
        elif name == "tsize":
            oack[name] = size
    return Terms(
        oack.get("blksize", DEFAULT_BLKSIZE),
        oack.get("windowsize", 1),
        min(oack.get("timeout", FIRST_WAIT_SECONDS), LONGEST_FIRST_WAIT_SECONDS),
        oack,
    )


class Sender:
    """A transfer of ``size`` bytes; ``read(offset, length)`` returns that part of the file.

    ``asked`` is the number of bytes of the request.
    Each method returns the datagrams to send; all but the last are equally long. ``outcome`` is
    None until the transfer has ended; if it is broken, ``reason`` says why. Until the end the
    caller must call ``tick`` when ``deadline`` has passed.
    """

    __slots__ = (
        "_acked",
        "_awaited",
        "_begun_at",
        "_blksize",
        "_budget",
        "_chunk",
        "_chunk_at",
        "_heard",
        "_hurried",
        "_last",
        "_oack",
        "_progress_at",
        "_read",
        "_repeats",
        "_sendings",
        "_sent",
        "_sent_at",
        "_terms",
        "_wait",
        "_windowsize",
        "deadline",
        "outcome",
        "reason",
        "size",
    )

    def __init__(
        self, read: Callable[[int, int], bytes], size: int, terms: Terms, asked: int
    ) -> None:
        self.size = size
        self.outcome: Outcome | None = None
        self.reason = ""
        self._read = read
        self._terms = terms
        self._blksize = terms.blksize
        self._windowsize = terms.windowsize
        self._oack = packet.oack(terms.oack) if terms.oack else b""
        # Blocks are counted from 1, beyond 16 bits. The OACK counts as block 0, as in its ACK.
        self._last = size // terms.blksize + 1  # shorter than a block, possibly empty
        self._acked = -1 if self._oack else 0
        self._sent = self._acked
        self._awaited = b""  # the ACK of the last block sent
        self._heard = self._hurried = False
        self._wait = terms.timeout
        self._sent_at = self._progress_at = self.deadline = 0.0
        self._budget = AMPLIFICATION * (asked + FRAME_HEADERS)  # bytes to send, while unproven
        self._sendings = 0  # of the first packet, for the limit on an unproven transfer
        self._begun_at = 0.0  # when the window was first sent
        self._repeats = -1  # of the window
        self._chunk = memoryview(b"")
        self._chunk_at = 0

    @property
    def acknowledged_bytes(self) -> int:
        """The number of bytes of the file that the client has."""
        return min(max(self._acked, 0) * self._blksize, self.size)

    @property
    def heard(self) -> bool:
        """True if the client has answered: it does not send its request again after that."""
        return self._heard

    @property
    def progress_at(self) -> float:
        """The time at which the client acknowledged something new, or else of the first packet."""
        return self._progress_at

    @property
    def stuck(self) -> bool:
        """True if the first packet of a transfer with large blocks does not seem to arrive."""
        is_late = self._sent_at - self._begun_at >= STUCK_SECONDS
        is_repeated = self._repeats >= STUCK_REPEATS and is_late
        return self._acked <= 0 and is_repeated and self._blksize > DEFAULT_BLKSIZE

    def ask_again(self, asked: int, now: float) -> None:
        """Take a repeated request of ``asked`` bytes: the first packet may be sent once more."""
        if not self._heard:
            self._budget += AMPLIFICATION * (asked + FRAME_HEADERS)
            self._sendings = min(self._sendings, UNPROVEN_SENDINGS - 1)
            self._progress_at = now
            self.deadline = min(self.deadline, max(now, self._sent_at + HURRY_SECONDS))

    def start(self, now: float) -> list[bytes]:
        """Return the answer to the request."""
        return self._progress(now)

    def receive(self, datagram: bytes, now: float) -> list[bytes]:
        """Return the answer to a datagram of the client."""
        if datagram == self._awaited:
            self._acked = self._sent
            return self._progress(now)
        try:
            message = packet.parse(datagram)
        except ProtocolError:
            return _NOTHING
        if isinstance(message, Error):
            self.reason = f"the client reports: {message.message or f'error {message.code}'}"
            self.outcome = Outcome.BROKEN if self._acked > 0 else Outcome.PROBE
        elif isinstance(message, Ack):
            return self._acknowledge((message.block - self._acked) & 0xFFFF, now)
        return _NOTHING

    def _acknowledge(self, blocks: int, now: float) -> list[bytes]:
        """Return the answer to an ACK of ``blocks`` more blocks than the last one."""
        if blocks > self._sent - self._acked:  # an old ACK, or one of unsent blocks
            return _NOTHING
        if blocks == 0:
            self._heard = self._hurried = True
            self.deadline = min(self.deadline, max(now, self._sent_at + HURRY_SECONDS))
            return _NOTHING
        self._acked += blocks
        return self._progress(now)

    def tick(self, now: float) -> list[bytes]:
        """Return the datagrams to send again, if the deadline has passed."""
        if now < self.deadline:
            return _NOTHING
        if now - self._progress_at >= (PATIENCE_SECONDS if self._heard else UNPROVEN_SECONDS):
            self.give_up("no answer")
            return _NOTHING
        if not self._hurried:
            self._wait = min(2 * self._wait, LONGEST_WAIT_SECONDS)
        return self._window(now)

    def give_up(self, reason: str) -> None:
        """End the transfer: the client is gone, for ``reason``.

        The transfer is done if only the last ACK is missing: many clients start the file instead of
        sending that ACK.
        """
        if self._heard and self._sent == self._last:
            self._acked = self._last
            self.outcome = Outcome.DONE
        else:
            self.outcome, self.reason = Outcome.BROKEN, reason
            if self.stuck:
                self.reason = f"no answer to the first packet, with blocks of {self._blksize} bytes"

    def _progress(self, now: float) -> list[bytes]:
        if self._acked == self._last:
            self.outcome = Outcome.DONE
            return _NOTHING
        self._heard = self._awaited != b""
        self._progress_at = self._begun_at = now
        self._wait = self._terms.timeout
        self._repeats = -1
        return self._window(now)

    def _window(self, now: float) -> list[bytes]:
        """Return the window after the last acknowledged block, to send or to send again."""
        first = self._acked + 1
        self.deadline = now + self._wait
        if not self._heard:
            self.deadline = min(self.deadline, self._progress_at + UNPROVEN_SECONDS)
            if self._sendings == UNPROVEN_SENDINGS:
                return _NOTHING
        try:
            if first == 0:
                datagrams, last = [self._oack], 0
            elif self._windowsize == 1:
                datagrams, last = [self._data(first)], first
            else:
                last = min(self._acked + self._windowsize, self._last)
                datagrams = [self._data(block) for block in range(first, last + 1)]
        except EOFError:
            self.outcome, self.reason = Outcome.BROKEN, "the file has changed"
            return [packet.error(ErrorCode.NOT_DEFINED, self.reason)]
        self._sent = last
        self._awaited = _HEADER(_ACK, last & 0xFFFF)
        self._hurried = False
        self._sent_at = now
        if not self._heard:
            size = sum(FRAME_HEADERS + len(datagram) for datagram in datagrams)
            if self._sendings and size > self._budget:
                return _NOTHING
            self._sendings += 1
            self._budget -= size
        self._repeats += 1
        return datagrams

    def _data(self, block: int) -> bytes:
        at = (block - 1) * self._blksize - self._chunk_at
        if not 0 <= at < len(self._chunk):
            self._load((block - 1) * self._blksize)
            at = 0
        return _HEADER(_DATA, block & 0xFFFF) + self._chunk[at : at + self._blksize]

    def _load(self, offset: int) -> None:
        """Read whole blocks. Raises EOFError if the file has become shorter."""
        blocks = max(1, CHUNK_BYTES // self._blksize)
        wanted = min(blocks * self._blksize, self.size - offset)
        self._chunk = memoryview(self._read(offset, wanted) if wanted else b"")
        self._chunk_at = offset
        if len(self._chunk) != wanted:
            raise EOFError
