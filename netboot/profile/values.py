"""Text of a profile -> typed values: sizes, durations, MAC addresses and others. Pure.

The YAML reader (netboot.profile.document) passes every scalar on as the text that was written. So
only this module decides what a value means.
"""

import re
from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import TypeVar
from unicodedata import normalize

from netboot.profile import patterns
from netboot.profile.reading import (
    Nearest,
    Text,
    Unreadable,
    any_of,
    matched,
    nearest,
)

T = TypeVar("T")

MAX_SIZE = 1 << 60  # no machine has that much, and sums of it fit signed 64-bit arithmetic
UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
AUTO = "auto"
MULTICAST = tuple("13579bdf")  # second digits of addresses of many cards (IEEE 802, I/G bit)
ONE_CARD = "a MAC address such as 52:54:00:12:34:56"
MAC_TAIL = "{tail}"  # in a group's hostname: the last six digits of the PC's MAC address


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

    Refused are addresses of several cards, which broadcasts and multicasts have, and all zeros,
    which a card without an address shows.
    """
    pair = "[0-9a-f]{2}"
    matched(rf"{pair}([:-]?)(?:{pair}\1){{4}}{pair}|[0-9a-f]{{4}}(\.[0-9a-f]{{4}}){{2}}", text)
    digits = re.sub("[^0-9a-f]", "", text.lower())
    if digits[1] in MULTICAST:
        raise Unreadable(f"{ONE_CARD}, not a broadcast or multicast address")
    if not int(digits, 16):
        raise Unreadable(f"{ONE_CARD}, not zeros alone")
    return ":".join(digits[index : index + 2] for index in range(0, 12, 2))


def mac_pattern(text: str) -> str:
    """Return a MAC address, or the beginning of one and ``*``, normalised. Raises ValueError."""
    if not text.endswith("*"):
        return mac(text)
    pair = "[0-9a-f]{2}"
    beginning = rf"(?:{pair}:){{0,5}}[0-9a-f]?\*|(?:{pair}:){{0,4}}{pair}\*"
    return matched(beginning, text.replace("-", ":"))[0].lower()


def host_address(text: str) -> IPv4Address:
    """Return an address that a machine on a network may have (RFC 6890). Raises ValueError."""
    address = IPv4Address(text)
    if not (1 <= address.packed[0] < 224 and address.packed[0] != 127):
        raise Unreadable("an IPv4 address that PCs can reach such as 10.0.0.1")
    return address


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


def _bounded(number: int, first: int, last: int) -> int:
    if not first <= number <= last:
        raise ValueError(number)
    return number


# Notations for JSON Schemas.
_PAIR = "[0-9A-Fa-f]{2}"
_FIRST = "[0-9A-Fa-f][02468ACEace]"  # of one card's MAC address
_MAC = "|".join(f"{_FIRST}(?:{mark}{_PAIR}){{5}}" for mark in (":", "-", ""))
_MAC += rf"|{_FIRST}{_PAIR}(?:\.{_PAIR}{_PAIR}){{2}}"
_MAC = rf"(?![0:.-]+\s*(?:,|$))(?:{_MAC})"
_MACS = rf"{_MAC}|(?:{_PAIR}[:-]){{0,5}}[0-9A-Fa-f]?[*]|(?:{_PAIR}[:-]){{0,4}}{_PAIR}[*]"
_DIGITS = {"type": "integer", "minimum": 10**11, "maximum": 10**12 - 1}  # a MAC address like this
_OCTET = patterns.between(0, 255)
_OCTETS = rf"(?:{_OCTET}\.){{3}}{_OCTET}"
HOST = rf"(?:{patterns.between(1, 126)}|{patterns.between(128, 223)})(?:\.{_OCTET}){{3}}"
_LETTER, _TAIL = "[A-Za-z0-9]", r"\{tail\}"
HOSTNAME_LETTERS = f"{_LETTER}(?:[A-Za-z0-9-]{{0,61}}{_LETTER})?"


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
    patterns.text(HOSTNAME_LETTERS, patterns.NATURAL, patterns.BOOLEAN),
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
ADDRESS = Text("an IPv4 address such as 10.0.0.1", IPv4Address, patterns.text(_OCTETS))
HOST_ADDRESS = Text(ADDRESS.expected, host_address, patterns.text(HOST))
CARD = Text("PCI ids of vendor and device such as 8086:100e", card, {"type": "string"})
