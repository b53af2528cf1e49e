"""A manual page for each verb, from the parser that also prints ``--help``; docs/netboot.1 as it is."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import netboot
from tools.reference.cli import command, verbs

CHECKOUT = Path(__file__).parents[2]
WHOLE = "netboot.1"


def pages() -> dict[str, str]:
    """Return the pages by their file names."""
    shown = [each for each in verbs(command()) if each[0] != "netboot" and not each[1].hidden]
    made = {f"{_page(name)}.1": _verb(name, verb, context) for name, verb, context in shown}
    return {WHOLE: (CHECKOUT / "docs" / WHOLE).read_text(), **made}


def _page(name: str) -> str:
    return name.replace(" ", "-")


def _verb(name: str, verb: Any, context: Any) -> str:
    title, version = _text(_page(name).upper()), _text(f"netboot {netboot.__version__}")
    brief, *more = _paragraphs(verb.help)
    lines = [f'.TH {title} 1 "" "{version}" "User commands"', ".SH NAME"]
    lines += [f"{_text(_page(name))} \\- {_text(brief.partition('. ')[0].rstrip('.'))}"]
    lines += [".SH SYNOPSIS", f".B {_text(name)}"]
    lines += [_text(" ".join(verb.collect_usage_pieces(context)))]
    lines += [".SH DESCRIPTION", _text(brief)]
    for paragraph in more:
        lines += [".PP", _text(paragraph)]
    for kind, heading in (("argument", "ARGUMENTS"), ("option", "OPTIONS")):
        rows = [each.get_help_record(context) for each in verb.params]
        rows = [
            row
            for row, each in zip(rows, verb.params, strict=True)
            if row is not None and each.param_type_name == kind
        ]
        lines += [f".SH {heading}"] if rows else []
        for option, meaning in rows:
            lines += [".TP", f".B {_text(option)}", _text(" ".join(meaning.split()))]
    below = {word: each for word, each in getattr(verb, "commands", {}).items() if not each.hidden}
    lines += [".SH VERBS"] if below else []
    for word, each in below.items():
        reference = f"See \\fB{_text(_page(f'{name} {word}'))}\\fR(1)."
        lines += [".TP", f".B {_text(word)}", _text(_paragraphs(each.help)[0]), reference]
    if verb.epilog:
        lines += [".SH EXAMPLES", ".nf", *_examples(verb.epilog), ".fi"]
    lines += [".SH SEE ALSO", ".BR netboot (1)", ""]
    return "\n".join(lines)


def _paragraphs(text: str | None) -> list[str]:
    return [" ".join(part.split()) for part in (text or "").split("\n\n") if part.strip()]


def _examples(epilog: str) -> Iterator[str]:
    for example in epilog.partition(":")[2].split("  |  "):
        yield _text(example.strip())


def _text(text: str) -> str:
    """Return a line of text in roff: a hyphen of ours is a minus, which can be copied."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^(?=[.'])", r"\\&", escaped)
