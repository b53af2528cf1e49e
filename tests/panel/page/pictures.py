"""Take the pictures of the panel's page for docs/pictures, with the played panel.

``python -m tests.panel.page.pictures`` takes all, or those that are named.
"""

import argparse
import struct
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

from tests import ROOT
from tests.panel.page.visit import Visit, chromium
from tests.panel.played import Played, Running
from tests.support.picture import Picture, read

FOLDER = ROOT / "docs/pictures"
WIDTH = 1280
COLOURS, COMMON = 64, 16
SETTLE_MS = 1500  # until charts are drawn
MAC = "52:54:00:77:00:08"
# Screen, height, and what differs from a bright window.
PICTURES: dict[str, tuple[str, int, dict[str, Any]]] = {
    "room": ("room", 570, {}),
    "room-dark": ("room", 570, {"color_scheme": "dark", "locale": "de-DE"}),
    "seat": (f"seat/{MAC}", 1424, {}),
    "boot": ("boot", 670, {}),
    "servers": ("servers", 840, {}),
    "troubles": ("troubles", 300, {}),
    "inventory": ("inventory", 560, {}),
    "schedules": ("schedules", 680, {}),
    "phone": ("room", 780, {"viewport": {"width": 375, "height": 780}}),
}


def small(picture: Picture) -> bytes:
    """Return a picture as PNG with few colours; others become the nearest of these."""
    pixels = [picture.pixels[at : at + 3] for at in range(0, len(picture.pixels), 3)]
    counted = Counter(pixels)
    palette = _palette(counted)
    places = {colour: index for index, colour in enumerate(palette)}
    for colour in counted:
        if colour not in places:
            near = min(palette, key=lambda each: _distance(each, colour))
            places[colour] = places[near]
    raw = bytearray()
    for row in range(0, len(pixels), picture.width):
        raw += b"\0" + bytes(places[colour] for colour in pixels[row : row + picture.width])
    header = struct.pack(">IIBBBBB", picture.width, picture.height, 8, 3, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"PLTE", b"".join(palette)), (b"IDAT", zlib.compress(raw, 9)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*each) for each in (*chunks, (b"IEND", b"")))


def _palette(counted: Counter[bytes]) -> list[bytes]:
    """Return the colours to keep: common ones, and rare ones that are unlike all others."""
    palette = [colour for colour, _ in counted.most_common(COMMON)]
    gaps = {each: min(_distance(each, kept) for kept in palette) for each in counted}
    while len(palette) < min(COLOURS, len(counted)):
        palette.append(max(gaps, key=lambda each: gaps[each] * counted[each]))
        gaps = {each: min(gap, _distance(each, palette[-1])) for each, gap in gaps.items()}
    return palette


def _distance(one: bytes, other: bytes) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def take(visit: Visit, screen: str, path: Path) -> None:
    """Take a picture of a screen as an operator sees it."""
    visit.log_in()
    visit.page.wait_for_selector(".who")
    visit.go(screen)
    visit.page.wait_for_timeout(SETTLE_MS)
    visit.page.mouse.move(0, 0)
    visit.page.evaluate("document.activeElement.blur()")
    visit.page.screenshot(path=path)
    path.write_bytes(small(read(path)))


def main() -> None:
    """Take the pictures that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*PICTURES, []])
    names = parser.parse_args().names or list(PICTURES)
    with chromium() as browser:
        for name in names:
            screen, height, options = PICTURES[name]
            played = Played()
            played.schedules = [
                _schedule(1, "wake", [], "07:30"),
                _schedule(2, "poweroff", ["group:room-a"], "17:00"),
            ]
            window = {"viewport": {"width": WIDTH, "height": height}, "locale": "en-GB"}
            with Running(played) as running:
                context = browser.new_context(**(window | options))
                take(Visit(context, running.url), screen, FOLDER / f"panel-{name}.png")
                context.close()


def _schedule(number: int, order: str, seats: list[str], at: str) -> dict[str, Any]:
    texts = {"text": "", "image": "", "loader": "", "by": "operator", "enabled": True}
    return {"id": number, "order": order, "seats": seats, "at": at, "days": [0, 1, 2, 3, 4]} | texts


if __name__ == "__main__":
    main()
