"""NBD as scapy layers: an oracle that shares no line with netboot/pages/nbd.

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

OPTIONS = {
    1: "EXPORT_NAME",
    2: "ABORT",
    3: "LIST",
    6: "INFO",
    7: "GO",
    8: "STRUCTURED_REPLY",
    9: "LIST_META_CONTEXT",
    10: "SET_META_CONTEXT",
    11: "EXTENDED_HEADERS",
}
REPLIES = {
    1: "ACK",
    2: "SERVER",
    3: "INFO",
    4: "META_CONTEXT",
    0x80000001: "ERR_UNSUP",
    0x80000002: "ERR_POLICY",
    0x80000003: "ERR_INVALID",
    0x80000006: "ERR_UNKNOWN",
    0x80000009: "ERR_TOO_BIG",
    0x8000000A: "ERR_EXT_HEADER_REQD",
}
COMMANDS = {
    0: "READ",
    1: "WRITE",
    2: "DISC",
    3: "FLUSH",
    4: "TRIM",
    5: "CACHE",
    6: "WRITE_ZEROES",
    7: "BLOCK_STATUS",
}
COMMAND_FLAGS = ["FUA", "NO_HOLE", "DF", "REQ_ONE", "FAST_ZERO", "PAYLOAD_LEN"]
CHUNKS = {
    0: "NONE",
    1: "OFFSET_DATA",
    2: "OFFSET_HOLE",
    5: "BLOCK_STATUS",
    6: "BLOCK_STATUS_EXT",
    0x8001: "ERROR",
    0x8002: "ERROR_OFFSET",
}
INFOS = {0: "EXPORT", 1: "NAME", 2: "DESCRIPTION", 3: "BLOCK_SIZE"}
ERRORS = {0: "OK", 1: "EPERM", 5: "EIO", 12: "ENOMEM", 22: "EINVAL", 28: "ENOSPC", 95: "ENOTSUP"}
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
        FlagsField("flags", 0, 16, COMMAND_FLAGS),
        ShortEnumField("type", 0, COMMANDS),
        XLongField("cookie", 0),
        LongField("offset", 0),
        IntField("length", 0),
    ]


class ExtendedRequest(_Nbd):
    name = "NBD extended request"
    fields_desc: ClassVar = [
        XIntField("magic", 0x21E41C71),
        FlagsField("flags", 0, 16, COMMAND_FLAGS),
        ShortEnumField("type", 0, COMMANDS),
        XLongField("cookie", 0),
        LongField("offset", 0),
        LongField("length", 0),
    ]


class SimpleReply(_Nbd):
    name = "NBD simple reply"
    fields_desc: ClassVar = [
        XIntField("magic", 0x67446698),
        IntEnumField("error", 0, ERRORS),
        XLongField("cookie", 0),
    ]


class MetaContextQuery(_Nbd):
    """Data of LIST_META_CONTEXT and SET_META_CONTEXT with one query or none."""

    name = "NBD metadata context query"
    fields_desc: ClassVar = [
        FieldLenField("name_length", None, length_of="export", fmt="I"),
        StrLenField("export", b"", length_from=lambda packet: packet.name_length),
        IntField("count", 0),
        ConditionalField(
            FieldLenField("query_length", None, length_of="query", fmt="I"),
            lambda packet: packet.count > 0,
        ),
        ConditionalField(
            StrLenField("query", b"", length_from=lambda packet: packet.query_length),
            lambda packet: packet.count > 0,
        ),
    ]


def _is(*types: int) -> Any:
    return lambda packet: packet.type in types


def _numbers(name: str, field: Any, head_bytes: int) -> Any:
    def length(packet: Any) -> int:
        return int(packet.length) - head_bytes

    return FieldListField(name, [], field, length_from=length, max_count=1 << 20)


class _Chunk(_Nbd):
    """The payload of a chunk. ``data`` is the rest, after the fields of its type."""

    body: ClassVar = [
        ConditionalField(IntField("context", 0), _is(5, 6)),
        ConditionalField(IntField("count", 0), _is(6)),
        ConditionalField(IntEnumField("error", 0, ERRORS), _is(0x8001, 0x8002)),
        ConditionalField(ShortField("message_length", 0), _is(0x8001, 0x8002)),
        ConditionalField(LongField("at", 0), _is(1, 2, 0x8002)),
        ConditionalField(IntField("hole", 0), _is(2)),
        ConditionalField(
            StrLenField("data", b"", length_from=lambda packet: packet.length - 8), _is(1)
        ),
        ConditionalField(
            _numbers("extents", IntField("", 0), 4),
            _is(5),
        ),
        ConditionalField(
            _numbers("extents64", LongField("", 0), 8),
            _is(6),
        ),
    ]


class StructuredReply(_Chunk):
    name = "NBD structured reply"
    fields_desc: ClassVar = [
        XIntField("magic", 0x668E33EF),
        FlagsField("flags", 1, 16, ["DONE"]),
        ShortEnumField("type", 0, CHUNKS),
        XLongField("cookie", 0),
        IntField("length", 0),
        *_Chunk.body,
    ]


class ExtendedReply(_Chunk):
    name = "NBD extended reply"
    fields_desc: ClassVar = [
        XIntField("magic", 0x6E8A278C),
        FlagsField("flags", 1, 16, ["DONE"]),
        ShortEnumField("type", 0, CHUNKS),
        XLongField("cookie", 0),
        LongField("offset", 0),
        LongField("length", 0),
        *_Chunk.body,
    ]


class ExportNameReply(_Nbd):
    name = "NBD EXPORT_NAME reply"
    fields_desc: ClassVar = [LongField("size", 0), ShortField("flags", 0)]


def go(export: bytes, *infos: int, option: int = 7) -> bytes:
    """Return the bytes of an INFO (6) or GO (7) option."""
    return bytes(Option(option=option, data=bytes(GoData(export=export, infos=list(infos)))))


def meta_context(export: bytes, *queries: bytes, option: int = 10) -> bytes:
    """Return the bytes of a LIST_META_CONTEXT (9) or SET_META_CONTEXT (10) option."""
    data = MetaContextQuery(export=export, count=len(queries), query=b"".join(queries[:1]))
    rest = b"".join(len(query).to_bytes(4, "big") + query for query in queries[1:])
    return bytes(Option(option=option, data=bytes(data) + rest))


def replies(data: bytes, reads: dict[int, int] | None = None) -> list[Any]:
    """Return all replies of the transmission phase in ``data``, which must contain nothing else.

    ``reads`` are the lengths of READs by cookie, because a simple reply does not give its length.
    """
    found, at = [], 0
    while at < len(data):
        magic = int.from_bytes(data[at : at + 4], "big")
        if magic == 0x67446698:
            reply = SimpleReply(data[at : at + 16])
            more = (reads or {}).get(reply.cookie, 0) if reply.error == 0 else 0
            at += 16 + more
        else:
            kind, size, width = {
                0x668E33EF: (StructuredReply, 20, 4),
                0x6E8A278C: (ExtendedReply, 32, 8),
            }[magic]
            end = at + size + int.from_bytes(data[at + size - width : at + size], "big")
            reply = kind(data[at:end])
            at = end
        assert at <= len(data), "cut off"
        found.append(reply)
    return found


def option_replies(data: bytes) -> list[Any]:
    """Return all option replies in ``data``, which must contain nothing else."""
    replies = []
    while data:
        reply = OptionReply(data)
        assert reply.magic == 0x0003E889045565A9, data
        replies.append(reply)
        data = data[20 + reply.length :]
    return replies
