"""Rules over several keys of a profile, as JSON Schemas for editors. Pure.

The sections' validators enforce the same rules and tell them in words. A rule that compares two
values, such as addresses and their networks, has no JSON Schema: tests/profile/test_schema.py lists
these rules.
"""

import re
from typing import Any

from netboot.profile.patterns import whole
from netboot.profile.roots import ROOT_KINDS
from netboot.profile.values import MAC_TAIL

Rule = dict[str, Any]

_GIVEN: Rule = {"not": {"type": "null"}}
_SOME: Rule = {"anyOf": [{"type": "array", "minItems": 1}, {"type": "string"}]}
_ZERO: Rule = {"anyOf": [{"const": 0}, {"type": "string", "pattern": whole("0")}]}
_TWO_OR_MORE: Rule = {
    "anyOf": [{"type": "array", "minItems": 2}, {"type": "string", "pattern": ","}]
}
_POOL: Rule = {"type": "string", "pattern": r"^\s*rbd:"}
_FEW: Rule = {
    "anyOf": [
        {"type": "array", "maxItems": 8},
        {"type": "string", "pattern": "^[^,]*(,[^,]*){0,7}$"},
    ]
}


def has(key: str, value: Rule) -> Rule:
    """Return the schema of a section that has ``key`` with this value."""
    return {"type": "object", "required": [key], "properties": {key: value}}


def may_have(key: str, value: Rule) -> Rule:
    """Return the schema of a section whose ``key``, if it is there, has this value."""
    return {"properties": {key: value}}


def _each(value: Rule) -> Rule:
    return {"additionalProperties": value}


def _not_port(port: int) -> Rule:
    text = {"type": "string", "pattern": whole(str(port))}
    return may_have("port", {"not": {"anyOf": [{"const": port}, text]}})


def rules(*pairs: tuple[Rule, Rule]) -> Rule:
    """Return the schema in which each pair's second rule holds wherever its first one does."""
    return {"allOf": [{"if": condition, "then": rule} for condition, rule in pairs]}


_FULL = has("mode", {"const": "full"})
_NETWORKS = has("networks", {"type": "object", "minProperties": 1})
DHCP = rules(
    (_FULL, {"anyOf": [has("range", _GIVEN), _NETWORKS]}),
    (_FULL, may_have("networks", _each(has("range", _GIVEN)))),
)

SWAP = rules(
    (has("layout", {"enum": ["stripe", "mirror", "any"]}), has("servers", _SOME)),
    (has("layout", {"enum": ["mirror", "any"]}), has("servers", _TWO_OR_MORE)),
    (has("layout", {"const": "any"}), has("store", _POOL)),
    (has("layout", {"const": "stripe"}), has("servers", _FEW)),
)

_STAR = {"type": "string", "pattern": r"[*]\s*$"}
_SEVERAL = {
    "anyOf": [
        {"type": "array", "minItems": 2},
        {"type": "array", "contains": _STAR},
        _STAR,
        {"type": "string", "pattern": ","},
    ]
}
_TAIL = {"anyOf": [{"type": "null"}, {"type": "string", "pattern": re.escape(MAC_TAIL)}]}
GROUP = rules((has("match", _SEVERAL), may_have("hostname", _TAIL)))

_OF_IMAGE = has("kind", {"enum": [row.name for row in ROOT_KINDS if row.image]})
_IMAGE = has("image", _GIVEN)
_COMPLETE = {"if": _OF_IMAGE, "then": _IMAGE}
# The image of a section that has the kind, too; that of another section is compared in words.
_PATH = {"anyOf": [{"type": "null"}, {"type": "string", "pattern": r"^\s*/"}]}
_NAMED = {"enum": [row.name for row in ROOT_KINDS if row.named]}
_FILED = {"enum": [row.name for row in ROOT_KINDS if row.image and not row.named]}
ROOT = rules(
    (has("kind", _FILED), may_have("image", _PATH)),
    (has("kind", _NAMED), may_have("image", {"anyOf": [{"type": "null"}, {"not": _PATH}]})),
)
_NO_IMAGE = {"not": has("root", _IMAGE)}
_PARTED = has("swap", has("layout", {"enum": ["stripe", "any"]}))
_NO_GROW = may_have("swap", may_have("grow", _ZERO))


def profile(http_port: int, pages_port: int) -> Rule:
    """Return the rules of a whole profile. The ports are the defaults."""
    return rules(
        ({"not": has("swap", has("port", {}))}, may_have("http", _not_port(pages_port))),
        ({"not": has("http", has("port", {}))}, may_have("swap", _not_port(http_port))),
        (_PARTED, _NO_GROW),
        (_PARTED, may_have("groups", _each(_NO_GROW))),
        (_PARTED, may_have("clients", _each(_NO_GROW))),
        ({"type": "object"}, may_have("root", _COMPLETE)),
        # With an image for the whole room, a group or a client needs none.
        (_NO_IMAGE, may_have("groups", _each(may_have("root", _COMPLETE)))),
        # A client may have the image of a group, which its MAC address decides.
        (
            {"allOf": [_NO_IMAGE, {"not": {"required": ["groups"]}}]},
            may_have("clients", _each(may_have("root", _COMPLETE))),
        ),
    )
