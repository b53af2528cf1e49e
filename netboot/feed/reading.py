"""The bytes of a feed, as records. Pure.

A newer server may send keys and types that this release does not know: they are left out. Everything else
that is no record is a ``Wrong`` with its reason, never an exception: one bad line must not end a reader.
A server may be broken or somebody else's: a record has only figures that can be reckoned with, MAC
addresses that are some, and texts without a character that acts on a terminal or turns the writing.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from netboot.boot.ticket import is_mac
from netboot.feed.records import KINDS, MAX_LINE_BYTES, Event, Gone, Record, SeatRow, ServerRow

TYPE, ROW = "type", "seat"
MAX_SHOWN = 24  # characters of a value
MAX_REASON = 200  # characters; a part of it is the server's text
MOST = 1 << 63  # of a whole number, as in a database: sums and shares of it are still finite
MAX_ROW_BYTES = 16384  # of a seat's row, of which a panel keeps thousands; it has about 1 KB
MOST_BUCKETS = 64  # of a histogram by powers of two
KEPT = "\n\t"  # of a PC's console
LONG = f"more than {MAX_LINE_BYTES} bytes"
_ADAPTERS: dict[str, TypeAdapter[Any]] = {name: TypeAdapter(kind) for name, kind in KINDS.items()}


@dataclass(frozen=True, slots=True)
class Wrong:
    """A line that is no record, and why."""

    reason: str


def read(line: bytes) -> Record | Wrong | None:
    """Return the record of a line without its newline; None if its type is not known here."""
    if len(line) > MAX_LINE_BYTES:
        return Wrong(LONG)
    try:
        content = json.loads(
            line.decode(), parse_int=_whole, parse_float=_finite, parse_constant=_finite
        )
        if b"\\" in line or not line.isascii():  # else each character is one of a keyboard
            content = _plain(content)
            line = json.dumps(content).encode()
    except (ValueError, RecursionError) as error:
        return Wrong(_short(f"no JSON: {error}"))
    if not isinstance(content, dict):
        return Wrong("expected an object")
    kind = content.get(TYPE)
    if not isinstance(kind, str):
        return Wrong(f"{TYPE}: expected a name")
    adapter = _ADAPTERS.get(kind)
    if adapter is None:
        return None
    if kind == ROW and len(line) > MAX_ROW_BYTES:
        return Wrong(f"{kind}: more than {MAX_ROW_BYTES} bytes")
    try:
        # From JSON: strict rules for Python values would want tuples where JSON has lists.
        record: Record = adapter.validate_json(line, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(each) for each in first["loc"])
        return Wrong(_short(f"{kind}: {where}{': ' if where else ''}{first['msg']}"))
    mistake = _mistake(record)
    return Wrong(_short(f"{kind}: {mistake}")) if mistake else record


def _mistake(record: Record) -> str:
    """Return what is wrong with a record of the right types, empty if nothing is."""
    match record:
        case SeatRow(mac=mac) | Gone(mac=mac) | Event(seat=mac) if not is_mac(mac):
            return f"expected a MAC address, found '{mac[:MAX_SHOWN]}'"
        case ServerRow() if len(record.latency) > MOST_BUCKETS:
            return f"latency: expected at most {MOST_BUCKETS} figures, found {len(record.latency)}"
        case _:
            return ""


def _whole(text: str) -> int:
    number = int(text)
    if not -MOST <= number < MOST:
        raise ValueError(f"{text[:MAX_SHOWN]} is no figure")
    return number


def _finite(text: str) -> float:
    number = float(text)
    if not -MOST <= number <= MOST:  # nor is NaN
        raise ValueError(f"{text[:MAX_SHOWN]} is no figure")
    return number


def _plain(value: Any) -> Any:
    """Return a JSON value without characters that do something, in its texts and keys."""
    if isinstance(value, str):
        return value if value.isprintable() else "".join(map(_shown, value))
    if isinstance(value, dict):
        return {_plain(key): _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _shown(letter: str) -> str:
    return letter if letter.isprintable() or letter in KEPT else "?"


def _short(reason: str) -> str:
    plain = "".join(letter if letter.isprintable() else "?" for letter in reason)
    return plain if len(plain) <= MAX_REASON else f"{plain[: MAX_REASON - 3]}..."


class Lines:
    """Cuts a stream of bytes into lines. It keeps at most ``MAX_LINE_BYTES`` of a line."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._is_long = False  # the rest of this line is thrown away

    def feed(self, data: bytes) -> list[bytes | Wrong]:
        """Return the lines that ``data`` completes, without newlines. Empty ones are left out.

        A line that is too long is a ``Wrong``, once.
        """
        *ended, rest = data.split(b"\n")
        found: list[bytes | Wrong] = []
        for part in ended:
            self._add(part, found)
            if self._rest:
                found.append(bytes(self._rest))
            self._rest.clear()
            self._is_long = False
        self._add(rest, found)
        return found

    def _add(self, part: bytes, found: list[bytes | Wrong]) -> None:
        if self._is_long:
            return
        if len(self._rest) + len(part) > MAX_LINE_BYTES:
            self._is_long = True
            self._rest.clear()
            found.append(Wrong(LONG))
        else:
            self._rest += part


class Reader:
    """Reads the records of one connection to a feed."""

    def __init__(self) -> None:
        self._lines = Lines()

    def feed(self, data: bytes) -> Iterator[Record | Wrong]:
        """Yield what ``data`` completes. Records of unknown types are left out."""
        for line in self._lines.feed(data):
            record = read(line) if isinstance(line, bytes) else line
            if record is not None:
                yield record
