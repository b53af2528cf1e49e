"""The server's half of the fixed newstyle handshake (proto.md, "Protocol phases"). Sans-IO.

Bytes go in by ``receive_data`` and out by ``data_to_send``; the result is ``outcome``. The answer
to an unknown option is NBD_REP_ERR_UNSUP: its data are skipped and option haggling continues.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from struct import Struct

from netboot.pages.nbd.dialect import ALLOCATION, ALLOCATION_ID, SIMPLE, Dialect, Headers
from netboot.pages.nbd.export import (
    MAXIMUM_BLOCK,
    MINIMUM_BLOCK,
    PREFERRED_BLOCK,
    Export,
    Refusal,
    Refused,
)
from netboot.pages.nbd.name import WireName
from netboot.pages.nbd.stream import Closed, Parser, Stream, skip
from netboot.pages.nbd.wire import (
    CLIENT_FLAGS,
    EXPORT_NAME_REPLY,
    EXPORT_NAME_ZEROES,
    GREETING,
    GREETING_MAGIC,
    INFO_BLOCK_SIZE,
    INFO_EXPORT,
    MAX_STRING_BYTES,
    OPTION,
    OPTION_MAGIC,
    HandshakeFlag,
    Info,
    Option,
    OptionHeader,
    OptionReply,
    Reply,
)

# Enough for a name of 4096 bytes and a list of information types or of queries.
MAX_OPTION_BYTES = 8192
# A larger option is not a mistake but an attack: we close instead of reading it to its end.
MAX_SKIPPED_BYTES = 1 << 20
# Each option costs us a reply. nbdinfo --list sends two options for each export.
MAX_OPTIONS = 256

_U32 = Struct(">I")
_U16 = Struct(">H")
_SERVER_FLAGS = HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES
_NAMESPACE = b"base:"
_REFUSAL_REPLY = {Refusal.UNKNOWN: Reply.ERR_UNKNOWN, Refusal.POLICY: Reply.ERR_POLICY}


@dataclass(frozen=True, slots=True)
class Ready:
    """The transmission phase begins, in ``dialect``.

    ``asked`` is the name that the client gave. ``leftover`` are bytes received after the last
    option of the handshake: the first requests.
    """

    asked: WireName
    export: Export
    leftover: bytes
    dialect: Dialect = SIMPLE


@dataclass(frozen=True, slots=True)
class _Chosen:
    asked: WireName
    export: Export


class Handshake:
    """One client's handshake.

    ``lookup(name)`` returns the export or the refusal. It must not change anything, because INFO
    calls it too. ``listed`` are the names for LIST; None if they are secret.
    """

    def __init__(
        self, lookup: Callable[[WireName], Export | Refused], listed: Sequence[str] | None = None
    ) -> None:
        self._lookup = lookup
        self._listed = listed
        self._headers = Headers.SIMPLE
        self._allocation_of: WireName | None = None  # the export of SET_META_CONTEXT
        self._latest = 0, 0  # the latest option, and the length of the output before its answer
        self._out = bytearray(GREETING.pack(GREETING_MAGIC, OPTION_MAGIC, _SERVER_FLAGS))
        self._stream = Stream(self._parse())

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the client. Never raises; see ``outcome``."""
        self._stream.receive_data(data)

    def data_to_send(self) -> bytes:
        """Return the bytes for the client since the last call."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def refuse(self, refused: Refused) -> None:
        """Refuse the chosen export after all, in place of the answer that was not sent yet.

        After EXPORT_NAME, which has no error reply, nothing is said. Close the connection then.
        """
        option, length = self._latest
        del self._out[length:]
        if option == Option.GO:
            self._refuse(option, _REFUSAL_REPLY[refused.kind], refused.reason)

    @property
    def outcome(self) -> Ready | Closed | None:
        """None during option haggling. Send what ``data_to_send`` returns in any case."""
        outcome = self._stream.outcome
        if isinstance(outcome, _Chosen):
            dialect = Dialect(self._headers, outcome.asked == self._allocation_of)
            return Ready(outcome.asked, outcome.export, self._stream.leftover, dialect)
        return outcome

    def _parse(self) -> Parser[_Chosen | Closed]:
        (flags,) = CLIENT_FLAGS.unpack((yield CLIENT_FLAGS.size))
        if flags & ~int(_SERVER_FLAGS):  # ~ of an IntFlag has only the bits of its members
            return Closed(f"client flags {flags:#x}, expected only bits of {_SERVER_FLAGS:#x}")
        for _ in range(MAX_OPTIONS):
            header = OptionHeader.parse((yield OPTION.size))
            if header.length > MAX_SKIPPED_BYTES:
                return Closed(
                    f"option {header.option} of {header.length} bytes, "
                    f"expected at most {MAX_SKIPPED_BYTES}"
                )
            if header.length > MAX_OPTION_BYTES:
                yield from skip(header.length)
                self._refuse(
                    header.option, Reply.ERR_TOO_BIG, f"expected at most {MAX_OPTION_BYTES} bytes"
                )
                continue
            data = yield header.length
            self._latest = header.option, len(self._out)
            if header.option == Option.EXPORT_NAME:
                return self._export_name(data, bool(flags & HandshakeFlag.NO_ZEROES))
            outcome = self._answer(header.option, data)
            if outcome is not None:
                return outcome
        return Closed(f"no export chosen after {MAX_OPTIONS} options")

    def _answer(self, option: int, data: bytes) -> _Chosen | Closed | None:
        match option:
            case Option.ABORT:
                self._reply(option, Reply.ACK)
                return Closed("aborted by the client")
            case Option.LIST:
                self._list(data)
            case Option.INFO:
                self._info(option, data)
            case Option.GO:
                return self._info(option, data)
            case Option.STRUCTURED_REPLY:
                self._negotiate(option, data, Headers.STRUCTURED)
            case Option.EXTENDED_HEADERS:
                self._negotiate(option, data, Headers.EXTENDED)
            case Option.LIST_META_CONTEXT | Option.SET_META_CONTEXT:
                self._meta_context(option, data)
            case _:
                self._refuse(option, Reply.ERR_UNSUP, "not supported")
        return None

    def _export_name(self, data: bytes, no_zeroes: bool) -> _Chosen | Closed:
        # This option has no error reply: the server can only close the connection.
        if self._headers is Headers.EXTENDED:
            return Closed("EXPORT_NAME after EXTENDED_HEADERS")
        name = _decode(data)
        if name is None:
            return Closed(f"export name is not UTF-8 of at most {MAX_STRING_BYTES} bytes")
        found = self._lookup(name)
        if isinstance(found, Refused):
            return Closed(f"refused: {found.reason}")
        self._out += EXPORT_NAME_REPLY.pack(found.size_bytes, self._flags(found))
        if not no_zeroes:
            self._out += EXPORT_NAME_ZEROES
        return _Chosen(name, found)

    def _list(self, data: bytes) -> None:
        if data:
            self._refuse(Option.LIST, Reply.ERR_INVALID, "LIST takes no data")
        elif self._listed is None:
            self._refuse(Option.LIST, Reply.ERR_POLICY, "export names are secret on this server")
        else:
            for name in self._listed:
                encoded = name.encode()
                self._reply(Option.LIST, Reply.SERVER, _U32.pack(len(encoded)) + encoded)
            self._reply(Option.LIST, Reply.ACK)

    def _info(self, option: int, data: bytes) -> _Chosen | None:
        parsed = _parse_info(data)
        if parsed is None:
            self._refuse(option, Reply.ERR_INVALID, "name or information types are malformed")
            return None
        name, wanted = parsed
        found = self._lookup(name)
        if isinstance(found, Refused):
            self._refuse(option, _REFUSAL_REPLY[found.kind], found.reason)
            return None
        facts = INFO_EXPORT.pack(Info.EXPORT, found.size_bytes, self._flags(found))
        self._reply(option, Reply.INFO, facts)
        if Info.NAME in wanted:
            self._reply(option, Reply.INFO, _U16.pack(Info.NAME) + name.text.encode())
        if Info.DESCRIPTION in wanted and found.description:
            # Not with GO, whose client has chosen its secret already.
            key = f", key {found.key}" if found.key and option == Option.INFO else ""
            text = f"{found.description}{key}".encode()
            self._reply(option, Reply.INFO, _U16.pack(Info.DESCRIPTION) + text)
        if Info.BLOCK_SIZE in wanted:
            sizes = (MINIMUM_BLOCK, PREFERRED_BLOCK, MAXIMUM_BLOCK)
            self._reply(option, Reply.INFO, INFO_BLOCK_SIZE.pack(Info.BLOCK_SIZE, *sizes))
        self._reply(option, Reply.ACK)
        return _Chosen(name, found)

    def _flags(self, export: Export) -> int:
        return export.transmission_flags(structured=self._headers is not Headers.SIMPLE)

    def _negotiate(self, option: int, data: bytes, headers: Headers) -> None:
        if data:
            self._refuse(option, Reply.ERR_INVALID, "this option takes no data")
        elif headers < self._headers:
            self._refuse(option, Reply.ERR_EXT_HEADER_REQD, "already in extended headers")
        else:
            self._headers = headers
            self._reply(option, Reply.ACK)

    def _meta_context(self, option: int, data: bytes) -> None:
        """Answer LIST or SET. A SET forgets the contexts set before, even if it fails."""
        listing = option == Option.LIST_META_CONTEXT
        if not listing:
            self._allocation_of = None
        parsed = _parse_meta_context(data)
        if parsed is None or self._headers is Headers.SIMPLE:
            reason = "malformed, or sent before STRUCTURED_REPLY"
            self._refuse(option, Reply.ERR_INVALID, reason)
            return
        name, queries = parsed
        found = self._lookup(name)
        if isinstance(found, Refused):
            self._refuse(option, _REFUSAL_REPLY[found.kind], found.reason)
            return
        # proto.md: a LIST without queries asks for all contexts, "base:" for all of that namespace.
        wanted = listing and (not queries or _NAMESPACE in queries)
        if wanted or ALLOCATION.encode() in queries:
            if not listing:
                self._allocation_of = name
            number = _U32.pack(0 if listing else ALLOCATION_ID)
            self._reply(option, Reply.META_CONTEXT, number + ALLOCATION.encode())
        self._reply(option, Reply.ACK)

    def _reply(self, option: int, type_: Reply, data: bytes = b"") -> None:
        self._out += OptionReply(option, type_, len(data)).serialize() + data

    def _refuse(self, option: int, type_: Reply, reason: str) -> None:
        self._reply(option, type_, reason.encode()[:MAX_STRING_BYTES])


def _decode(name: bytes) -> WireName | None:
    if len(name) > MAX_STRING_BYTES:
        return None
    try:
        return WireName.parse(name.decode())
    except UnicodeDecodeError:
        return None


def _parse_info(data: bytes) -> tuple[WireName, frozenset[int]] | None:
    """Return name and information types of an INFO or GO option; None if it is malformed."""
    if len(data) < _U32.size + _U16.size:
        return None
    (name_length,) = _U32.unpack_from(data)
    end = _U32.size + name_length
    if end + _U16.size > len(data):
        return None
    (count,) = _U16.unpack_from(data, end)
    if end + _U16.size * (1 + count) != len(data):
        return None
    name = _decode(data[_U32.size : end])
    types = Struct(f">{count}H").unpack_from(data, end + _U16.size)
    return None if name is None else (name, frozenset(types))


def _parse_meta_context(data: bytes) -> tuple[WireName, list[bytes]] | None:
    """Return export name and queries; None if the option is malformed."""
    first = _take_string(data, 0)
    if first is None or first[1] + _U32.size > len(data):
        return None
    name, at = _decode(first[0]), first[1]
    (count,) = _U32.unpack_from(data, at)
    at += _U32.size
    queries = []
    while at < len(data):  # not ``count`` times: a client may send four billion
        taken = _take_string(data, at)
        if taken is None or len(taken[0]) > MAX_STRING_BYTES:
            return None
        queries.append(taken[0])
        at = taken[1]
    return None if name is None or len(queries) != count else (name, queries)


def _take_string(data: bytes, at: int) -> tuple[bytes, int] | None:
    """Return a string that follows its length, and the offset of its end; None if it is cut off."""
    begin = at + _U32.size
    if begin > len(data):
        return None
    (length,) = _U32.unpack_from(data, at)
    return None if begin + length > len(data) else (data[begin : begin + length], begin + length)
