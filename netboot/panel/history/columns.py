"""Types of the history's columns: whatever a PC says, the database can store it.

PostgreSQL has no NUL in a text and neither engine has half a surrogate pair. A number that is too large
for its column is the largest one, not an error. The rules hold for conditions as well.
"""

import json
from typing import Any

from sqlalchemy import BigInteger, Dialect, Integer, SmallInteger, String
from sqlalchemy.types import TypeDecorator

REPLACEMENT = "\ufffd"
DEEPEST = 8  # of JSON: a seat's text has no depth


def clean(text: str, limit: int) -> str:
    """Return at most ``limit`` characters of a text, each of which a database can store."""
    cut = text[:limit].replace("\0", REPLACEMENT)
    return cut.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class Words(TypeDecorator[str]):
    """A text of at most ``limit`` characters; the end of a longer one is lost."""

    impl = String
    cache_ok = True

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else clean(value, self.limit)


class Json(TypeDecorator[Any]):
    """A JSON value as a text; each text in it has at most ``limit`` characters."""

    impl = String
    cache_ok = True

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def process_bind_param(self, value: Any, dialect: Dialect) -> str:
        return json.dumps(self._cleaned(value, DEEPEST), separators=(",", ":"), ensure_ascii=False)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else json.loads(value)

    def _cleaned(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return clean(value, self.limit)
        if isinstance(value, list | tuple):
            return [self._cleaned(each, depth - 1) for each in value] if depth else None
        if isinstance(value, dict):
            items = value.items() if depth else ()
            return {clean(str(k), self.limit): self._cleaned(v, depth - 1) for k, v in items}
        if isinstance(value, float):
            return value if abs(value) < float("inf") else None  # NaN is no JSON
        return value


class Whole(TypeDecorator[int]):
    """An integer of 16, 32 or 64 bits; one beyond is the largest or smallest."""

    impl = Integer
    cache_ok = True

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits
        self._most = 2 ** (bits - 1) - 1

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        # SQLite stores each integer in as few bytes as it needs. Its keys must be INTEGER.
        kind = {16: SmallInteger, 32: Integer, 64: BigInteger}[self.bits]
        return dialect.type_descriptor(kind() if dialect.name != "sqlite" else Integer())

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:
        return None if value is None else max(-self._most, min(self._most, int(value)))
