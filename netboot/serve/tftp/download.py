"""Download: the client's side of one TFTP transfer. Sans-IO (RFC 1350, 2347, 2348, 7440)."""

from netboot.errors import AnswerError, ProtocolError
from netboot.serve.tftp import packet
from netboot.serve.tftp.packet import Data, Error, OptionAck

DEFAULT_BLKSIZE = 512  # RFC 1350; without options


class Download:
    """Reads ``filename``, in blocks of ``blksize`` bytes and windows of ``windowsize`` blocks.

    ``again`` is the datagram that the client sends first, and repeats if no answer comes.
    ``content`` grows until ``done`` is True.
    """

    def __init__(self, filename: str, blksize: int = DEFAULT_BLKSIZE, windowsize: int = 1) -> None:
        self._asked = {
            name: value
            for name, value, usual in (
                ("blksize", blksize, DEFAULT_BLKSIZE),
                ("windowsize", windowsize, 1),
            )
            if value != usual
        }
        self._blksize, self._windowsize = DEFAULT_BLKSIZE, 1
        self._taken = 0  # blocks
        self._acked = 0
        self.again = packet.read_request(filename, self._asked)
        self.content = bytearray()
        self.done = False

    def receive(self, datagram: bytes) -> bytes | None:
        """Take a datagram of the server. Return the datagram that answers it, or None.

        Raises AnswerError if the server refuses, ProtocolError if it breaks the protocol.
        """
        match packet.parse_answer(datagram):
            case Error(code, message):
                raise AnswerError(f"TFTP error {code}: {message}")
            case OptionAck(options):
                if self._taken:
                    return None  # a retransmission: our ACK is on its way
                self._accept(dict(options))
                return self._ack()
            case Data(block, payload):
                return self._data(block, payload)

    def _accept(self, options: dict[str, str]) -> None:
        accepted = {}
        for name, value in options.items():
            # "must not be larger than what the client asked for" (RFC 2348, RFC 7440)
            if not value.isdecimal() or not 1 <= int(value) <= self._asked.get(name, 0):
                raise ProtocolError(f"the server sent {name}={value}, which was not requested")
            accepted[name] = int(value)
        self._blksize = accepted.get("blksize", DEFAULT_BLKSIZE)
        self._windowsize = accepted.get("windowsize", 1)

    def _data(self, block: int, payload: bytes) -> bytes | None:
        if len(payload) > self._blksize:
            raise ProtocolError(
                f"a block of {len(payload)} bytes, expected at most {self._blksize}"
            )
        if self.done or block != (self._taken + 1) & 0xFFFF:
            # Out of order: a block was lost, and the server must go on after our last one. It gets
            # one ACK only: else each block of a window would start a new window (the Sorcerer's
            # Apprentice, RFC 1123 section 4.2.3.1).
            return self._ack() if self._acked < self._taken else None
        self._taken += 1
        self.content += payload
        self.done = len(payload) < self._blksize
        return self._ack() if self.done or self._taken - self._acked >= self._windowsize else None

    def _ack(self) -> bytes:
        self._acked = self._taken
        self.again = packet.ack(self._taken)
        return self.again
