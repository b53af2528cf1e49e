"""Read pictures of a screen: by colour, and by OCR (tesseract, which is no part of netboot).

A picture is a PNG or a PPM of 8 bits a colour, as QEMU writes them.
"""

import os
import re
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PNG = b"\x89PNG\r\n\x1a\n"
CHANNELS = {2: 3, 6: 4}  # PNG's colour types: RGB, and RGB with alpha
OCR_SECONDS = 120
WHOLE_PAGE, BLOCK_OF_TEXT, ANY_PLACE = 3, 6, 11  # tesseract's page segmentation modes
# Ways to read, the likeliest first: a web page; a text console, whose letters are light on black and
# half as high as tesseract wants; texts among windows. Each takes one CPU 0.5 to 3 s.
WAYS = ((1, False, WHOLE_PAGE), (2, True, BLOCK_OF_TEXT), (2, False, ANY_PLACE))


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels of three bytes, row by row."""

    width: int
    height: int
    pixels: bytes

    def share_of_colour(self, colour: str, tolerance: int = 0) -> float:
        """Return the share of pixels (0 to 1) with ``colour``, such as ``224466``.

        ``tolerance``: how far each of red, green and blue may be off.
        """
        ranges = [
            range(value - tolerance, value + tolerance + 1) for value in bytes.fromhex(colour)
        ]
        hit = [bytes(value in allowed for value in range(256)) for allowed in ranges]
        red, green, blue = (self.pixels[n::3].translate(hit[n]) for n in range(3))
        both = int.from_bytes(red) & int.from_bytes(green) & int.from_bytes(blue)
        return both.bit_count() / (self.width * self.height)

    def grey(self, scale: int, *, inverted: bool) -> bytes:
        """Return a PGM for tesseract, with ``scale`` pixels for each in both directions."""
        green = self.pixels[1::3]  # most of what the eye sees as light
        if inverted:
            green = green.translate(bytes(range(255, -1, -1)))
        rows = (green[at : at + self.width] for at in range(0, len(green), self.width))
        size = f"P5 {self.width * scale} {self.height * scale} 255\n".encode()
        return size + b"".join(_stretched(row, scale) * scale for row in rows)


def _stretched(row: bytes, scale: int) -> bytes:
    wide = bytearray(len(row) * scale)
    for offset in range(scale):
        wide[offset::scale] = row
    return bytes(wide)


def read(path: Path) -> Picture:
    """Return the picture in a file. Raises ValueError for one of another kind."""
    content = path.read_bytes()
    if content.startswith(PNG):
        return _png(content)
    if match := re.match(rb"P6\s+(\d+)\s+(\d+)\s+255\s", content):
        return Picture(int(match[1]), int(match[2]), content[match.end() :])
    raise ValueError(f"{path} is neither a PNG nor a PPM")


def share_of_colour(path: Path, colour: str, tolerance: int = 0) -> float:
    """Return the share of a picture's pixels that have ``colour``, see ``Picture``."""
    return read(path).share_of_colour(colour, tolerance)


def sentence_on(path: Path, text: str) -> bool:
    """Return whether OCR finds ``text`` on a picture. Only letters and digits count, not their case.

    Digits are a risk: the zero of a text console, which has a dot, is often read as a 6 or an 8.
    """
    wanted = _letters(text)
    return any(wanted in _letters(found) for found in texts_on(path))


def texts_on(path: Path) -> Iterator[str]:
    """Yield the text on a picture, read in each of WAYS. A way costs nothing until it is asked for."""
    picture = read(path)
    for scale, inverted, mode in WAYS:
        with tempfile.NamedTemporaryFile(suffix=".pgm") as file:
            file.write(picture.grey(scale, inverted=inverted))
            file.flush()
            yield _tesseract(Path(file.name), mode)


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text)).casefold()


def _tesseract(path: Path, mode: int) -> str:
    command = ["tesseract", str(path), "-", "--psm", str(mode), "--dpi", "300", "-l", "eng"]
    # More threads only wait for each other (tesseract's FAQ).
    alone = {**os.environ, "OMP_THREAD_LIMIT": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=OCR_SECONDS, check=True, env=alone
    )
    return done.stdout


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(PNG)
    while at < len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        yield kind, content[at + 8 : at + 8 + length]
        at += 12 + length


def _png(content: bytes) -> Picture:
    """Decode a PNG that is not interlaced (RFC 2083, section 6: filters)."""
    chunks = list(_chunks(content))
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    if depth != 8 or colour not in CHANNELS or interlaced:
        raise ValueError(f"a PNG of depth {depth}, colour type {colour}: expected 8 bits RGB")
    size = CHANNELS[colour]
    raw = zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT"))
    rows, before = [], bytearray(width * size)
    for at in range(0, len(raw), width * size + 1):
        before = _unfiltered(raw[at], raw[at + 1 : at + 1 + width * size], before, size)
        rows.append(before)
    return Picture(width, height, b"".join(_without_alpha(row, size) for row in rows))


def _unfiltered(kind: int, row: bytes, above: bytearray, size: int) -> bytearray:
    """Return a row of a PNG; ``above`` is the row above it, ``size`` the bytes of a pixel."""
    out = bytearray(row)
    if kind == 2:  # the pixel above
        return bytearray((value + other) & 255 for value, other in zip(row, above, strict=True))
    for at in range(len(out) if kind else 0):
        left = out[at - size] if at >= size else 0
        corner = above[at - size] if at >= size else 0
        guess = (0, left, 0, (left + above[at]) // 2, _paeth(left, above[at], corner))[kind]
        out[at] = (out[at] + guess) & 255
    return out


def _paeth(left: int, above: int, corner: int) -> int:
    guess = left + above - corner
    return min((left, above, corner), key=lambda value: abs(guess - value))


def _without_alpha(row: bytearray, size: int) -> bytes:
    if size == 3:
        return bytes(row)
    out = bytearray(len(row) // 4 * 3)
    for channel in range(3):
        out[channel::3] = row[channel::4]
    return bytes(out)
