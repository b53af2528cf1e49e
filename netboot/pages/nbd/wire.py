"""NBD on the wire: constants and fixed headers of the protocol (NBD's doc/proto.md). Pure.

All integers are big-endian. Strings are UTF-8 without a terminator, at most 4096 bytes.
"""

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from struct import Struct
from typing import Self

from netboot.errors import ProtocolError

GREETING_MAGIC = 0x4E42444D41474943  # "NBDMAGIC"
OPTION_MAGIC = 0x49484156454F5054  # "IHAVEOPT"
OPTION_REPLY_MAGIC = 0x0003E889045565A9
REQUEST_MAGIC = 0x25609513
EXTENDED_REQUEST_MAGIC = 0x21E41C71
SIMPLE_REPLY_MAGIC = 0x67446698
STRUCTURED_REPLY_MAGIC = 0x668E33EF
EXTENDED_REPLY_MAGIC = 0x6E8A278C

MAX_STRING_BYTES = 4096
MAX_PAYLOAD_BYTES = 32 << 20  # a client may rely on it (proto.md), and Linux sends no more

GREETING = Struct(">QQH")  # two magics, handshake flags
CLIENT_FLAGS = Struct(">I")
OPTION = Struct(">QII")  # magic, option, length
OPTION_REPLY = Struct(">QIII")  # magic, option, type, length
EXPORT_NAME_REPLY = Struct(">QH")  # size, transmission flags; then 124 zeros or none
EXPORT_NAME_ZEROES = bytes(124)
INFO_EXPORT = Struct(">HQH")  # type, size, transmission flags
INFO_BLOCK_SIZE = Struct(">HIII")  # type, minimum, preferred, maximum payload
REQUEST = Struct(">IHHQQI")  # magic, command flags, command, cookie, offset, length
EXTENDED_REQUEST = Struct(">IHHQQQ")  # the same fields, the length has 64 bits
SIMPLE_REPLY = Struct(">IIQ")  # magic, error, cookie
STRUCTURED_REPLY = Struct(">IHHQI")  # magic, flags, type, cookie, payload length
EXTENDED_REPLY = Struct(">IHHQQQ")  # magic, flags, type, cookie, request's offset, payload length

DONE = 1  # NBD_REPLY_FLAG_DONE: no more chunks for this request


class HandshakeFlag(IntFlag):
    """Handshake flags of the server; the client's have the same bits."""

    FIXED_NEWSTYLE = 1 << 0
    NO_ZEROES = 1 << 1


class Option(IntEnum):
    """Option types (``NBD_OPT_*``)."""

    EXPORT_NAME = 1
    ABORT = 2
    LIST = 3
    STARTTLS = 5
    INFO = 6
    GO = 7
    STRUCTURED_REPLY = 8
    LIST_META_CONTEXT = 9
    SET_META_CONTEXT = 10
    EXTENDED_HEADERS = 11


class Reply(IntEnum):
    """Option reply types (``NBD_REP_*``); bit 31 marks an error."""

    ACK = 1
    SERVER = 2
    INFO = 3
    META_CONTEXT = 4
    ERR_UNSUP = 1 << 31 | 1
    ERR_POLICY = 1 << 31 | 2
    ERR_INVALID = 1 << 31 | 3
    ERR_PLATFORM = 1 << 31 | 4
    ERR_TLS_REQD = 1 << 31 | 5
    ERR_UNKNOWN = 1 << 31 | 6
    ERR_SHUTDOWN = 1 << 31 | 7
    ERR_BLOCK_SIZE_REQD = 1 << 31 | 8
    ERR_TOO_BIG = 1 << 31 | 9
    ERR_EXT_HEADER_REQD = 1 << 31 | 10


class Info(IntEnum):
    """Information types of INFO and GO (``NBD_INFO_*``)."""

    EXPORT = 0
    NAME = 1
    DESCRIPTION = 2
    BLOCK_SIZE = 3


class TransmissionFlag(IntFlag):
    """The abilities of an export (``NBD_FLAG_*``)."""

    HAS_FLAGS = 1 << 0
    READ_ONLY = 1 << 1
    SEND_FLUSH = 1 << 2
    SEND_FUA = 1 << 3
    ROTATIONAL = 1 << 4
    SEND_TRIM = 1 << 5
    SEND_WRITE_ZEROES = 1 << 6
    SEND_DF = 1 << 7
    CAN_MULTI_CONN = 1 << 8
    SEND_RESIZE = 1 << 9
    SEND_CACHE = 1 << 10
    SEND_FAST_ZERO = 1 << 11


class Command(IntEnum):
    """Request types (``NBD_CMD_*``)."""

    READ = 0
    WRITE = 1
    DISC = 2
    FLUSH = 3
    TRIM = 4
    CACHE = 5
    WRITE_ZEROES = 6
    BLOCK_STATUS = 7
    RESIZE = 8


class CommandFlag(IntFlag):
    """Command flags (``NBD_CMD_FLAG_*``)."""

    FUA = 1 << 0
    NO_HOLE = 1 << 1
    DF = 1 << 2
    REQ_ONE = 1 << 3
    FAST_ZERO = 1 << 4
    PAYLOAD_LEN = 1 << 5


class Chunk(IntEnum):
    """Types of structured and extended replies (``NBD_REPLY_TYPE_*``); bit 15 marks an error."""

    NONE = 0
    OFFSET_DATA = 1
    OFFSET_HOLE = 2
    BLOCK_STATUS = 5
    BLOCK_STATUS_EXT = 6
    ERROR = 1 << 15 | 1
    ERROR_OFFSET = 1 << 15 | 2


class State(IntFlag):
    """The state of an extent in the context ``base:allocation`` (``NBD_STATE_*``)."""

    HOLE = 1 << 0
    ZERO = 1 << 1


class Error(IntEnum):
    """Error values of replies (``NBD_E*``); 0 is success."""

    NONE = 0
    EPERM = 1
    EIO = 5
    ENOMEM = 12
    EINVAL = 22
    ENOSPC = 28
    EOVERFLOW = 75
    ENOTSUP = 95
    ESHUTDOWN = 108


def _unpack(struct: Struct, what: str, magic: int, data: bytes) -> tuple[int, ...]:
    if len(data) != struct.size:
        raise ProtocolError(f"{what}: {len(data)} bytes, expected {struct.size}")
    found, *fields = struct.unpack(data)
    if found != magic:
        raise ProtocolError(f"{what}: magic {found:#x}, expected {magic:#x}")
    return tuple(fields)


@dataclass(frozen=True, slots=True)
class OptionHeader:
    """Header of a client's option in the handshake; ``length`` bytes of data follow. 16 bytes."""

    option: int
    length: int

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Parse 16 bytes. Raises ProtocolError for another length or magic."""
        return cls(*_unpack(OPTION, "option", OPTION_MAGIC, data))

    def serialize(self) -> bytes:
        """Return the 16 bytes."""
        return OPTION.pack(OPTION_MAGIC, self.option, self.length)


@dataclass(frozen=True, slots=True)
class OptionReply:
    """Header of the answer to an option; ``length`` bytes of data follow. 20 bytes."""

    option: int
    type: int
    length: int

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Parse 20 bytes. Raises ProtocolError for another length or magic."""
        return cls(*_unpack(OPTION_REPLY, "option reply", OPTION_REPLY_MAGIC, data))

    def serialize(self) -> bytes:
        """Return the 20 bytes."""
        return OPTION_REPLY.pack(OPTION_REPLY_MAGIC, self.option, self.type, self.length)


@dataclass(frozen=True, slots=True)
class Request:
    """A request; a WRITE's ``length`` bytes follow. ``offset``, ``length`` in bytes.

    28 bytes, or 32 if extended headers were negotiated.
    """

    flags: int
    command: int
    cookie: int
    offset: int
    length: int

    @classmethod
    def parse(cls, data: bytes, *, extended: bool = False) -> Self:
        """Parse 28 (32) bytes. Raises ProtocolError for another length or magic."""
        if extended:
            return cls(*_unpack(EXTENDED_REQUEST, "request", EXTENDED_REQUEST_MAGIC, data))
        return cls(*_unpack(REQUEST, "request", REQUEST_MAGIC, data))

    def serialize(self, *, extended: bool = False) -> bytes:
        """Return the 28 (32) bytes."""
        fields = (self.flags, self.command, self.cookie, self.offset, self.length)
        if extended:
            return EXTENDED_REQUEST.pack(EXTENDED_REQUEST_MAGIC, *fields)
        return REQUEST.pack(REQUEST_MAGIC, *fields)


@dataclass(frozen=True, slots=True)
class SimpleReply:
    """A simple reply; after success of a READ its data follow. 16 bytes."""

    error: int
    cookie: int

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Parse 16 bytes. Raises ProtocolError for another length or magic."""
        return cls(*_unpack(SIMPLE_REPLY, "simple reply", SIMPLE_REPLY_MAGIC, data))

    def serialize(self) -> bytes:
        """Return the 16 bytes."""
        return SIMPLE_REPLY.pack(SIMPLE_REPLY_MAGIC, self.error, self.cookie)
