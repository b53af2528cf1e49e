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
_PAIR: Rule = {
    "anyOf": [
        {"type": "array", "minItems": 2, "maxItems": 2},
        {"type": "string", "pattern": "^[^,]*,[^,]*$"},
    ]
}


def _has(key: str, value: Rule) -> Rule:
    """Return the schema of a section that has ``key`` with this value."""
    return {"type": "object", "required": [key], "properties": {key: value}}


def _may_have(key: str, value: Rule) -> Rule:
    """Return the schema of a section whose ``key``, if it is there, has this value."""
    return {"properties": {key: value}}


def _each(value: Rule) -> Rule:
    return {"additionalProperties": value}


def _not_port(port: int) -> Rule:
    text = {"type": "string", "pattern": whole(str(port))}
    return _may_have("port", {"not": {"anyOf": [{"const": port}, text]}})


def _rules(*pairs: tuple[Rule, Rule]) -> Rule:
    return {"allOf": [{"if": condition, "then": rule} for condition, rule in pairs]}


_FULL = _has("mode", {"const": "full"})
_NETWORKS = _has("networks", {"type": "object", "minProperties": 1})
DHCP = _rules(
    (_FULL, {"anyOf": [_has("range", _GIVEN), _NETWORKS]}),
    (_FULL, _may_have("networks", _each(_has("range", _GIVEN)))),
)

SWAP = _rules(
    (_has("layout", {"enum": ["stripe", "mirror"]}), _has("servers", _SOME)),
    (_has("layout", {"const": "mirror"}), _has("servers", _PAIR)),
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
GROUP = _rules((_has("match", _SEVERAL), _may_have("hostname", _TAIL)))

_OF_IMAGE = _has("kind", {"enum": [row.name for row in ROOT_KINDS if row.image]})
_IMAGE = _has("image", _GIVEN)
_COMPLETE = {"if": _OF_IMAGE, "then": _IMAGE}
# The image of a section that has the kind, too; that of another section is compared in words.
_PATH = {"anyOf": [{"type": "null"}, {"type": "string", "pattern": r"^\s*/"}]}
_NAMED = {"enum": [row.name for row in ROOT_KINDS if row.named]}
_FILED = {"enum": [row.name for row in ROOT_KINDS if row.image and not row.named]}
ROOT = _rules(
    (_has("kind", _FILED), _may_have("image", _PATH)),
    (_has("kind", _NAMED), _may_have("image", {"anyOf": [{"type": "null"}, {"not": _PATH}]})),
)
_NO_IMAGE = {"not": _has("root", _IMAGE)}
_NO_GROW = _may_have("swap", _may_have("grow", _ZERO))


def profile(http_port: int, pages_port: int) -> Rule:
    """Return the rules of a whole profile. The ports are the defaults."""
    return _rules(
        ({"not": _has("swap", _has("port", {}))}, _may_have("http", _not_port(pages_port))),
        ({"not": _has("http", _has("port", {}))}, _may_have("swap", _not_port(http_port))),
        (_has("swap", _has("servers", _SOME)), _NO_GROW),
        (_has("swap", _has("servers", _SOME)), _may_have("groups", _each(_NO_GROW))),
        (_has("swap", _has("servers", _SOME)), _may_have("clients", _each(_NO_GROW))),
        ({"type": "object"}, _may_have("root", _COMPLETE)),
        # With an image for the whole room, a group or a client needs none.
        (_NO_IMAGE, _may_have("groups", _each(_may_have("root", _COMPLETE)))),
        # A client may have the image of a group, which its MAC address decides.
        (
            {"allOf": [_NO_IMAGE, {"not": {"required": ["groups"]}}]},
            _may_have("clients", _each(_may_have("root", _COMPLETE))),
        ),
    )
