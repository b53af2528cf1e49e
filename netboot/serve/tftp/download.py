"""Download: one file read over TFTP, sans-IO (RFC 1350, 2347, 2348, 7440)."""

from netboot.errors import AnswerError, ProtocolError
from netboot.serve.tftp import packet
from netboot.serve.tftp.packet import Data, Error, OptionAck

DEFAULT_BLKSIZE = 512  # RFC 1350; without options


class Download:
    """Reads ``filename``. ``again`` is what the client sends first, and what it sends once more if
    nothing comes. ``content`` grows until it is ``done``.
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
        """Takes what the server sent; what is to be answered, if anything.

        Raises AnswerError if the server refuses, ProtocolError if it breaks the protocol.
        """
        match packet.parse_answer(datagram):
            case Error(code, message):
                raise AnswerError(f"TFTP error {code}: {message}")
            case OptionAck(options):
                if self._taken:
                    return None  # sent once more: its ACK is under way
                self._accept(dict(options))
                return self._ack()
            case Data(block, payload):
                return self._data(block, payload)

    def _accept(self, options: dict[str, str]) -> None:
        accepted = {}
        for name, value in options.items():
            # "must not be larger than what the client asked for" (RFC 2348, RFC 7440)
            if not value.isdecimal() or not 1 <= int(value) <= self._asked.get(name, 0):
                raise ProtocolError(f"the server answers {name}={value}, which was not asked for")
            accepted[name] = int(value)
        self._blksize = accepted.get("blksize", DEFAULT_BLKSIZE)
        self._windowsize = accepted.get("windowsize", 1)

    def _data(self, block: int, payload: bytes) -> bytes | None:
        if len(payload) > self._blksize:
            raise ProtocolError(f"a block of {len(payload)} bytes, expected {self._blksize}")
        if self.done or block != (self._taken + 1) & 0xFFFF:
            # Out of order: something was lost, the server is to go on behind what we have; but it
            # is told once, or each of a window would start another one (the Sorcerer's Apprentice).
            return self._ack() if self._acked < self._taken else None
        self._taken += 1
        self.content += payload
        self.done = len(payload) < self._blksize
        return self._ack() if self.done or self._taken - self._acked >= self._windowsize else None

    def _ack(self) -> bytes:
        self._acked = self._taken
        self.again = packet.ack(self._taken)
        return self.again
