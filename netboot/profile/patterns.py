"""Regular expressions and JSON Schemas of the values of a profile, for editors. Pure.

They accept what the readers in values.py and fields.py accept, and nothing else
(tests/profile/test_schema.py). They have no flags, because a JSON Schema has none.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from typing import Any

Schema = Mapping[str, Any]

MOST_BYTES = 10**15 - 1  # of a size without a unit: 15 digits
BOOLEAN: Schema = {"type": "boolean"}
NATURAL: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number", "minimum": 0}


def text(pattern: str, *others: Schema) -> dict[str, Any]:
    """Return the schema of text that is ``pattern`` as a whole, or of a value of ``others``.

    ``others`` are values that YAML reads as numbers or booleans, and a profile as text.
    """
    string = {"type": "string", "pattern": whole(pattern)}
    return {"anyOf": [string, *map(dict, others)]} if others else string


def whole(pattern: str) -> str:
    """Return the expression of text that is ``pattern``, but for white space around it."""
    return rf"^\s*(?:{pattern})\s*$"


def any_case(word: str) -> str:
    """Return the expression of ``word`` in upper and lower case."""
    return "".join(f"[{c.upper()}{c.lower()}]" if c.isalpha() else c for c in word)


def any_of(words: Iterable[str]) -> str:
    """Return the expression of each of ``words`` in upper and lower case."""
    return "|".join(map(any_case, words))


def between(first: int, last: int) -> str:
    """Return the expression of the whole numbers from ``first`` to ``last``, 0 or more.

    It matches nothing if ``last`` is less than ``first``.
    """
    rows = []
    for width in range(len(str(first)), len(str(last)) + 1):
        low = max(first, 10 ** (width - 1) if width > 1 else 0)
        high = min(last, 10**width - 1)
        if low <= high:
            rows.append(digits(str(low), str(high)))
    return f"(?:{'|'.join(rows)})" if rows else r"(?!)"


def digits(low: str, high: str) -> str:
    """Return the expression of the numbers from ``low`` to ``high``, both of that many digits."""
    if not low:
        return ""
    if low[0] == high[0]:
        return low[0] + digits(low[1:], high[1:])
    more = len(low) - 1
    zeros, nines = "0" * more, "9" * more
    begin = int(low[0]) + (low[1:] != zeros)
    end = int(high[0]) - (high[1:] != nines)
    rows = [low[0] + digits(low[1:], nines)] if low[1:] != zeros else []
    if begin <= end:
        rows.append(f"[{begin}-{end}]" + (f"[0-9]{{{more}}}" if more else ""))
    if high[1:] != nines:
        rows.append(high[0] + digits(zeros, high[1:]))
    return f"(?:{'|'.join(rows)})"


def integer(first: int, last: int) -> dict[str, Any]:
    """Return the schema of whole numbers from ``first`` to ``last``."""
    number = {"type": "integer", "minimum": first, "maximum": last}
    return text(between(first, last), number)


def duration(first: int, last: int, units: Mapping[str, int]) -> dict[str, Any]:
    """Return the schema of durations in seconds, or with one of ``units``."""
    rows = [
        between(ceil(first / seconds), last // seconds) + (f" ?{any_case(unit)}" if unit else "")
        for unit, seconds in units.items()
    ]
    return text("|".join(rows), {"type": "integer", "minimum": first, "maximum": last})


def size(least: int, most: int, units: Mapping[str, int]) -> str:
    """Return the expression of sizes from ``least`` to ``most`` bytes; ``most`` fits all units."""
    return "|".join(
        between(least, min(most, MOST_BYTES)) if not unit else _with_unit(least, most, unit, factor)
        for unit, factor in units.items()
    )


def _with_unit(least: int, most: int, unit: str, factor: int) -> str:
    last = min(most // factor, MOST_BYTES)
    rows = [
        rf"{between(ceil(least / factor), last - 1)}(?:\.[0-9]{{1,3}})?",
        rf"{last}(?:\.0{{1,3}})?",
    ]
    if 0 < least < factor:  # 0.001 and more of a large unit
        thousandths = ceil(least * 1000 / factor)
        parts = [
            digits(str(-(-thousandths // 10 ** (3 - width))).zfill(width), "9" * width)
            for width in (1, 2, 3)
            if -(-thousandths // 10 ** (3 - width)) < 10**width
        ]
        rows.append(rf"0\.(?:{'|'.join(parts)})")
    return f"(?:{'|'.join(rows)}) ?{any_case(unit)}(?:[Ii][Bb])?"


def one_or_more(item: Schema, least: int, most: int | None, *, unique: bool) -> dict[str, Any]:
    """Return the schema of a list of ``item``, which may be written as one text with commas."""
    array: dict[str, Any] = {"type": "array", "items": dict(item)}
    array |= {"minItems": least} if least else {}
    array |= {"maxItems": most} if most is not None else {}
    array |= {"uniqueItems": True} if unique else {}
    rows = _alternatives(item)
    one = "|".join(filter(None, map(_of_text, rows)))
    times = "*" if most is None else f"{{{max(least - 1, 0)},{most - 1}}}"
    # No item stands twice: a first one, a comma, others and the same again.
    once = r"^(?!(.*,)?\s*([^,\s]+)\s*,(.*,)?\s*\2\s*(,|$))" if unique else "^"
    pattern = rf"{once}\s*(?:{one})\s*(?:,\s*(?:{one})\s*){times}$"
    others = [row for row in rows if not _of_text(row)]
    return {"anyOf": [array, {"type": "string", "pattern": pattern}, *map(dict, others)]}


def _alternatives(schema: Schema) -> Sequence[Schema]:
    rows: Sequence[Schema] = schema.get("anyOf", (schema,))
    return rows


def _of_text(schema: Schema) -> str:
    """Return the expression of the text that ``schema`` allows; empty if it allows none."""
    if "pattern" in schema:
        return str(schema["pattern"]).removeprefix(r"^\s*").removesuffix(r"\s*$")
    names = schema.get("enum", [schema["const"]] if "const" in schema else [])
    return "|".join(name for name in names if isinstance(name, str))
