"""A profile's file -> Profile, its mistakes as one line each, and its JSON Schema.

Pure except ``load`` and ``read_text``, which read the one file that they are given.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import ValidationError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import ErrorDetails, core_schema

from netboot.errors import OperatorError
from netboot.profile import document, reading, values
from netboot.profile.descriptions import descriptions
from netboot.profile.document import MAX_CHARACTERS, Document, KeyPath, dotted
from netboot.profile.fields import Section
from netboot.profile.profile import Profile

SETTING = "--set"  # the option that gives a key, and the place that its mistakes are reported for
SETTING_LINE = 0
MOST_BYTES = 4 * MAX_CHARACTERS + 4  # more is too long in any case; a device may never end
FOUND_CHARACTERS = 40
KEY_CHARACTERS = 200
S = TypeVar("S", bound=Section)
EXPECTED = {"tuple_type": "a list", "string_type": "text", "string_unicode": "text"}


def load(path: Path, settings: Sequence[str] = ()) -> Profile:
    """Return the profile in the file ``path``; see ``parse``. Raises OperatorError."""
    try:
        return parse(read_text(path), str(path), settings)
    except FileNotFoundError:
        hint = "copy profiles/lab.yaml and edit it, or name another file with --profile"
        raise OperatorError(f"{path}: there is no such profile", hint=hint) from None


def read_text(path: Path) -> str:
    """Return the text of a file. Raises OperatorError, and FileNotFoundError if there is none."""
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise OperatorError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise OperatorError(
            f"{path}:{line}: not UTF-8 text", hint="save the file in the encoding UTF-8"
        ) from None


def parse(text: str, source: str, settings: Sequence[str] = ()) -> Profile:
    """Return the profile in ``text``; mistakes are reported for ``source``.

    ``settings`` are ``dotted.key=value``; each replaces a value of the text. Raises OperatorError
    with one line for each mistake: ``source:line: key 'dotted.key': problem``.
    """
    read = read_keys(text, source, "swap:")
    for setting in settings:
        _set(read, setting)
    _name_clients_alike(read)
    return validated(read, Profile)


def read_keys(text: str, source: str, example: str) -> Document:
    """Return the document of a text that has keys such as ``example``. Raises OperatorError."""
    read = document.read(text, source)
    if read.tree is None:
        read.tree = {}
    if not isinstance(read.tree, dict):
        found = _found(read.tree)
        raise OperatorError(f"{source}:1: expected keys such as '{example}', found {found}")
    return read


def validated(read: Document, model: type[S]) -> S:
    """Return the ``model`` of a document with keys. Raises OperatorError, a line for each mistake."""
    try:
        return model.model_validate(read.tree)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        mistakes = sorted(_mistake(read, details, model) for details in errors)
        raise OperatorError("\n".join(text for _, text in mistakes)) from None


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a profile as users write it, for editors."""
    return schema_of(Profile, "netboot profile")


def schema_of(model: type[Section], title: str) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the files that ``validated`` reads as this model."""
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        **model.model_json_schema(schema_generator=_AsWritten),
        "title": title,
    }


class _AsWritten(GenerateJsonSchema):
    """Describes keys, and omits defaults: they are values of the models, and descriptions give them."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        found = super().model_schema(schema)  # nothing stands for a section without keys
        model: type[Section] = schema["cls"]
        for name, text in descriptions(model).items():
            found["properties"][name]["description"] = text
        return found if "required" in found else {**found, "type": ["object", "null"]}

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        found = super().dict_schema(schema)
        for values_schema in found.pop("patternProperties", {}).values():
            found["additionalProperties"] = values_schema
        names = self.generate_inner(schema["keys_schema"])
        return found if names == {"type": "string"} else {**found, "propertyNames": names}

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])


def _set(read: Document, setting: str) -> None:
    """Put ``dotted.key=value`` into the document. Raises OperatorError."""
    key, equals, value = setting.partition("=")
    if not equals:
        raise OperatorError(f"{SETTING}: expected KEY=VALUE, found {_found(setting)}")
    path = tuple(key.strip().split("."))
    here = read.tree
    for depth, name in enumerate(path[:-1], start=1):
        if not isinstance(here.get(name), dict):
            here[name] = {}
            read.lines[path[:depth]] = SETTING_LINE
        here = here[name]
    here[path[-1]] = value
    read.lines[path] = SETTING_LINE


def _name_clients_alike(read: Document) -> None:
    """Give each key of ``clients`` the normalised spelling of its MAC address.

    Raises OperatorError if two keys are the same PC.
    """
    clients = read.tree.get("clients")
    if not isinstance(clients, dict):
        return
    spelled: dict[str, str] = {}
    for key in clients:
        try:
            mac = values.mac(key)
        except ValueError:
            continue  # the model reports it
        if mac in spelled:
            problem = f"the same PC as in {_where(read, ('clients', spelled[mac]))}; remove one"
            raise OperatorError(_line(read, ("clients", key), problem))
        spelled[mac] = key
    mac_of = {key: mac for mac, key in spelled.items()}
    read.tree["clients"] = {mac_of.get(key, key): below for key, below in clients.items()}
    read.lines |= {
        ("clients", mac_of[str(path[1])], *path[2:]): line
        for path, line in read.lines.items()
        if path[0] == "clients" and len(path) > 1 and path[1] in mac_of
    }


def _where(read: Document, path: KeyPath) -> str:
    line = read.line(path)
    return SETTING if line == SETTING_LINE else f"{read.source}:{line}"


def _line(read: Document, path: KeyPath, problem: str) -> str:
    key = reading.shortened(dotted(path), KEY_CHARACTERS)
    return f"{_where(read, path)}: key '{key}': {problem}"


def _mistake(read: Document, details: ErrorDetails, model: type[Section]) -> tuple[int, str]:
    """Return the line number and the text of one of pydantic's errors."""
    path, kind, context = details["loc"], details["type"], details.get("ctx", {})
    found = _found(details["input"])
    match kind:
        case "extra_forbidden":
            problem = _unknown(path, model)
        case "missing":
            path, problem = path[:-1], f"missing key '{path[-1]}'"
        case "misplaced":
            path, problem = (*path, *context["path"]), context["problem"]
        case "value_error" if isinstance(context["error"], reading.Unreadable):
            # pydantic appends "[key]" if the key itself is wrong.
            path = path[:-1] if path[-1] == "[key]" else path
            error = context["error"]
            shown = "" if error.is_secret else f", found {found}"
            problem = f"{error}{shown}{_did_you_mean(error.nearest)}"
        case "literal_error":
            names = dict.fromkeys(re.findall(r"'([^']*)'", context["expected"]))
            guess = reading.nearest(str(details["input"]), names)
            problem = f"expected {reading.any_of(names)}, found {found}{_did_you_mean(guess)}"
        case "model_type" | "dict_type":
            problem = f"expected a section with keys, found {found}{_spaced(details['input'])}"
        case _:
            problem = f"expected {EXPECTED.get(kind, details['msg'])}, found {found}"
    return read.line(path), _line(read, path, problem)


def _unknown(path: KeyPath, model: type[Section]) -> str:
    section, name = _section_at(path[:-1], model), str(path[-1])
    if any(name in wider.model_fields for wider in section.__subclasses__()):
        return "cannot differ between PCs; set it for the whole room"
    guess = reading.nearest(name, section.model_fields)
    return "unknown key" + (
        _did_you_mean(guess) or f"; expected {reading.any_of(section.model_fields)}"
    )


def _section_at(path: Iterable[str | int], model: type[Section]) -> type[Section]:
    """Return the model of the section at ``path`` below ``model``."""
    here: Any = model
    for name in path:
        if isinstance(here, type) and issubclass(here, Section):
            here = here.model_fields[str(name)].annotation
        else:
            here = get_args(here)[1]  # dict[str, Group]
    assert isinstance(here, type) and issubclass(here, Section)
    return here


def _did_you_mean(guess: str) -> str:
    return f"; did you mean '{guess}'?" if guess else ""


def _spaced(value: object) -> str:
    """Return the remedy for ``mode:proxy``, which YAML takes as one text."""
    joined = re.fullmatch(r"(\w+):(\S.*)", value) if isinstance(value, str) else None
    return f"; write a space behind the colon: '{joined[1]}: {joined[2]}'" if joined else ""


def _found(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict | list):
        return "keys" if isinstance(value, dict) else "a list"
    return reading.quoted(str(value), FOUND_CHARACTERS)
