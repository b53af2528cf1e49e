"""The bytes of a feed, as records. Pure.

A newer server may send keys and types that this release does not know: they are left out. Everything else
that is no record is a ``Wrong`` with its reason, never an exception: one bad line must not end a reader.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from netboot.feed.records import KINDS, MAX_LINE_BYTES, Record

TYPE = "type"
MAX_REASON = 200  # characters; a part of it is the server's text
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
        content = json.loads(line.decode(), parse_float=_finite, parse_constant=_finite)
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
    try:
        # From JSON: strict rules for Python values would want tuples where JSON has lists.
        record: Record = adapter.validate_json(line, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(each) for each in first["loc"])
        return Wrong(_short(f"{kind}: {where}{': ' if where else ''}{first['msg']}"))
    return record


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no figure")
    return number


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
