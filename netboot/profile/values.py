"""Text of a profile -> typed values: sizes, durations, MAC addresses and others. Pure.

The YAML reader (netboot.profile.document) passes every scalar on as the text that was written. So
only this module decides what a value means.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from unicodedata import normalize

from netboot.errors import OperatorError
from netboot.profile import patterns

if TYPE_CHECKING:  # a page worker reads no profile, and pydantic takes a fifth of its start
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

T = TypeVar("T")

MAX_SIZE = 1 << 60  # no machine has that much, and sums of it fit signed 64-bit arithmetic
UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
AUTO = "auto"
CURLY = "\u201c\u201d\u201e\u2018\u2019\u201a\u00ab\u00bb"
MULTICAST = tuple("13579bdf")  # second digits of addresses of many cards (IEEE 802, I/G bit)
ONE_CARD = "a MAC address such as 52:54:00:12:34:56"
MAC_TAIL = "{tail}"  # in a group's hostname: the last six digits of the PC's MAC address


class Unreadable(ValueError):
    """A value that its key does not take. ``nearest``, the likely intention, may be empty."""

    def __init__(self, expected: str, nearest: str = "") -> None:
        super().__init__(f"expected {expected}")
        self.expected = expected
        self.nearest = nearest


class Nearest(ValueError):
    """Raised by a conversion that can guess the intended value; its text is the guess."""


class Annotation(ABC):
    """A pydantic annotation that reads what stands in a YAML file before pydantic does."""

    @abstractmethod
    def read(self, value: object) -> object:
        """Return the value of what stands in the file. Raises ValueError."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: "GetCoreSchemaHandler"
    ) -> "CoreSchema":
        from pydantic_core import core_schema

        return core_schema.no_info_before_validator_function(self.read, handler(source))


@dataclass(frozen=True, eq=False)
class Text(Annotation, Generic[T]):
    """The notation of one kind of value; also a pydantic annotation that reads it.

    ``expected`` completes "expected ...". ``convert`` raises ValueError. ``schema`` is the JSON
    Schema of the value as a user writes it. Values that are neither text nor a YAML container pass
    unchanged, so that typed values can make models too.
    """

    expected: str
    convert: Callable[[str], T]
    schema: Mapping[str, Any]

    def parse(self, text: str) -> T:
        """Return the value of ``text``. Raises Unreadable."""
        try:
            return self.convert(text.strip())
        except Nearest as guess:
            raise Unreadable(self.expected, str(guess)) from None
        except Unreadable:  # it tells more than what is expected
            raise
        except ValueError:
            raise Unreadable(self.expected) from None

    def read(self, value: object) -> object:
        """Return the value of anything that a YAML file may hold here. Raises Unreadable."""
        if isinstance(value, str):
            return self.parse(value)
        if value is None or isinstance(value, list | dict):
            raise Unreadable(self.expected)
        return value

    def __get_pydantic_json_schema__(
        self, schema: "CoreSchema", handler: "GetJsonSchemaHandler"
    ) -> dict[str, Any]:
        return dict(self.schema)


@dataclass(frozen=True, eq=False)
class OneOrMore(Annotation):
    """The annotation of a tuple: a list, or one text with commas.

    The bounds are for the JSON Schema; a section's validator tells a mistake in its own words.
    """

    least: int = 0
    most: int | None = None
    unique: bool = False

    def __get_pydantic_json_schema__(
        self, schema: "CoreSchema", handler: "GetJsonSchemaHandler"
    ) -> dict[str, Any]:
        item = handler(schema)["items"]
        return patterns.one_or_more(item, self.least, self.most, unique=self.unique)

    def read(self, value: object) -> object:
        """Return a list as it is, a text split at its commas, or a list of any other value."""
        if isinstance(value, str):
            return [part.strip() for part in value.split(",")]
        return value if isinstance(value, (list, tuple)) else [value]


def integer(first: int, last: int) -> Text[int]:
    """Return the reader of whole numbers from ``first`` to ``last`` in plain digits.

    0755 and 1_000 are refused.
    """

    def convert(text: str) -> int:
        number = int(matched(r"0|[1-9][0-9]{0,17}", text)[0])
        return _bounded(number, first, last)

    expected = f"a whole number from {first} to {last}"
    return Text(expected, convert, patterns.integer(first, last))


def duration(first: str, last: str, example: str) -> Text[int]:
    """Return the reader of durations in seconds, from ``first`` to ``last``.

    Both are durations as a user writes them. A number without a unit is seconds.
    """
    pattern = r"(0|[1-9][0-9]{0,8}) ?([smhd]?)"

    def seconds(text: str) -> int:
        number, unit = matched(pattern, text).groups()
        return int(number) * SECONDS[unit.lower()]

    def convert(text: str) -> int:
        return _bounded(seconds(text), seconds(first), seconds(last))

    expected = f"a duration from {first} to {last} such as {example}"
    return Text(expected, convert, patterns.duration(seconds(first), seconds(last), SECONDS))


def choice(names: Mapping[str, object], expected: str = "") -> Text[str]:
    """Return the reader of the names of a table. ``expected`` is for a table with many names."""

    def convert(text: str) -> str:
        if text not in names:
            raise Nearest(nearest(text, names))
        return text

    return Text(expected or any_of(names), convert, {"enum": list(names)})


def boolean(text: str) -> bool:
    """Return True for true, yes or on; False for false, no or off. Raises ValueError."""
    if text.lower() not in BOOLEANS:
        raise Nearest(nearest(text, BOOLEANS))
    return BOOLEANS[text.lower()]


def boolean_or_auto(text: str) -> bool | None:
    """Return None for auto, otherwise as ``boolean``. Raises ValueError."""
    return None if text.lower() == AUTO else boolean(text)


def size(text: str) -> int:
    """Return the bytes of ``512MiB``, ``1.5GiB``, ``2G`` or ``4096``. Raises ValueError.

    Units are powers of 1024, as for RAM. ``GB`` is refused, because some read it as a power of
    1000.
    """
    pattern = r"(0|[1-9][0-9]{0,14})(\.[0-9]{1,3})? ?([kmgt]?)(i?b)?"
    whole, fraction, unit, suffix = matched(pattern, text).groups(default="")
    if not unit and (fraction or suffix):
        raise ValueError("no unit")
    if suffix.lower() == "b":
        raise Nearest(f"{whole}{fraction}{unit.upper()}iB")
    factor = UNITS[unit.lower()]
    return _bounded(int(float(whole + fraction) * factor), 0, MAX_SIZE)


def rate(least: str, example: str) -> Text[int | None]:
    """Return the reader of rates in bytes per second: a size and ``/s``, or ``none`` for None.

    ``least``, the smallest rate, is a size.
    """

    def convert(text: str) -> int | None:
        if text.lower() == "none":
            return None
        amount, per_second = matched(r"(.*?)( ?/ ?s)?", text).groups()
        try:
            number = _bounded(size(amount), size(least), MAX_SIZE)
        except Nearest as guess:
            raise Nearest(f"{guess}/s") from None
        if per_second is None:
            raise Nearest(f"{amount}/s")
        return number

    expected = f"a rate of at least {least}/s such as {example}, or none"
    amounts = patterns.size(size(least), MAX_SIZE, UNITS)
    none = patterns.any_case("none")
    return Text(expected, convert, patterns.text(rf"(?:{amounts}) ?/ ?[Ss]|{none}"))


def bit_rate(first: str, last: str, example: str) -> Text[int | None]:
    """Return the reader of link speeds, ``100Mbit`` or ``2.5Gbit``, in bytes per second.

    Units are powers of 1000, as for network cards. ``none`` is None.
    """
    pattern = r"([1-9][0-9]{0,3}(?:\.[0-9])?) ?([MG])bit(/s)?"

    def bits(text: str) -> int:
        number, unit = matched(pattern, text).groups()[:2]
        return int(float(number) * {"m": 1e6, "g": 1e9}[unit.lower()])

    def convert(text: str) -> int | None:
        if text.lower() == "none":
            return None
        bare = re.fullmatch("([0-9.]+)([MG]?)", text, re.IGNORECASE)
        if bare is not None:
            raise Nearest(f"{bare[1]}{bare[2].upper() or 'M'}bit")
        return _bounded(bits(text), bits(first), bits(last)) // 8

    expected = f"a rate from {first} to {last} such as {example}, or none"
    rows = []
    for unit, factor in (("M", 10**6), ("G", 10**9)):
        low, high = max(1, -(-bits(first) // factor)), min(9999, bits(last) // factor)
        top = high * factor == bits(last)  # 400Gbit and 400.0Gbit, but not 400.1Gbit
        number = rf"{patterns.between(low, high - top)}(?:\.[0-9])?"
        number += rf"|{high}(?:\.0)?" if top else ""
        rows.append(f"(?:{number}) ?{patterns.any_case(unit)}")
    units = "|".join(rows)
    written = rf"(?:{units}){patterns.any_case('bit')}(?:/[Ss])?|{patterns.any_case('none')}"
    return Text(expected, convert, patterns.text(written))


def mac(text: str) -> str:
    """Return a MAC address in any usual notation as ``aa:bb:cc:dd:ee:ff``. Raises ValueError.

    Addresses of several cards, which broadcasts and multicasts have, are refused.
    """
    pair = "[0-9a-f]{2}"
    matched(rf"{pair}([:-]?)(?:{pair}\1){{4}}{pair}|[0-9a-f]{{4}}(\.[0-9a-f]{{4}}){{2}}", text)
    digits = re.sub("[^0-9a-f]", "", text.lower())
    if digits[1] in MULTICAST:
        raise Unreadable(f"{ONE_CARD}, not a broadcast or multicast address")
    return ":".join(digits[index : index + 2] for index in range(0, 12, 2))


def mac_pattern(text: str) -> str:
    """Return a MAC address, or the beginning of one and ``*``, normalised. Raises ValueError."""
    if not text.endswith("*"):
        return mac(text)
    pair = "[0-9a-f]{2}"
    beginning = rf"(?:{pair}:){{0,5}}[0-9a-f]?\*|(?:{pair}:){{0,4}}{pair}\*"
    return matched(beginning, text.replace("-", ":"))[0].lower()


def card(text: str) -> tuple[int, int]:
    """Return PCI vendor and device of ``8086:100e``. Raises ValueError."""
    vendor, device = matched("([0-9a-f]{4}):([0-9a-f]{4})", text).groups()
    return int(vendor, 16), int(device, 16)


def hostname(text: str) -> str:
    """Return one label of a host name (RFC 1123 section 2.1, RFC 952). Raises ValueError."""
    if not re.fullmatch(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)", text):
        plain = normalize("NFKD", text).encode("ascii", "ignore").decode()  # café: cafe
        raise Nearest(re.sub("[^A-Za-z0-9]+", "-", plain).strip("-")[:63].strip("-"))
    return text


def hostname_pattern(text: str) -> str:
    """Return a host name in which ``{tail}`` may stand for digits of the MAC. Raises ValueError."""
    hostname(text.replace(MAC_TAIL, "0" * 6))
    return text


def parse_exports(texts: Iterable[str]) -> dict[str, int]:
    """Return the bytes of exports given as ``NAME=SIZE``, by name.

    Raises OperatorError, also if a name is given twice.
    """
    return _by_name("export", map(_parse_export, texts))


def parse_images(texts: Iterable[str]) -> dict[str, Path]:
    """Return the files of read-only exports given as ``NAME=FILE``, by name.

    Raises OperatorError, also if a name is given twice.
    """
    return _by_name("image", map(_parse_image, texts))


def _by_name(what: str, pairs: Iterable[tuple[str, T]]) -> dict[str, T]:
    found: dict[str, T] = {}
    for name, value in pairs:
        if name in found:
            raise OperatorError(f"{what} {name!r}: given twice", hint="give each a different name")
        found[name] = value
    return found


def _parse_export(text: str) -> tuple[str, int]:
    name, _, written = text.rpartition("=")
    try:
        if not name:
            raise Unreadable("NAME=SIZE such as scratch=1GiB")
        return name, SIZE.parse(written)
    except Unreadable as error:
        hint = f"did you mean '{name}={error.nearest}'?" if error.nearest else ""
        raise OperatorError(f"export {text!r}: {error}", hint=hint) from None


def _parse_image(text: str) -> tuple[str, Path]:
    name, _, path = text.partition("=")
    if not name or not path or "\0" in path:
        raise OperatorError(f"image {text!r}: expected NAME=FILE such as root=/srv/root.img")
    return name, Path(path)


def parse_endpoint(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``. Raises OperatorError.

    IPv6 addresses are in brackets. Port 0 stands for any free port.
    """
    match = re.fullmatch(r"(?:\[([\w:.%]+)\]|([^:\[\]]+)):([0-9]+)", text, re.ASCII)
    try:
        if match is None:
            raise Unreadable("HOST:PORT such as 127.0.0.1:10809")
        return match[1] or match[2], integer(0, 65535).parse(match[3])
    except Unreadable as error:
        raise OperatorError(f"address {text!r}: {error}") from None


def parse_server(text: str) -> str:
    """Return ``HOST:PORT`` of a server's HTTP, also if it is written as a URL.

    Raises OperatorError.
    """
    bare = text.strip().removeprefix("http://").rstrip("/")
    match = re.fullmatch(r"(\[[0-9a-f:.%]+\]|[\w.-]+)(?::([0-9]{1,5}))?", bare, re.IGNORECASE)
    if match is not None and match[2] and 1 <= int(match[2]) <= 65535:
        return bare
    guess = f"; did you mean '{bare}:8080'?" if match is not None and not match[2] else ""
    expected = "HOST:PORT such as 127.0.0.1:8080"
    raise OperatorError(f"--server: expected {expected}, found {quoted(text)}{guess}")


def parse_word(where: str, kind: Text[T], text: str) -> T:
    """Return a value of the command line; ``where`` is its option. Raises OperatorError."""
    try:
        return kind.parse(text)
    except Unreadable as error:
        guess = f"; did you mean '{error.nearest}'?" if error.nearest else ""
        raise OperatorError(f"{where}: {error}, found {quoted(text)}{guess}") from None


def quoted(text: str, most: int = 60) -> str:
    """Return ``text`` in quotes, as it was typed, but for what does not print and what is too long.

    Quotes that a word processor made are told, because they look like the right ones.
    """
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    shown = shown if len(shown) <= most else f"{shown[: most - 3]}..."
    curly = "; use plain quotes, \" or '" if any(c in CURLY for c in text) else ""
    return f"'{shown}'{curly}"


def nearest(name: str, names: Mapping[str, object]) -> str:
    """Return the one of ``names`` that is most like ``name``; empty if none is similar."""
    return next(iter(get_close_matches(name.lower(), names, n=1, cutoff=0.5)), "")


def any_of(names: Mapping[str, object]) -> str:
    """Return ``a, b or c``."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def matched(pattern: str, text: str) -> re.Match[str]:
    """Match the whole of ``text`` with ``pattern``, in either case. Raises ValueError."""
    # ASCII: otherwise digits of all scripts match [0-9], and the Kelvin sign matches K.
    match = re.fullmatch(pattern, text, re.ASCII | re.IGNORECASE)
    if match is None:
        raise ValueError(text)
    return match


def _bounded(number: int, first: int, last: int) -> int:
    if not first <= number <= last:
        raise ValueError(number)
    return number


# Notations for JSON Schemas.
_PAIR = "[0-9A-Fa-f]{2}"
_FIRST = "[0-9A-Fa-f][02468ACEace]"  # of one card's MAC address
_MAC = "|".join(f"{_FIRST}(?:{mark}{_PAIR}){{5}}" for mark in (":", "-", ""))
_MAC += rf"|{_FIRST}{_PAIR}(?:\.{_PAIR}{_PAIR}){{2}}"
_MACS = rf"{_MAC}|(?:{_PAIR}[:-]){{0,5}}[0-9A-Fa-f]?[*]|(?:{_PAIR}[:-]){{0,4}}{_PAIR}[*]"
_DIGITS = {"type": "integer", "minimum": 10**11, "maximum": 10**12 - 1}  # a MAC address like this
OCTETS = rf"(?:{patterns.between(0, 255)}\.){{3}}{patterns.between(0, 255)}"
_LETTER, _TAIL = "[A-Za-z0-9]", r"\{tail\}"


SIZE = Text(
    "a size such as 512MiB or 2GiB",
    size,
    patterns.text(
        patterns.size(0, MAX_SIZE, UNITS),
        {"type": "integer", "minimum": 0, "maximum": patterns.MOST_BYTES},
    ),
)
MAC = Text(ONE_CARD, mac, patterns.text(_MAC, _DIGITS))
MAC_PATTERN = Text(
    "a MAC address or its beginning and a star such as 52:54:00:*",
    mac_pattern,
    patterns.text(_MACS, _DIGITS),
)
HOSTNAME = Text(
    "a host name of letters, digits and hyphens such as lab-07",
    hostname,
    patterns.text(
        f"{_LETTER}(?:[A-Za-z0-9-]{{0,61}}{_LETTER})?", patterns.NATURAL, patterns.BOOLEAN
    ),
)
HOSTNAME_PATTERN = Text(
    f"a host name such as lab-{MAC_TAIL}",
    hostname_pattern,
    patterns.text(
        # {tail} has as many characters as the digits that it stands for.
        rf"(?=\S{{1,63}}\s*$)(?:{_LETTER}|{_TAIL})(?:(?:[A-Za-z0-9-]|{_TAIL})*(?:{_LETTER}|{_TAIL}))?",
        patterns.NATURAL,
        patterns.BOOLEAN,
    ),
)
_YES_NO = [True, False, *BOOLEANS]
BOOLEAN_OR_AUTO = Text(
    "yes, no or auto",
    boolean_or_auto,
    {"anyOf": [{"enum": [*_YES_NO, AUTO]}, patterns.text(patterns.any_of([*BOOLEANS, AUTO]))]},
)
BOOLEAN = Text(
    "yes or no",
    boolean,
    {"anyOf": [{"enum": _YES_NO}, patterns.text(patterns.any_of(BOOLEANS))]},
)
ADDRESS = Text("an IPv4 address such as 10.0.0.1", IPv4Address, patterns.text(OCTETS))
CARD = Text("PCI ids of vendor and device such as 8086:100e", card, {"type": "string"})
