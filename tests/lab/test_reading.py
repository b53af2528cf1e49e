"""The reader of pictures that other tests rely on: by colour, and the filters of PNG."""

import random
import shutil
import struct
import zlib
from pathlib import Path

import pytest

from tests.support import picture
from tests.support.picture import PNG, Picture

# Letters of a font of our own: 1 is ink.
LETTERS = {
    "H": ("10001", "10001", "10001", "11111", "10001", "10001", "10001"),
    "E": ("11111", "10000", "10000", "11110", "10000", "10000", "11111"),
    "L": ("10000", "10000", "10000", "10000", "10000", "10000", "11111"),
    "T": ("11111", "00100", "00100", "00100", "00100", "00100", "00100"),
}


def png(width: int, height: int, pixels: bytes, kinds: list[int], size: int = 3) -> bytes:
    """Return a PNG whose rows have the filters ``kinds`` in turn, made as RFC 2083 says."""
    raw, above = b"", bytes(width * size)
    for number in range(height):
        row = pixels[number * width * size : (number + 1) * width * size]
        kind = kinds[number % len(kinds)]
        raw += bytes([kind]) + bytes(
            (row[at] - guess(kind, row, above, at, size)) & 255 for at in range(len(row))
        )
        above = row
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if size == 3 else 6, 0, 0, 0)
    parts = ((b"IHDR", header), (b"tEXt", b"x"), (b"IDAT", zlib.compress(raw)), (b"IEND", b""))
    return PNG + b"".join(
        struct.pack(">I4s", len(data), kind) + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


def guess(kind: int, row: bytes, above: bytes, at: int, size: int) -> int:
    left = row[at - size] if at >= size else 0
    corner = above[at - size] if at >= size else 0
    up = above[at]
    if kind < 4:
        return (0, left, up, (left + up) // 2)[kind]
    distances = [abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)]
    return (left, up, corner)[distances.index(min(distances))]


@pytest.mark.parametrize("size", [3, 4])
def test_each_filter_of_a_png_is_undone(tmp_path: Path, size: int) -> None:
    chance = random.Random(17)
    pixels = bytes(chance.choice((0, 3, 128, 250, 255)) for _ in range(13 * 11 * size))
    path = tmp_path / "a.png"
    path.write_bytes(png(13, 11, pixels, [0, 1, 2, 3, 4], size))
    expected = b"".join(pixels[at : at + 3] for at in range(0, len(pixels), size))
    assert picture.read(path) == Picture(13, 11, expected)


def test_the_share_of_a_colour_allows_for_16_bits(tmp_path: Path) -> None:
    path = tmp_path / "a.ppm"
    path.write_bytes(b"P6\n2 2\n255\n" + bytes.fromhex("224466 204464 224400 ffffff"))
    assert picture.share_of_colour(path, "224466") == 0.25
    assert picture.share_of_colour(path, "224466", tolerance=8) == 0.5


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    path.write_bytes(b"GIF89a")
    with pytest.raises(ValueError, match="neither a PNG nor a PPM"):
        picture.read(path)


@pytest.mark.skipif(not shutil.which("tesseract"), reason="needs tesseract-ocr: tools/setup test")
@pytest.mark.parametrize("ink", [0, 255])
def test_a_word_is_read_in_both_colours(tmp_path: Path, ink: int) -> None:
    path = tmp_path / "a.ppm"
    path.write_bytes(written("THE HELL TELLTHEHEEL", ink))
    assert picture.sentence_on(path, "tell the heel")
    assert not picture.sentence_on(path, "tell the hotel")


def written(text: str, ink: int, scale: int = 3) -> bytes:
    """Return a PPM with ``text`` in LETTERS of 7 times ``scale`` pixels."""
    rows = []
    for line in range(7):
        bits = "0000" + "".join(LETTERS.get(each, ("00000",) * 7)[line] + "00" for each in text)
        row = b"".join(bytes([ink if bit == "1" else 255 - ink]) * 3 * scale for bit in bits)
        rows += [row] * scale
    width = len(rows[0]) // 3
    blank = [bytes([255 - ink]) * 3 * width] * 20
    rows = blank + rows + blank
    return f"P6\n{width} {len(rows)}\n255\n".encode() + b"".join(rows)
