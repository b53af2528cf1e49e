"""A list of PCs that a spreadsheet saved as CSV: bytes -> rows with their lines. Pure."""

import csv
import io
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator, Sequence

from netboot.errors import OperatorError

MOST_SHOWN = 60  # characters of a cell or a word in a message
MOST_BYTES = 4 << 20  # of a list; a school of 5,000 PCs has 300,000
SEPARATORS = ";\t,"
SAVE = "save it from the spreadsheet as CSV, UTF-8"
# How files begin that a spreadsheet saves by itself.
KINDS = {
    b"PK\x03\x04": "a spreadsheet (.xlsx or .ods)",
    b"\xd0\xcf\x11\xe0": "a spreadsheet (.xls)",
    b"%PDF": "a PDF document",
    b"{\\rtf": "a document (.rtf)",
}


def text_of(data: bytes, source: str) -> str:
    """Return the text of a file, in UTF-8 or, as Excel's "Unicode text", UTF-16.

    Raises OperatorError.
    """
    for magic, kind in KINDS.items():
        if data.startswith(magic):
            raise OperatorError(f"{source}: expected CSV, found {kind}", hint=SAVE)
    if len(data) > MOST_BYTES:
        raise OperatorError(f"{source}: too long: expected at most {MOST_BYTES} bytes")
    coding = "utf-16" if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return data.decode(coding)
    except UnicodeDecodeError:
        raise OperatorError(f"{source}: not text in UTF-8", hint=SAVE) from None


def rows(text: str, source: str, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the line and the cells of each row that is not empty.

    The first line names the ``columns``, in any order, among others. The separator is a comma, a
    semicolon, a tab, or what Excel's line ``sep=`` says. Raises OperatorError.
    """
    # newline=None: the lines of an old spreadsheet may end with a carriage return alone.
    lines = io.StringIO(text.removeprefix("\ufeff"), newline=None)
    separator, skipped, begin, first = "", 0, 0, lines.readline()
    said = re.fullmatch(r'"?sep=(.)"?\s*', first, re.IGNORECASE | re.DOTALL)
    if said is not None:
        separator, skipped, begin, first = said[1], 1, lines.tell(), lines.readline()
    lines.seek(begin)
    separator = separator or max(SEPARATORS, key=first.count)
    if separator in '"\r\n':  # Python 3.13 raises ValueError
        raise OperatorError(f"{source}:1: expected a separator such as ';', found {separator!r}")
    reader = csv.DictReader(lines, delimiter=separator)
    try:
        reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
        if not set(columns) <= set(reader.fieldnames):
            found = repr(first.strip()[:MOST_SHOWN]) if first.strip() else "an empty line"
            wanted = ",".join(columns)
            raise OperatorError(
                f"{source}:{1 + skipped}: expected the columns {wanted}, found {found}"
            )
        for row in reader:
            cells = {name: (row.get(name) or "").strip() for name in columns}
            if any(cells.values()):
                yield reader.line_num + skipped, cells
    except csv.Error as error:  # a cell of more than 131,072 characters
        line = reader.line_num + skipped + 1
        raise OperatorError(f"{source}:{line}: not CSV: {error}") from None
