"""The packets of TFTP: RFC 1350, with the options of RFC 2347. Pure."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from netboot.errors import ProtocolError

MAX_REASON_CHARACTERS = 80  # of a peer's error message, which goes into a log line


class Opcode(IntEnum):
    """The first two bytes of every packet."""

    RRQ = 1
    WRQ = 2
    DATA = 3
    ACK = 4
    ERROR = 5
    OACK = 6


class ErrorCode(IntEnum):
    """The codes of RFC 1350 (section 5 and appendix); 8 is of RFC 2347."""

    NOT_DEFINED = 0
    FILE_NOT_FOUND = 1
    ACCESS_VIOLATION = 2
    DISK_FULL = 3
    ILLEGAL_OPERATION = 4
    UNKNOWN_TRANSFER_ID = 5
    FILE_EXISTS = 6
    NO_SUCH_USER = 7
    OPTION_NEGOTIATION = 8


@dataclass(frozen=True, slots=True)
class Request:
    """RRQ, or WRQ for an ``upload``. ``mode`` and the names of ``options`` are in lower case."""

    filename: str
    mode: str
    options: Mapping[str, str]
    upload: bool = False


@dataclass(frozen=True, slots=True)
class Ack:
    """An acknowledgement. ``block`` is a number of 16 bits, which wraps to 0 in a long file."""

    block: int


@dataclass(frozen=True, slots=True)
class Error:
    """The end of a transfer by an error. ``message`` is printable."""

    code: int
    message: str


@dataclass(frozen=True, slots=True)
class Data:
    """A block of a file. ``block`` is its number in 16 bits."""

    block: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class OptionAck:
    """The options that a server accepted."""

    options: Mapping[str, str]


def parse(datagram: bytes) -> Request | Ack | Error:
    """Parse a datagram of a client. Raises ProtocolError, also for DATA and OACK of servers."""
    if len(datagram) < 4:
        raise ProtocolError(f"{len(datagram)} bytes, expected at least 4")
    opcode, number = struct.unpack_from(">HH", datagram)
    if opcode in (Opcode.RRQ, Opcode.WRQ):
        return _parse_request(datagram[2:], upload=opcode == Opcode.WRQ)
    if opcode == Opcode.ACK:
        return Ack(number)
    if opcode == Opcode.ERROR:
        return _parse_error(datagram)
    raise ProtocolError(f"opcode {opcode} from a client, expected 1 (read) to 5 (error)")


def parse_answer(datagram: bytes) -> Data | OptionAck | Error:
    """Parse a datagram that a server sent to a client that reads. Raises ProtocolError."""
    opcode = int.from_bytes(datagram[:2], "big") if len(datagram) >= 2 else 0
    if opcode == Opcode.OACK:
        words = [word.decode("utf-8", "replace") for word in datagram[2:].split(b"\0")]
        return OptionAck(
            {name.lower(): value for name, value in zip(words[::2], words[1::2], strict=False)}
        )
    if opcode == Opcode.DATA and len(datagram) >= 4:
        return Data(int.from_bytes(datagram[2:4], "big"), datagram[4:])
    if opcode == Opcode.ERROR and len(datagram) >= 4:
        return _parse_error(datagram)
    raise ProtocolError(
        f"opcode {opcode} in {len(datagram)} bytes from a server, expected 3, 5 or 6"
    )


def _parse_error(datagram: bytes) -> Error:
    text = datagram[4:].partition(b"\0")[0].decode("utf-8", "replace")
    return Error(int.from_bytes(datagram[2:4], "big"), printable(text)[:MAX_REASON_CHARACTERS])


def _parse_request(body: bytes, *, upload: bool) -> Request:
    fields = body.removesuffix(b"\0").split(b"\0")  # the last zero byte may be missing
    if len(fields) < 2:
        raise ProtocolError("a request: expected a file name and a mode, with a zero byte between")
    name, mode, *words = (field.decode("utf-8", "replace") for field in fields)
    options: dict[str, str] = {}
    for option, value in zip(words[::2], words[1::2], strict=False):
        options.setdefault(option.lower(), value)  # "may only be specified once": the first counts
    return Request(name, mode.lower(), options, upload)


def printable(text: str) -> str:
    """Return ``text`` for a log: without characters that move a terminal's cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def read_request(filename: str, options: Mapping[str, int]) -> bytes:
    """Return an RRQ in mode octet."""
    fields = "".join(f"{name}\0{value}\0" for name, value in options.items())
    return struct.pack(">H", Opcode.RRQ) + f"{filename}\0octet\0{fields}".encode()


def ack(block: int) -> bytes:
    """Return an ACK; ``block`` may exceed 16 bits."""
    return struct.pack(">HH", Opcode.ACK, block & 0xFFFF)


def error(code: ErrorCode, message: str) -> bytes:
    """Return an ERROR; ``message`` is ASCII."""
    return struct.pack(">HH", Opcode.ERROR, code) + message.encode() + b"\0"


def oack(options: Mapping[str, int]) -> bytes:
    """Return an OACK, with the options in the order of the request."""
    fields = "".join(f"{name}\0{value}\0" for name, value in options.items())
    return struct.pack(">H", Opcode.OACK) + fields.encode()


def to_netascii(content: bytes) -> bytes:
    """Return a text file in mode ``netascii`` (RFC 764): lines end with CR LF, a CR is CR NUL."""
    return content.replace(b"\r", b"\r\0").replace(b"\n", b"\r\n")
