"""The verbs of the command, from the parser that also prints ``--help``."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import typer

from netboot.cli.main import app
from tools.reference.markdown import block, code, table

_EXTRA = re.compile(r"\s*\[(?P<extra>[^\[\]]*)\]$")
_THEN = re.compile(r"\s+\(then(?P<what>[^:]*): (?P<command>.*)\)$")


# What Typer returns is of its own copy of click, whose classes have no public names.
def verbs(command: Any, name: str = "netboot", above: Any = None) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, command and context of the command and of every verb below it."""
    context = typer.Context(command, info_name=name.rpartition(" ")[2], parent=above)
    yield name, command, context
    for word, below in getattr(command, "commands", {}).items():
        yield from verbs(below, f"{name} {word}", context)


def options(command: Any) -> set[str]:
    """Return the names of all options of a verb."""
    own = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    return {name for name in own if name.startswith("-")} | {"-h", "--help"}


def command() -> Any:
    """Return the whole command."""
    return typer.main.get_command(app)


def _verb(name: str, verb: Any, context: Any) -> str:
    usage = " ".join([name, *verb.collect_usage_pieces(context)])
    parts = [f"## {name}", *_paragraphs(verb.help), block([usage], "text")]
    for kind, title in (("argument", "Argument"), ("option", "Option")):
        rows = [_row(each, context) for each in verb.params if each.param_type_name == kind]
        rows = [row for row in rows if row]
        if rows:
            parts.append(table((title, "Meaning", "Default", "Range"), rows))
    if verb.epilog:
        parts.append(block(_examples(verb.epilog), "sh"))
    return "\n\n".join(parts)


def _row(parameter: Any, context: Any) -> tuple[str, ...]:
    record = parameter.get_help_record(context)
    if record is None:
        return ()
    name, text = record
    extra = _EXTRA.search(text)
    facts = extra["extra"].split("; ") if extra else []
    default = next((each[9:] for each in facts if each.startswith("default: ")), "")
    rest = [each for each in facts if not each.startswith("default: ")]
    return code(name), _EXTRA.sub("", text), code(default), ", ".join(map(_range, rest))


def _range(text: str) -> str:
    """Return ``1<=x<=64`` and ``x>=64`` in words."""
    return re.sub(r"^x>=", "at least ", text.replace("<=x<=", " to "))


def _paragraphs(text: str | None) -> list[str]:
    return [" ".join(part.split()) for part in (text or "").split("\n\n") if part.strip()]


def _examples(epilog: str) -> Iterator[str]:
    _, _, text = epilog.partition(":")
    for example in text.split("  |  "):
        then = _THEN.search(example)
        yield _THEN.sub("", example).strip()
        if then:
            yield f"# then{then['what']}:"
            yield then["command"]


def _all() -> str:
    shown = [each for each in verbs(command()) if each[0] != "netboot" and not each[1].hidden]
    return "\n\n".join(_verb(*each) for each in shown)


BLOCKS: Mapping[str, Callable[[], str]] = {"verbs": _all}
