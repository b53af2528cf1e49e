"""NBD as scapy layers: an oracle that shares no line with netboot/nbd.

Written from NBD's doc/proto.md. scapy is GPL-2.0-only and a development dependency: nothing in
netboot/ imports this.
"""

from typing import Any, ClassVar

from scapy.fields import (
    ConditionalField,
    FieldLenField,
    FieldListField,
    FlagsField,
    IntEnumField,
    IntField,
    LongField,
    ShortEnumField,
    ShortField,
    StrLenField,
    XIntField,
    XLongField,
)
from scapy.packet import Packet

OPTIONS = {1: "EXPORT_NAME", 2: "ABORT", 3: "LIST", 6: "INFO", 7: "GO", 8: "STRUCTURED_REPLY"}
REPLIES = {
    1: "ACK",
    2: "SERVER",
    3: "INFO",
    0x80000001: "ERR_UNSUP",
    0x80000002: "ERR_POLICY",
    0x80000003: "ERR_INVALID",
    0x80000006: "ERR_UNKNOWN",
    0x80000009: "ERR_TOO_BIG",
}
COMMANDS = {0: "READ", 1: "WRITE", 2: "DISC", 3: "FLUSH", 4: "TRIM", 5: "CACHE", 6: "WRITE_ZEROES"}
INFOS = {0: "EXPORT", 1: "NAME", 2: "DESCRIPTION", 3: "BLOCK_SIZE"}
ERRORS = {0: "OK", 1: "EPERM", 5: "EIO", 12: "ENOMEM", 22: "EINVAL", 28: "ENOSPC"}
TRANSMISSION_FLAGS = [
    "HAS_FLAGS",
    "READ_ONLY",
    "SEND_FLUSH",
    "SEND_FUA",
    "ROTATIONAL",
    "SEND_TRIM",
    "SEND_WRITE_ZEROES",
    "SEND_DF",
    "CAN_MULTI_CONN",
    "SEND_RESIZE",
    "SEND_CACHE",
    "SEND_FAST_ZERO",
    "BLOCK_STATUS_PAYLOAD",
    "b13",
    "b14",
    "b15",
]


class _Nbd(Packet):  # type: ignore[misc] # scapy has no types for us
    def extract_padding(self, s: bytes) -> tuple[bytes, bytes]:
        return b"", s


class Greeting(_Nbd):
    name = "NBD greeting"
    fields_desc: ClassVar = [
        XLongField("magic", 0x4E42444D41474943),
        XLongField("option_magic", 0x49484156454F5054),
        FlagsField("flags", 3, 16, ["FIXED_NEWSTYLE", "NO_ZEROES"]),
    ]


class ClientFlags(_Nbd):
    name = "NBD client flags"
    fields_desc: ClassVar = [FlagsField("flags", 3, 32, ["FIXED_NEWSTYLE", "NO_ZEROES"])]


class Option(_Nbd):
    name = "NBD option"
    fields_desc: ClassVar = [
        XLongField("magic", 0x49484156454F5054),
        IntEnumField("option", 7, OPTIONS),
        FieldLenField("length", None, length_of="data", fmt="I"),
        StrLenField("data", b"", length_from=lambda packet: packet.length),
    ]


class GoData(_Nbd):
    """Data of INFO and GO."""

    name = "NBD export query"
    fields_desc: ClassVar = [
        FieldLenField("name_length", None, length_of="export", fmt="I"),
        StrLenField("export", b"", length_from=lambda packet: packet.name_length),
        FieldLenField("count", None, count_of="infos", fmt="H"),
        FieldListField(
            "infos", [], ShortEnumField("info", 0, INFOS), count_from=lambda packet: packet.count
        ),
    ]


class OptionReply(_Nbd):
    name = "NBD option reply"
    fields_desc: ClassVar = [
        XLongField("magic", 0x0003E889045565A9),
        IntEnumField("option", 7, OPTIONS),
        IntEnumField("type", 1, REPLIES),
        FieldLenField("length", None, length_of="data", fmt="I"),
        StrLenField("data", b"", length_from=lambda packet: packet.length),
    ]


class InfoReply(_Nbd):
    """Data of an NBD_REP_INFO."""

    name = "NBD information"
    fields_desc: ClassVar = [
        ShortEnumField("info", 0, INFOS),
        ConditionalField(LongField("size", 0), lambda packet: packet.info == 0),
        ConditionalField(
            FlagsField("flags", 0, 16, TRANSMISSION_FLAGS), lambda packet: packet.info == 0
        ),
        ConditionalField(IntField("minimum", 1), lambda packet: packet.info == 3),
        ConditionalField(IntField("preferred", 4096), lambda packet: packet.info == 3),
        ConditionalField(IntField("maximum", 1 << 25), lambda packet: packet.info == 3),
    ]

    def extract_padding(self, s: bytes) -> tuple[bytes, bytes]:
        return s, b""  # NAME and DESCRIPTION: the text is the payload


class Request(_Nbd):
    name = "NBD request"
    fields_desc: ClassVar = [
        XIntField("magic", 0x25609513),
        FlagsField("flags", 0, 16, ["FUA", "NO_HOLE", "DF", "REQ_ONE", "FAST_ZERO"]),
        ShortEnumField("type", 0, COMMANDS),
        XLongField("cookie", 0),
        LongField("offset", 0),
        IntField("length", 0),
    ]


class SimpleReply(_Nbd):
    name = "NBD simple reply"
    fields_desc: ClassVar = [
        XIntField("magic", 0x67446698),
        IntEnumField("error", 0, ERRORS),
        XLongField("cookie", 0),
    ]


class ExportNameReply(_Nbd):
    name = "NBD EXPORT_NAME reply"
    fields_desc: ClassVar = [LongField("size", 0), ShortField("flags", 0)]


def go(export: bytes, *infos: int, option: int = 7) -> bytes:
    """The bytes of an INFO (6) or GO (7) option."""
    return bytes(Option(option=option, data=bytes(GoData(export=export, infos=list(infos)))))


def option_replies(data: bytes) -> list[Any]:
    """All option replies in ``data``, which must hold nothing else."""
    replies = []
    while data:
        reply = OptionReply(data)
        assert reply.magic == 0x0003E889045565A9, data
        replies.append(reply)
        data = data[20 + reply.length :]
    return replies
