"""The keys of a profile: a table for each section, from the models that read it."""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from netboot.profile import document, reading
from netboot.profile.descriptions import descriptions
from netboot.profile.fields import Overridable, Section
from netboot.profile.processors import PROCESSORS
from netboot.profile.profile import Profile
from tools.reference.markdown import code, table

EXAMPLES = Path(__file__).resolve().parents[2] / "profiles" / "lab.yaml"
# How the key below a mapping is called on the page, by the mapping's path.
PLACEHOLDERS = {"groups": "NAME", "clients": "MAC", "dhcp.networks": "NETWORK"}
PER_PC = ("groups.", "clients.")

_DEFAULT = re.compile(r"\s*\bDefault: (?P<value>.+)\.$")


def _fields(section: type[Section], above: str) -> Iterator[tuple[str, FieldInfo, str]]:
    """Yield path, field and description of every key that has a value of its own."""
    for name, field in section.model_fields.items():
        path = f"{above}{name}"
        below = _section_of(field)
        if below is None or (above.startswith(PER_PC) and issubclass(below, Overridable)):
            yield path, field, descriptions(section).get(name, "")
        elif get_origin(field.annotation) is dict:
            yield from _fields(below, f"{path}.{PLACEHOLDERS[path]}.")
        else:
            yield from _fields(below, f"{path}.")


def key_paths() -> list[str]:
    """Return the paths of all keys; NAME, MAC and NETWORK stand for what a user chooses."""
    return [path for path, _, _ in _fields(Profile, "")]


def _section_of(field: FieldInfo) -> type[Section] | None:
    """Return the section that a key has below it, if any. A value written as one text has none."""
    annotation = field.annotation
    if any(isinstance(kind, reading.Text) for kind in field.metadata):
        return None
    if get_origin(annotation) is dict:
        annotation = get_args(annotation)[1]
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def _form(annotation: Any, metadata: tuple[Any, ...] = ()) -> str:
    """Return what a value looks like, in words."""
    for kind in metadata:
        if isinstance(kind, reading.Text):
            return kind.expected
    origin, below = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _form(below[0], below[1:])
    if origin is Literal:
        return reading.any_of(dict.fromkeys(map(code, below)))
    if origin is tuple:
        return f"a list, each {_form(below[0])}"
    if origin is dict:
        return f"pairs of {_form(below[0])} and {_form(below[1])}"
    if isinstance(annotation, type):
        return "keys of that section" if issubclass(annotation, Section) else "text"
    return _form(next(each for each in below if each is not type(None)))  # VALUE | None


def _examples() -> Mapping[str, str]:
    """Return the values in profiles/lab.yaml by path, those in comments too."""
    keys = "|".join(re.escape(name) for name in sorted(_names()))
    text = re.sub(rf"(?m)^( *)# ( *(?:{keys}):)", r"\1\2", EXAMPLES.read_text())
    return dict(_scalars(document.read(text, EXAMPLES.name).tree, ""))


def _names() -> set[str]:
    """Return every word that begins a line in comments of the example: keys, and names below them."""
    paths = chain.from_iterable(path.split(".") for path in key_paths())
    indented = re.findall(r"(?m)^ *#  ? ?([\w./:-]+):$", EXAMPLES.read_text())
    return set(paths) | {name for name in indented if not name[0].isupper()}


def _scalars(tree: Any, path: str) -> Iterator[tuple[str, str]]:
    if not isinstance(tree, dict):
        yield path, _listed(tree) if isinstance(tree, list) else tree
        return
    if path and path not in PLACEHOLDERS:
        yield path, "{" + ", ".join(f"{key}: {value}" for key, value in tree.items()) + "}"
    for name, below in tree.items():
        key: str = PLACEHOLDERS.get(path) or name
        yield from _scalars(below, f"{path}.{key}" if path else key)


def _listed(tree: list[Any]) -> str:
    """Return the items of a list, or of a list of lists in YAML's form."""
    if not any(isinstance(each, list) for each in tree):
        return ", ".join(tree)
    rows = ("[" + ", ".join(each or "''" for each in row) + "]" for row in tree)
    return "[" + ", ".join(rows) + "]"


def _row(path: str, field: FieldInfo, meaning: str, example: str) -> tuple[str, str, str, str, str]:
    stated = _DEFAULT.search(meaning)
    default = stated["value"] if stated else ""
    form = _form(field.annotation, tuple(field.metadata))
    return (
        code(path),
        form + (" (required)" if field.is_required() else ""),
        default if " " in default else code(default),
        "" if example == default else code(example),
        _DEFAULT.sub("", meaning),
    )


def _section(name: str) -> str:
    """Return the table of a section, and which of its keys can differ from PC to PC."""
    field, examples = Profile.model_fields[name], _examples()
    found = [row for row in _fields(Profile, "") if row[0] == name or row[0].startswith(f"{name}.")]
    rows = [_row(path, each, meaning, examples.get(path, "")) for path, each, meaning in found]
    text = table(("Key", "Value", "Default", "Example", "Meaning"), rows)
    section = _section_of(field)
    if section is None or name in PLACEHOLDERS:
        return text
    return f"{descriptions(Profile)[name]}\n\n{text}\n\n{_differing(section)}"


def _differing(section: type[Section]) -> str:
    if not issubclass(section, Overridable):
        return "These keys are the same for all PCs."
    if Overridable in section.__bases__:
        return "Each of these keys can differ from PC to PC."
    own = [name for name in section.model_fields if name in section.__annotations__]
    return (
        f"Keys that are the same for all PCs: {', '.join(map(code, own))}. The others can differ."
    )


def _processors() -> str:
    rows = [(code(row.name), code(row.kernel), code(row.compiler_package)) for row in PROCESSORS]
    return table(("Name", "Kernel", "Package of the compiler for it"), rows)


BLOCKS: Mapping[str, Callable[[], str]] = {
    **{f"profile {name}": partial(_section, name) for name in Profile.model_fields},
    "processors": _processors,
}
