"""The report that a seat sends of itself every 10 s: at most 200 bytes of text. Pure.

The swap agent writes it (initramfs/agent/figures.c), ``KEY=VALUE`` joined by ``&``::

    v=1&d=1,4700&m=2012340&a=1012340&z=40960,12288&s=123456/524284&p=12.34,0.00&i=1.20,0.00&f=5678
    &r=9,1234&o=0&l=0.12&u=1&k=kiosk

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
| u, k | sessions of the screen, and its kind |

A figure that the seat does not know is empty, and so is a key that is missing. Keys that are not in
the table are a later version's, and are passed over.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from netboot.boot.limits import REPORT_BYTES
from netboot.errors import ProtocolError
from netboot.feed.records import Pressure, Report

MAX_BYTES = REPORT_BYTES.per_address or 0
MAX_AREAS = 4
VERSION = 1
KIB = 1024

_WHOLE = re.compile("[0-9]{1,15}")  # no number of ours has more digits, and a double holds each
_DECIMAL = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,3})?")
_KIND = re.compile("[a-z]{1,12}")
_SHOWN_CHARACTERS = 24
_SHARES = ("memory_some", "memory_full", "io_some", "io_full")


def _wrong(key: str, expected: str, found: str) -> ProtocolError:
    shown = "".join(each if each.isprintable() else "?" for each in found[:_SHOWN_CHARACTERS])
    return ProtocolError(f"report: key '{key}': expected {expected}, found '{shown}'")


def _whole(key: str, text: str) -> int:
    if text and not _WHOLE.fullmatch(text):
        raise _wrong(key, "a whole number of at most 15 digits", text)
    return int(text or 0)


def _decimal(key: str, text: str, most: float) -> float:
    if not text:
        return 0.0
    if not _DECIMAL.fullmatch(text) or float(text) > most:
        raise _wrong(key, f"a number from 0 to {most:g}", text)
    return float(text)


def _wholes(key: str, text: str, least: int, most: int) -> list[int]:
    parts = text.split(",")
    if not least <= len(parts) <= most:
        raise _wrong(key, "two numbers with a comma", text)
    return [_whole(key, part) for part in parts]


def _bytes(name: str) -> Callable[[str, str], dict[str, Any]]:
    return lambda key, text: {name: _whole(key, text) * KIB}


def _count(name: str) -> Callable[[str, str], dict[str, Any]]:
    return lambda key, text: {name: _whole(key, text)}


def _zswap(key: str, text: str) -> dict[str, Any]:
    stored, taken = _wholes(key, text or ",", 2, 2)
    return {"zswap": (stored * KIB, taken * KIB)}


def _areas(key: str, text: str) -> dict[str, Any]:
    parts = text.split(",") if text else []
    if len(parts) > MAX_AREAS:
        raise _wrong(key, f"at most {MAX_AREAS} areas", text)
    areas = []
    for part in parts:
        used, slash, size = part.partition("/")
        area = (_whole(key, used) * KIB, _whole(key, size) * KIB)
        if not slash or area[0] > area[1]:
            raise _wrong(key, "USED/SIZE, with USED at most SIZE", part)
        areas.append(area)
    return {"areas": tuple(areas)}


def _shares(name: str) -> Callable[[str, str], dict[str, Any]]:
    def read(key: str, text: str) -> dict[str, Any]:
        parts = (text or ",").split(",")
        if len(parts) != 2:
            raise _wrong(key, "two numbers with a comma", text)
        some, full = (_decimal(key, part, 100.0) for part in parts)
        return {f"{name}_some": some, f"{name}_full": full}

    return read


def _refaults(key: str, text: str) -> dict[str, Any]:
    return {"refaults": sum(_wholes(key, text, 1, 2))}


def _load(key: str, text: str) -> dict[str, Any]:
    return {"load": _decimal(key, text, 99999.0)}


def _losses(key: str, text: str) -> dict[str, Any]:
    losses, longest = _wholes(key, text or ",", 2, 2)
    return {"losses": losses, "longest_loss": longest / 1000}


def _users(key: str, text: str) -> dict[str, Any]:
    return {"users": _whole(key, text) if text else -1}


def _kind(key: str, text: str) -> dict[str, Any]:
    if text and not _KIND.fullmatch(text):
        raise _wrong(key, "at most 12 small letters", text)
    return {"screen": text}


_READERS: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "m": _bytes("memory"),
    "a": _bytes("available"),
    "z": _zswap,
    "s": _areas,
    "p": _shares("memory"),
    "i": _shares("io"),
    "f": _count("major_faults"),
    "r": _refaults,
    "o": _count("oom_kills"),
    "l": _load,
    "d": _losses,
    "u": _users,
    "k": _kind,
}


def parse(text: str, when: float) -> Report:
    """Return the report ``text`` that came at the time ``when``. Raises ProtocolError with the reason."""
    if len(text) > MAX_BYTES:
        raise ProtocolError(f"report: expected at most {MAX_BYTES} bytes, found {len(text)}")
    version, *pairs = text.split("&")
    key, _, value = version.partition("=")
    if key != "v" or _whole(key, value) < VERSION:
        raise _wrong("v", "the version first, v=1", version)
    found: dict[str, Any] = {}
    seen = {"v"}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator:
            raise _wrong(_shown(key), "KEY=VALUE", pair)
        if key in seen:
            raise ProtocolError(f"report: key '{_shown(key)}' is given twice")
        seen.add(key)
        reader = _READERS.get(key)
        if reader is not None:
            found |= reader(key, value)
    shares = {name: found.pop(name) for name in _SHARES if name in found}
    return Report(when=when, pressure=Pressure(**shares), **found)


def _shown(key: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in key[:_SHOWN_CHARACTERS])


def text(report: Report) -> str:
    """Return a report as its seat writes it, without its last figures if they do not fit."""
    pressure, users = report.pressure, "" if report.users < 0 else report.users
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
