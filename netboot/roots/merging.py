"""Small files that each program with a window reads, merged into one when an image is built.

A PC reads each small file with one request or two. 33 files of fontconfig's rules took 27 requests, and
as many again when RAM was short; 39 files about pointing devices, which X reads, took 30.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from netboot.roots import tidy

FONT_RULES = "etc/fonts/conf.d"
MERGED_RULES = "00-netboot.conf"
HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
"""
QUIRKS = "usr/share/libinput"
MERGED_QUIRKS = "00-netboot.quirks"
LINKS = 8  # that lead to a file, at most


def merge_files(root: Path) -> None:
    """Merge the rules of fonts and of pointing devices. Raises OSError."""
    _merge_font_rules(root)
    _merge_quirks(root)


def _merge_font_rules(root: Path) -> None:
    """Merge what fontconfig reads in conf.d, in its order, if each file is as expected."""
    folder = root / FONT_RULES
    names = sorted(folder.glob("[0-9]*.conf")) if tidy.is_inside(root, folder) else []
    files = [_file_of(root, path) for path in names]
    if len(names) < 2 or None in files:
        return
    merged = ElementTree.Element("fontconfig")
    try:
        for path in dict.fromkeys(filter(None, files)):  # fontconfig, too, reads each once
            merged.extend(list(_rules(path)))
    except (ElementTree.ParseError, LookupError, ValueError):
        return
    for element in merged.iter():
        if len(element) and not (element.text or "").strip():
            element.text = None
        element.tail = None
    for child in merged:
        child.tail = "\n"
    text = HEAD + ElementTree.tostring(merged, encoding="unicode") + "\n"
    _replace(names, folder / MERGED_RULES, text.encode())


def _rules(path: Path) -> Iterator[ElementTree.Element]:
    """Yield the rules of a file, without what is for people. Raises ParseError, ValueError."""
    whole = ElementTree.parse(path).getroot()
    if whole.tag != "fontconfig" or any(each.get("prefix") == "relative" for each in whole.iter()):
        raise ValueError(f"{path} depends on the place where it is")
    for child in whole:
        if child.tag != "description" and not child.tag.startswith("{"):  # hints for translators
            yield child


def _merge_quirks(root: Path) -> None:
    """Merge libinput's data about devices, in its order."""
    folder = root / QUIRKS
    files = sorted(folder.glob("*.quirks")) if tidy.is_inside(root, folder) else []
    if len(files) > 1 and all(path.is_file() and not path.is_symlink() for path in files):
        lines = [line for path in files for line in path.read_bytes().splitlines()]
        kept = [line for line in lines if line.strip() and not line.startswith(b"#")]
        _replace(files, folder / MERGED_QUIRKS, b"\n".join(kept) + b"\n")


def _replace(files: list[Path], merged: Path, content: bytes) -> None:
    for path in files:
        path.unlink()
    merged.write_bytes(content)
    merged.chmod(0o644)


def _file_of(root: Path, path: Path) -> Path | None:
    """Return the file that a path of the system leads to; None if there is none in the system."""
    for _ in range(LINKS):
        if not tidy.is_inside(root, path.parent):
            return None
        if not path.is_symlink():
            return path if path.is_file() else None
        target = os.readlink(path)
        path = root / target.lstrip("/") if target.startswith("/") else path.parent / target
    return None
