"""The verbs as Typer shows them: their help and the mistakes in their options, in our words."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

F = TypeVar("F", bound=Callable[..., Any])
Replacements = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]

# Phrases of the libraries that read options, and ours.
MISTAKES: Replacements = (
    (r"(unexpected extra argument.*\((\S+\.ya?ml)\))", r"\1; did you mean --profile \2?"),
    (r"Value error, ('.*') is not one of (.*)\.", r"expected one of \2, found \1"),
    (r"Input should be greater than or equal to (\S+)", r"expected \1 or more"),
    (r"Input should be greater than (\S+)", r"expected more than \1"),
    (r"Input should be less than or equal to (\S+)", r"expected at most \1"),
    (r"Input should be a valid integer.*", "expected a whole number"),
    (r"Input should be a valid number.*", "expected a number"),
    (r"Input should be a finite number.*", "expected a number"),
    (r"Value error, ", ""),
)
# Marks of Typer, which say what Python makes of a word. A column keeps its place.
MARKS: Replacements = (
    (r"\{([A-Za-z|]+)\}", r"\1"),
    (r"^(  [A-Za-z|]+)( <[\w\[\]]+>)", lambda found: found[1] + " " * len(found[2])),
    (r"\b([\d.]+)<=x<=([\d.]+)", r"\1 to \2"),
    (r"\bx>=([\d.]+)", r"\1 or more"),
)


def _said(text: str, phrases: Replacements) -> str:
    for phrase, ours in phrases:
        text = re.sub(phrase, ours, text, flags=re.MULTILINE)
    return text


class Verb(TyperCommand):
    """One verb."""

    def get_help(self, ctx: Any) -> str:
        """Return its help."""
        return _said(super().get_help(ctx), MARKS)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words of the line that stands above a mistake."""
        return [_said(piece, MARKS) for piece in super().collect_usage_pieces(ctx)]


class Verbs(TyperGroup):
    """Several verbs. A mistake in an option is told in our words."""

    def get_help(self, ctx: Any) -> str:
        """Return their help."""
        return _said(super().get_help(ctx), MARKS)

    def invoke(self, ctx: Any) -> Any:
        """Run the verb."""
        try:
            return super().invoke(ctx)
        except typer.TyperException as error:
            error.message = _said(error.message, MISTAKES)
            raise


class App(typer.Typer):
    """A set of verbs whose help and mistakes are in our words."""

    def __init__(self, **options: Any) -> None:
        super().__init__(cls=Verbs, **options)

    def command(self, name: str | None = None, **options: Any) -> Callable[[F], F]:
        """Register a verb, as Typer does."""
        return super().command(name, cls=Verb, **options)
