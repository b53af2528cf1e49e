"""Chains of ``nft -j list ruleset`` (libnftables-json(5)). Pure."""

import json
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from netboot.deploy.firewall.rules import Act, Chain, Packet, Rule, Table, Test
from netboot.deploy.firewall.varying import varies_in_nft
from netboot.errors import AnswerError

FAMILIES = ("ip", "inet", "netdev")  # those that see IPv4 on its way to a program
FRAME_FAMILIES = ("bridge", "arp")  # those that can keep its frames away from there
ACTS = {
    "accept": Act.ACCEPT,
    "drop": Act.DROP,
    "reject": Act.DROP,
    "return": Act.RETURN,
    "continue": Act.NEXT,
    "jump": Act.JUMP,
    "goto": Act.GOTO,
    **dict.fromkeys(("queue", "dnat", "redirect", "tproxy", "synproxy", "fwd"), Act.ODD),
}
# Statements that let every packet go on.
PASSING = frozenset(
    ("counter", "log", "mangle", "notrack", "masquerade", "snat", "dup", "ct helper", "ct timeout")
)
_UNKNOWN = object()

Json = dict[str, Any]
Key = tuple[str, str]  # family and name of a table


def parse(text: str) -> dict[Key, Table]:
    """Return the tables that see IPv4, by family and name. Raises AnswerError if it is no ruleset."""
    try:
        objects = [next(iter(each.items())) for each in json.loads(text)["nftables"]]
        ruleset = _Ruleset()
        for kind, found in objects:
            if kind == "chain" and found["family"] in FAMILIES:
                ruleset.chain(found)
            elif kind in ("set", "map") and found["family"] in FAMILIES:
                ruleset.sets[_key(found), found["name"]] = found.get("elem", [])
        for kind, found in objects:
            if kind == "rule" and found["family"] in FAMILIES:
                ruleset.rule(found)
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise AnswerError(f"nft: the ruleset cannot be read: {error!r}") from None
    return dict(ruleset.tables)


def managed_by_iptables(text: str) -> set[Key]:
    """Return the tables with parts that nft cannot show: ``iptables-nft`` made them."""
    found = (each["rule"] for each in json.loads(text)["nftables"] if "rule" in each)
    return {_key(rule) for rule in found if any("xt" in part for part in rule.get("expr", ()))}


def frame_filters(text: str) -> list[str]:
    """Return the paths of the tables of FRAME_FAMILIES that drop frames: they are not judged."""
    return sorted(
        {
            " ".join(_key(found))
            for each in json.loads(text)["nftables"]
            for kind, found in each.items()
            if kind in ("chain", "rule") and found["family"] in FRAME_FAMILIES and _drops(found)
        }
    )


def _drops(found: Json) -> bool:
    if found.get("policy") == "drop":
        return True
    # iptables' kinds of a match or a target, and maps of verdicts, may drop as well.
    passing = PASSING | {"match", "accept", "return", "continue", "jump", "goto"}
    return any(_split(part)[0] not in passing for part in found.get("expr", ()))


def _key(found: Json) -> Key:
    return found["family"], found["table"]


class _Ruleset:
    def __init__(self) -> None:
        self.tables: dict[Key, dict[str, Chain]] = {}
        self.sets: dict[tuple[Key, str], Any] = {}

    def chain(self, found: Json) -> None:
        policy = Act.DROP if found.get("policy") == "drop" else Act.ACCEPT
        hook, priority = found.get("hook", ""), found.get("prio", 0)
        priority = priority if isinstance(priority, int) else 0
        chain = Chain(found["name"], [], hook, priority, policy, " ".join(_key(found)))
        self.tables.setdefault(_key(found), {})[found["name"]] = chain

    def rule(self, found: Json) -> None:
        key, tests = _key(found), list[Test]()
        text = " ".join(map(_shown, found["expr"]))
        act, target, varies = Act.NEXT, "", varies_in_nft(found["expr"])
        rules = self.tables[key][found["chain"]].rules
        for part in found["expr"]:
            kind, content = _split(part)
            if kind == "match":
                tests.append(self._match(key, content))
            elif kind == "vmap":
                rules += self._verdicts(key, content, tuple(tests), text, varies)
            elif kind in ACTS:
                if kind == "reject":
                    tests.append(_implied_by(content))
                act = ACTS[kind]
                target = content["target"] if act in (Act.JUMP, Act.GOTO) else ""
            elif kind not in PASSING:
                tests.append(_doubted)
        rules.append(Rule(text, tuple(tests), act, target, varies))

    def _verdicts(
        self, key: Key, content: Json, tests: tuple[Test, ...], text: str, varies: bool
    ) -> list[Rule]:
        """Return a rule for each element of a verdict map."""
        data = content["data"]
        if isinstance(data, str):
            elements = self.sets.get((key, data.removeprefix("@")))
        else:
            elements = data.get("set")
        if not isinstance(elements, list):
            return [Rule(text, (*tests, _doubted), Act.ODD, varies=varies)]
        rules = []
        for value, verdict in elements:
            kind, inner = _split(verdict)
            act = ACTS.get(kind, Act.ODD)
            target = inner["target"] if act in (Act.JUMP, Act.GOTO) else ""
            match = self._match(key, {"op": "==", "left": content["key"], "right": value})
            rules.append(Rule(text, (*tests, match), act, target, varies))
        return rules

    def _match(self, key: Key, content: Json) -> Test:
        op, left, right = content["op"], content["left"], content["right"]

        def test(packet: Packet) -> bool | None:
            value = _value(left, packet)
            if value is None:  # the packet has no such field: nft ends the rule
                return False
            if value is _UNKNOWN:
                return None
            if op in ("==", "in"):
                return self._holds(key, value, right)
            if op == "!=":
                found = self._holds(key, value, right)
                return None if found is None else not found
            if op in _ORDERS and isinstance(value, int) and isinstance(right, int):
                return _ORDERS[op](value, right)
            return None

        return test

    def _holds(self, key: Key, value: Any, right: Any) -> bool | None:
        """Return whether ``right`` is the value, or has it among others."""
        match right:
            case str() if right.startswith("@"):
                named = self.sets.get((key, right[1:]))
                return None if named is None else self._holds(key, value, named)
            case {"set": several} | {"elem": several} | list(several):
                if isinstance(several, dict):
                    return self._holds(key, value, several["val"])
                found = [self._holds(key, value, each) for each in several]
                return True if True in found else None if None in found else False
            case {"concat": parts} if isinstance(value, tuple):
                each = [self._holds(key, *pair) for pair in zip(value, parts, strict=False)]
                return False if False in each else None if None in each else True
            case {"range": [first, last]}:
                return _is_between(value, first, last)
            case {"prefix": {"addr": str(address), "len": int(length)}}:
                if ":" in address:
                    return False
                network = IPv4Network(f"{address}/{length}", strict=False)
                return isinstance(value, IPv4Address) and value in network
            case dict():
                return None
            case _:
                return _is_equal(value, right)


def _split(part: Any) -> tuple[str, Any]:
    """Return kind and content of a statement or an expression; a bare value has no content."""
    return next(iter(part.items())) if isinstance(part, dict) and part else (str(part), None)


def _implied_by(reject: Any) -> Test:
    """Return the test of a protocol that nft does not print, because the kind of reject implies it."""
    kind = reject.get("type", "") if isinstance(reject, dict) else ""
    return lambda packet: kind != "icmpv6" and (kind != "tcp reset" or packet.protocol == "tcp")


def _doubted(packet: Packet) -> bool | None:
    return None


def _is_equal(value: Any, right: Any) -> bool | None:
    if isinstance(value, IPv4Address):
        return bool(str(value) == right)
    if isinstance(value, frozenset):
        return bool(right in value)
    if isinstance(right, str) and right.endswith("*") and isinstance(value, str):
        return value.startswith(right[:-1])
    if isinstance(value, int) and not isinstance(right, int):
        return None  # a name of a service that nft would not translate
    return bool(value == right)


def _is_between(value: Any, first: Any, last: Any) -> bool | None:
    if isinstance(value, IPv4Address):
        return IPv4Address(first) <= value <= IPv4Address(last)
    if all(isinstance(each, int) for each in (value, first, last)):
        return bool(first <= value <= last)
    return None


_ORDERS: Mapping[str, Callable[[int, int], bool]] = {
    "<": lambda left, right: left < right,
    ">": lambda left, right: left > right,
    "<=": lambda left, right: left <= right,
    ">=": lambda left, right: left >= right,
}


def _value(left: Any, packet: Packet) -> Any:
    """Return what the packet has: None if it has no such field, ``_UNKNOWN`` if we cannot know."""
    match left:
        case {"meta": {"key": str(key)}}:
            return _meta(key, packet)
        case {"payload": {"protocol": str(protocol), "field": str(field)}}:
            return _payload(protocol, field, packet)
        case {"ct": {"key": "state"}}:
            state = "new" if packet.is_new else "established"
            return frozenset((state if packet.is_tracked else "invalid",))
        case {"ct": _} if not packet.is_tracked:
            return None
        case {"ct": {"key": "status"}}:
            return frozenset(() if packet.is_new else ("seen-reply", "confirmed", "assured"))
        case {"ct": {"key": "direction"}}:
            return "original" if packet.is_new else "reply"
        case {"fib": {"result": "type", "flags": flags}}:
            if "daddr" in ([flags] if isinstance(flags, str) else flags) and not packet.answer:
                return "broadcast" if packet.is_broadcast else "local"
            return _UNKNOWN
        case {"fib": {"result": "oif" | "oifname"}}:
            return True  # a way back to the sender exists: it is on our link
        case {"concat": list(parts)}:
            values = tuple(_value(part, packet) for part in parts)
            if None in values:
                return None
            return _UNKNOWN if _UNKNOWN in values else values
        case {"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, mask]}:
            names = [mask] if isinstance(mask, str) else mask
            if packet.protocol != "tcp":
                return None
            if not isinstance(names, list):
                return _UNKNOWN
            return frozenset(names) & _tcp_flags(packet)
        case _:
            return _UNKNOWN


def _tcp_flags(packet: Packet) -> frozenset[str]:
    if packet.answer:
        return frozenset(("syn", "ack"))
    return frozenset(("syn",) if packet.is_new else ("ack",))


def _meta(key: str, packet: Packet) -> Any:
    mine = {"iif", "iifname"} if not packet.answer else {"oif", "oifname"}
    if key in mine:
        return packet.interface
    if key in ("iif", "iifname", "oif", "oifname"):
        return None if key in ("iif", "oif") else ""
    known: Mapping[str, Any] = {
        "l4proto": packet.protocol,
        "protocol": "ip",
        "nfproto": "ipv4",
        # The kernel does not set it on the way out.
        "pkttype": "broadcast" if packet.is_broadcast and not packet.answer else "host",
    }
    return known.get(key, _UNKNOWN)


def _payload(protocol: str, field: str, packet: Packet) -> Any:
    known: Mapping[tuple[str, str], Any] = {
        ("ip", "saddr"): packet.source,
        ("ip", "daddr"): packet.target,
        ("ip", "protocol"): packet.protocol,
        ("ip", "version"): 4,
        ("port", "sport"): packet.source_port,
        ("port", "dport"): packet.target_port,
    }
    if protocol == "tcp" and field == "flags" and packet.protocol == "tcp":
        return _tcp_flags(packet)
    if protocol in (packet.protocol, "th"):
        return known.get(("port", field), _UNKNOWN)
    if protocol == "ether":
        return _UNKNOWN
    return known.get((protocol, field), _UNKNOWN) if protocol == "ip" else None


def _shown(part: Any) -> str:
    """Return a part of a rule about as nft prints it."""
    kind, content = _split(part)
    match kind, content:
        case "match", {"op": op, "left": left, "right": right}:
            between = " " if op in ("==", "in") else f" {op} "
            return f"{_shown(left)}{between}{_shown(right)}"
        case "meta" | "ct", {"key": key}:
            return str(key) if kind == "meta" and "if" in key else f"{kind} {key}"
        case "payload", {"protocol": protocol, "field": field}:
            return f"{protocol} {field}"
        case "set", list():
            return "{ " + ", ".join(map(_shown, content)) + " }"
        case "range", [first, last]:
            return f"{first}-{last}"
        case "prefix", {"addr": address, "len": length}:
            return f"{address}/{length}"
        case "jump" | "goto", {"target": target}:
            return f"{kind} {target}"
        case "xt", {"name": name}:
            return f"xt {name}"
        case _:
            return kind
