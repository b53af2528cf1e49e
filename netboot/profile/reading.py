"""Kinds of text in a profile: how a value is read, and what is said of one that cannot be. Pure."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from netboot.profile import patterns

if TYPE_CHECKING:  # a page worker reads no profile, and pydantic takes a fifth of its start
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

T = TypeVar("T")

CURLY = "\u201c\u201d\u201e\u2018\u2019\u201a\u00ab\u00bb"


class Unreadable(ValueError):
    """A value that its key does not take. ``nearest``, the likely intention, may be empty.

    ``is_secret``: no message may show the value.
    """

    def __init__(self, expected: str, nearest: str = "", *, is_secret: bool = False) -> None:
        super().__init__(f"expected {expected}")
        self.expected = expected
        self.nearest = nearest
        self.is_secret = is_secret


class Nearest(ValueError):
    """Raised by a conversion that can guess the intended value; its text is the guess."""


class Annotation(ABC):
    """A pydantic annotation that reads what stands in a YAML file before pydantic does."""

    @abstractmethod
    def read(self, value: object) -> object:
        """Return the value of what stands in the file. Raises ValueError."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: "GetCoreSchemaHandler"
    ) -> "CoreSchema":
        from pydantic_core import core_schema

        return core_schema.no_info_before_validator_function(self.read, handler(source))


@dataclass(frozen=True, eq=False)
class Text(Annotation, Generic[T]):
    """The notation of one kind of value; also a pydantic annotation that reads it.

    ``expected`` completes "expected ...". ``convert`` raises ValueError. ``schema`` is the JSON
    Schema of the value as a user writes it. Values that are neither text nor a YAML container pass
    unchanged, so that typed values can make models too.
    """

    expected: str
    convert: Callable[[str], T]
    schema: Mapping[str, Any]

    def parse(self, text: str) -> T:
        """Return the value of ``text``. Raises Unreadable."""
        try:
            return self.convert(text.strip())
        except Nearest as guess:
            raise Unreadable(self.expected, str(guess)) from None
        except Unreadable:  # it tells more than what is expected
            raise
        except ValueError:
            raise Unreadable(self.expected) from None

    def read(self, value: object) -> object:
        """Return the value of anything that a YAML file may hold here. Raises Unreadable."""
        if isinstance(value, str):
            return self.parse(value)
        if value is None or isinstance(value, list | dict):
            raise Unreadable(self.expected)
        return value

    def __get_pydantic_json_schema__(
        self, schema: "CoreSchema", handler: "GetJsonSchemaHandler"
    ) -> dict[str, Any]:
        return dict(self.schema)


@dataclass(frozen=True, eq=False)
class Secret(Text[str]):
    """A text that no message may show, because a user may have typed a password there."""

    def read(self, value: object) -> object:
        """Return the value as ``Text`` does. Raises Unreadable, as a secret."""
        try:
            return super().read(value)
        except Unreadable as error:
            error.is_secret = True
            raise


@dataclass(frozen=True, eq=False)
class OneOrMore(Annotation):
    """The annotation of a tuple: a list, or one text with commas.

    The bounds are for the JSON Schema; a section's validator tells a mistake in its own words.
    """

    least: int = 0
    most: int | None = None
    unique: bool = False

    def __get_pydantic_json_schema__(
        self, schema: "CoreSchema", handler: "GetJsonSchemaHandler"
    ) -> dict[str, Any]:
        item = handler(schema)["items"]
        return patterns.one_or_more(item, self.least, self.most, unique=self.unique)

    def read(self, value: object) -> object:
        """Return a list as it is, a text split at its commas, or a list of any other value."""
        if isinstance(value, str):
            return [part.strip() for part in value.split(",")]
        return value if isinstance(value, (list, tuple)) else [value]


def quoted(text: str, most: int = 60) -> str:
    """Return ``text`` in quotes, as it was typed, but for what does not print and what is too long.

    Quotes that a word processor made are told, because they look like the right ones.
    """
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    curly = "; use plain quotes, \" or '" if any(c in CURLY for c in text) else ""
    return f"'{shortened(shown, most)}'{curly}"


def shortened(text: str, most: int) -> str:
    """Return at most so many characters of ``text``, with dots in place of the rest."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def nearest(name: str, names: Mapping[str, object]) -> str:
    """Return the one of ``names`` that is most like ``name``; empty if none is similar."""
    return next(iter(get_close_matches(name.lower(), names, n=1, cutoff=0.5)), "")


def any_of(names: Mapping[str, object]) -> str:
    """Return ``a, b or c``."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def matched(pattern: str, text: str) -> re.Match[str]:
    """Match the whole of ``text`` with ``pattern``, in either case. Raises ValueError."""
    # ASCII: otherwise digits of all scripts match [0-9], and the Kelvin sign matches K.
    match = re.fullmatch(pattern, text, re.ASCII | re.IGNORECASE)
    if match is None:
        raise ValueError(text)
    return match
