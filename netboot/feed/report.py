"""The report that a seat sends of itself every 10 s: at most 200 bytes of text. Pure.

The swap agent writes it (initramfs/agent/figures.c), ``KEY=VALUE`` joined by ``&``::

    v=1&d=1,4700&m=2012340&a=1012340&z=40960,12288&s=123456/524284&p=12.34,0.00&i=1.20,0.00&f=5678
    &r=9,1234&o=0&l=0.12&y=8.5&u=1&k=kiosk

| key | value |
|---|---|
| v | the version of this text, 1; it comes first |
| d | losses of the server since the boot, and the longest of them in ms |
| m, a | RAM, and what of it is available: KiB |
| z | what zswap stores, and what that takes in RAM: KiB |
| s | used and whole KiB of each area of swap, at most four; the last one stands for all further ones |
| p, i | pressure of memory and of io, some and full: per cent over 10 s |
| f, o | major faults, and OOM kills, since the boot |
| r | refaults since the boot: of anonymous pages and of files |
| l | load, over a minute |
| y | per cent that md has copied to a mirror's new server |
| u, k | sessions of the screen, and its kind |

A figure that the seat does not know is empty, and so is a key that is missing. Keys that are not in
the table are a later version's, and are passed over.
"""

from collections.abc import Sequence

from netboot.boot.limits import REPORT_BYTES
from netboot.errors import ProtocolError
from netboot.feed.records import Pressure, Report

MAX_BYTES = REPORT_BYTES.per_address or 0
MAX_AREAS = 4
VERSION = 1
KIB = 1024

_MAX_DIGITS = 15  # no number of ours has more, and a double holds each
_MAX_DECIMAL = 10  # digits and a point
_MAX_LOAD = 99999.0
_MAX_KIND = 12
_SHOWN_CHARACTERS = 24


def parse(text: str, when: float) -> Report:
    """Return the report ``text`` that came at the time ``when``.

    Raises ProtocolError with the reason. The server of 1,000 seats does this 100 times a second.
    """
    figures = _figures(text)
    take = figures.get
    stored, compressed = _two("z", take("z"))
    losses, longest = _two("d", take("d"))
    return Report(
        when=when,
        memory=_whole("m", take("m")) * KIB,
        available=_whole("a", take("a")) * KIB,
        areas=_areas("s", take("s")),
        pressure=Pressure(*_shares("p", take("p")), *_shares("i", take("i"))),
        zswap=(stored * KIB, compressed * KIB),
        refaults=_sum("r", take("r")),
        major_faults=_whole("f", take("f")),
        oom_kills=_whole("o", take("o")),
        load=_decimal("l", take("l"), _MAX_LOAD),
        losses=losses,
        longest_loss=longest / 1000,
        users=_whole("u", take("u")) if take("u") else -1,
        screen=_kind("k", take("k")),
        copied=_decimal("y", take("y"), 100.0) if take("y") else -1.0,
    )


def _figures(text: str) -> dict[str, str]:
    """Return the values of all keys."""
    if len(text) > MAX_BYTES:
        raise ProtocolError(f"report: expected at most {MAX_BYTES} bytes, found {len(text)}")
    figures: dict[str, str] = {}
    pairs = text.split("&")
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not figures and (key != "v" or _whole("v", value) < VERSION):
            raise _wrong("v", "the version first, v=1", pair)
        if not separator:
            raise _wrong(_shown(key), "KEY=VALUE", pair)
        if key in figures:
            raise ProtocolError(f"report: key '{_shown(key)}' is given twice")
        figures[key] = value
    return figures


def _whole(key: str, text: str | None) -> int:
    if not text:
        return 0
    if not (text.isdigit() and text.isascii() and len(text) <= _MAX_DIGITS):
        raise _wrong(key, f"a whole number of at most {_MAX_DIGITS} digits", text)
    return int(text)


def _two(key: str, text: str | None) -> tuple[int, int]:
    first, comma, second = (text or ",").partition(",")
    if not comma:
        raise _wrong(key, "two numbers with a comma", first)
    return _whole(key, first), _whole(key, second)


def _sum(key: str, text: str | None) -> int:
    first, _, second = (text or "").partition(",")
    return _whole(key, first) + _whole(key, second)


def _areas(key: str, text: str | None) -> tuple[tuple[int, int], ...]:
    areas = []
    for part in text.split(",") if text else ():
        used, slash, size = part.partition("/")
        area = (_whole(key, used) * KIB, _whole(key, size) * KIB)
        if not slash or area[0] > area[1]:
            raise _wrong(key, "USED/SIZE, with USED at most SIZE", part)
        areas.append(area)
    if len(areas) > MAX_AREAS:
        raise _wrong(key, f"at most {MAX_AREAS} areas", text or "")
    return tuple(areas)


def _shares(key: str, text: str | None) -> tuple[float, float]:
    some, comma, full = (text or ",").partition(",")
    if not comma:
        raise _wrong(key, "two numbers with a comma", some)
    return _decimal(key, some, 100.0), _decimal(key, full, 100.0)


def _decimal(key: str, text: str | None, most: float) -> float:
    if not text:
        return 0.0
    digits = text.replace(".", "", 1)
    if digits.isdigit() and digits.isascii() and len(text) <= _MAX_DECIMAL:
        value = float(text)
        if value <= most:
            return value
    raise _wrong(key, f"a number from 0 to {most:g}", text)


def _kind(key: str, text: str | None) -> str:
    if not text:
        return ""
    if not (text.isascii() and text.isalpha() and text.islower() and len(text) <= _MAX_KIND):
        raise _wrong(key, f"at most {_MAX_KIND} small letters", text)
    return text


def _wrong(key: str, expected: str, found: str) -> ProtocolError:
    return ProtocolError(f"report: key '{key}': expected {expected}, found '{_shown(found)}'")


def _shown(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text[:_SHOWN_CHARACTERS])


def text(report: Report) -> str:
    """Return a report as its seat writes it, without its last figures if they do not fit."""
    pressure, users = report.pressure, "" if report.users < 0 else report.users
    copied = "" if report.copied < 0 else f"{report.copied:.1f}"
    pieces = (
        f"v={VERSION}",
        f"d={report.losses},{round(report.longest_loss * 1000)}",
        f"m={report.memory // KIB}",
        f"a={report.available // KIB}",
        f"z={report.zswap[0] // KIB},{report.zswap[1] // KIB}",
        "s=" + ",".join(f"{used // KIB}/{size // KIB}" for used, size in _fewer(report.areas)),
        f"p={pressure.memory_some:.2f},{pressure.memory_full:.2f}",
        f"i={pressure.io_some:.2f},{pressure.io_full:.2f}",
        f"f={report.major_faults}",
        f"r={report.refaults}",
        f"o={report.oom_kills}",
        f"l={report.load:.2f}",
        f"y={copied}",
        f"u={users}",
        f"k={report.screen}",
    )
    whole = pieces[0]
    for piece in pieces[1:]:
        if len(whole) + 1 + len(piece) > MAX_BYTES:
            break
        whole += f"&{piece}"
    return whole


def _fewer(areas: Sequence[tuple[int, int]]) -> Sequence[tuple[int, int]]:
    """Return the areas, the last one of four for all further ones."""
    rest = areas[MAX_AREAS - 1 :]
    last = (sum(used for used, _ in rest), sum(size for _, size in rest))
    return areas if len(areas) <= MAX_AREAS else [*areas[: MAX_AREAS - 1], last]
