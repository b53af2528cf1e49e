"""The verbs as Typer shows them: their help and the mistakes in their options, in our words."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from netboot.cli.ending import VARIABLE
from netboot.errors import OperatorError
from netboot.host import folders
from netboot.profile import reading

F = TypeVar("F", bound=Callable[..., Any])
Replacements = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]


def _one_of(found: re.Match[str]) -> str:
    names = found[2].replace("'", "").split(", ")
    return f"expected {reading.any_of(dict.fromkeys(names))}, found {found[1]}"


# Phrases of the libraries that read options, and ours.
MISTAKES: Replacements = (
    (r"Invalid value for (.*?): (?=\S)", lambda found: found[1].replace("'", "") + ": "),
    (r"Value error, ('.*') is not one of (.*)\.", _one_of),
    (r"Value error, ", ""),
    (r"Input should be greater than or equal to (\S+)", r"expected \1 or more"),
    (r"Input should be greater than (\S+)", r"expected more than \1"),
    (r"Input should be less than or equal to (\S+)", r"expected at most \1"),
    (r"Input should be a valid integer.*", "expected a whole number"),
    (r"Input should be a (?:valid|finite) number.*", "expected a number"),
    (
        r"Got unexpected extra argument(?:\(s\)|s)? \((\S+\.ya?ml)\)",
        r"unexpected word '\1'; did you mean --profile \1?",
    ),
    (r"Got unexpected extra argument(?:\(s\)|s)? \((.*)\)", r"unexpected words '\1'"),
    (r"Missing (?:argument|option) '(.*)'\.", r"missing \1"),
    (r"No such option: (\S+)", r"unknown option \1"),
    (r" \(Possible options?: (.*)\)", r"; did you mean \1?"),
    (r"No such command ('.*?')\.", r"unknown verb \1"),
    (r" Did you mean (.*?)(?:, 'can-serve')?\?$", r"; did you mean \1?"),
    (r"Option '(.*)' requires an argument\.", r"\1: expected a value"),
    (r"Option '(.*)' does not take a value\.", r"\1: takes no value"),
)
PATHS = ("FILE", "FOLDER")  # options with this metavar
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

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Read the options, and the variables that stand for them. Raises OperatorError."""
        _check_paths(self, ctx, args)
        _name_variables(self, ctx)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the verb. Raises OperatorError, which names the variable that a value came from."""
        with _variables_named(ctx):
            return super().invoke(ctx)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words of the line that stands above a mistake."""
        return [_said(piece, MARKS) for piece in super().collect_usage_pieces(ctx)]


class Verbs(TyperGroup):
    """Several verbs. A mistake in an option is told in our words."""

    def get_help(self, ctx: Any) -> str:
        """Return their help."""
        return _said(super().get_help(ctx), MARKS)

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Read the options that stand before a verb. Raises OperatorError."""
        _check_paths(self, ctx, args)
        _name_variables(self, ctx)
        return super().parse_args(ctx, args)

    def make_context(self, *words: Any, **more: Any) -> Any:
        """Read the options that stand before a verb. Raises OperatorError."""
        with _mistakes_in_our_words():
            return super().make_context(*words, **more)

    def invoke(self, ctx: Any) -> Any:
        """Run the verb. Raises OperatorError."""
        with _mistakes_in_our_words(), _variables_named(ctx):
            return super().invoke(ctx)


def _check_paths(command: Any, ctx: Any, words: list[str]) -> None:
    """Refuse an empty path: that of a variable that is not set would mean the current folder."""
    paths = {name for each in command.params if each.metavar in PATHS for name in each.opts}
    for before, word in zip(("", *words), words, strict=False):
        name, mark, value = word.partition("=")
        if (name in paths and mark and not value) or (before in paths and not word):
            option = name if mark else before
            raise OperatorError(f"{option}: expected a path", hint=f"{ctx.command_path} --help")


def _name_variables(command: Any, ctx: Any) -> None:
    """Let a variable stand for each option: NETBOOT_VERB_OPTION, then one that several verbs have.

    systemd's folder for a service's state comes behind both.
    """
    verb = [VARIABLE]
    above = ctx
    while above.parent is not None:
        verb.insert(1, above.info_name)
        above = above.parent
    for each in command.params:
        if each.param_type_name == "option" and (long := _long(each)) is not None:
            own = "_".join([*verb, long]).replace("-", "_").upper()
            several = each.envvar if isinstance(each.envvar, str) else None
            if not isinstance(each.envvar, list):
                each.envvar = [own, several] if several else [own]
                each.show_envvar = False  # one for each option: docs/reference/environment.md
    state = folders.given(folders.STATE)
    if state is not None:
        ctx.default_map = {"state": str(state)}


def _long(option: Any) -> str | None:
    """Return the long name of an option without its dashes; None for what ends the command at once."""
    names = [name for name in option.opts if name.startswith("--")]
    return None if option.is_eager or not names else names[0].removeprefix("--")


@contextmanager
def _variables_named(ctx: Any) -> Iterator[None]:
    """Have a mistake in a value name the variable that it came from, not the option."""
    try:
        yield
    except OperatorError as error:
        for each in ctx.command.params:
            variable = _variable_of(ctx, each)
            for name in each.opts:
                if variable and str(error).startswith(f"{name}: "):
                    error.args = (variable + str(error).removeprefix(name),)
                    raise
        raise


def _variable_of(ctx: Any, option: Any) -> str:
    """Return the variable from which an option got its value; an empty text if it was another source."""
    source = ctx.get_parameter_source(option.name)
    if source is None or source.name != "ENVIRONMENT":
        return ""
    return str(next(name for name in option.envvar if os.environ.get(name)))


@contextmanager
def _mistakes_in_our_words() -> Iterator[None]:
    try:
        yield
    except typer.TyperException as error:
        told = str(error.format_message())
        if not told or "\n" in told:  # the help, for a command without any word
            raise
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "netboot"
        told = _said(told, MISTAKES)
        option = getattr(error, "param", None)
        if context is not None and option is not None:
            variable = _variable_of(context, option)
            told = re.sub(r"^.*?(?=: )", variable, told, count=1) if variable else told
        raise OperatorError(told, hint=f"{path} --help") from None


class App(typer.Typer):
    """A set of verbs whose help and mistakes are in our words."""

    def __init__(self, **options: Any) -> None:
        super().__init__(cls=Verbs, **options)

    def command(self, name: str | None = None, **options: Any) -> Callable[[F], F]:
        """Register a verb, as Typer does."""
        return super().command(name, cls=Verb, **options)
