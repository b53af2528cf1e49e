"""YAML as editors read it: the core schema of YAML 1.2, and JSON's values."""

import re
from typing import Any

import yaml

# YAML 1.2.2, section 10.3.2. Octal and hexadecimal numbers of that section are numbers too.
_CORE = (
    ("null", r"null|Null|NULL|~|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012


for _kind, _pattern, _firsts in _CORE:
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_kind}", re.compile(rf"^(?:{_pattern})$"), list(_firsts)
    )
_Loader.yaml_implicit_resolvers[""] = _Loader.yaml_implicit_resolvers.pop("\0")
_Loader.add_constructor(
    "tag:yaml.org,2002:int", lambda loader, node: int(node.value, 0 if "x" in node.value else 10)
)


def load(text: str) -> Any:
    """Return what an editor hands to its JSON Schema. Raises yaml.YAMLError."""
    return _keys_as_text(yaml.load(text, _Loader))


def _keys_as_text(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _keys_as_text(below) for key, below in value.items()}
    return [_keys_as_text(item) for item in value] if isinstance(value, list) else value
