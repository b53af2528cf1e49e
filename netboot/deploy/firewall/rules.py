"""Chains of packet filters, and the fate of one packet in them. Pure.

A rule may have a part that is not understood here. It is then taken for a rule that may match and
may not, and both ways are followed: so the opinion is certain, or says which rule is in doubt.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from ipaddress import IPv4Address

MOST_DEPTH = 32  # of jumps; nftables allows 16
# Chains of a hook come in this order, and connection tracking has its turn among them.
CONNTRACK_PRIORITY = -200  # linux/netfilter_ipv4.h
UNTRACKED_HOOKS = ("ingress", "prerouting", "output")


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet of a PC to this server, or an ``answer`` to it. ``interface`` is the server's.

    ``is_new``: it begins a connection, as connection tracking sees it, if it is tracked yet.
    """

    interface: str
    protocol: str  # udp or tcp
    source: IPv4Address
    target: IPv4Address
    source_port: int
    target_port: int
    is_new: bool = True
    answer: bool = False
    is_tracked: bool = True

    @property
    def is_broadcast(self) -> bool:
        """True if it is for all machines of the link."""
        return self.target == IPv4Address("255.255.255.255")


class Act(Enum):
    """The end of a rule that matches."""

    NEXT = auto()
    ACCEPT = auto()
    DROP = auto()
    RETURN = auto()
    JUMP = auto()
    GOTO = auto()
    ODD = auto()  # a verdict that is not understood here: to a program, to another address


Test = Callable[[Packet], bool | None]
"""Whether a packet matches; None if that is not known."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. All ``tests`` must match. ``text`` is for a person.

    ``varies``: it may do otherwise with an equal packet later, or of another PC.
    """

    text: str
    tests: tuple[Test, ...]
    act: Act
    target: str = ""
    varies: bool = False

    def matches(self, packet: Packet) -> bool | None:
        """Return whether the rule matches, None if a part of it is in doubt."""
        found = [test(packet) for test in self.tests]
        if False in found:
            return False
        return None if None in found else True


@dataclass(slots=True)
class Chain:
    """Rules in their order. A base chain has a ``hook`` and a ``policy``, other chains have none.

    ``place`` is the table that it is in, as its program writes it.
    """

    name: str
    rules: list[Rule] = field(default_factory=list)
    hook: str = ""
    priority: int = 0
    policy: Act = Act.ACCEPT
    place: str = ""

    @property
    def path(self) -> str:
        """Table and name, as its program writes them."""
        return f"{self.place} {self.name}".strip()


Table = Mapping[str, Chain]


@dataclass(frozen=True, slots=True)
class Opinion:
    """The fate of a packet. ``is_open`` is None if it is not known.

    ``rule`` decides, or is in doubt. ``base`` is the path of the base chain that leads to it.
    ``varies``: a rule on the way that varies is in doubt, so no single packet can settle it.
    ``of_answer``: the packet itself comes in, and this is the fate of the server's answer to it.
    """

    is_open: bool | None
    rule: str = ""
    base: str = ""
    varies: bool = False
    of_answer: bool = False


@dataclass(slots=True)
class _Ways:
    """The ends that a packet may have in a chain, each with the rule of the first one."""

    accepted: bool = False
    dropped: str = ""
    doubt: str = ""  # a rule that may match and may not
    varying: str = ""  # such a rule that varies
    odd: str = ""  # a rule whose verdict is not understood
    falls: bool = False  # it may leave the chain without a verdict

    def add(self, other: "_Ways") -> None:
        self.accepted |= other.accepted
        self.dropped = self.dropped or other.dropped
        self.doubt = self.doubt or other.doubt
        self.varying = self.varying or other.varying
        self.odd = self.odd or other.odd


def judge(tables: Sequence[Table], packet: Packet) -> Opinion:
    """Return the fate of ``packet`` in all base chains of its way, in their order."""
    hooks = ("output", "postrouting") if packet.answer else ("ingress", "prerouting", "input")
    way = [
        (hooks.index(chain.hook), chain.priority, number, chain.name)
        for number, table in enumerate(tables)
        for chain in table.values()
        if chain.hook in hooks
    ]
    doubt = varying = ""
    for _, priority, number, name in sorted(way):
        chain = tables[number][name]
        is_early = chain.hook in UNTRACKED_HOOKS and priority < CONNTRACK_PRIORITY
        early = replace(packet, is_tracked=False)
        ways = _walk(tables[number], name, early if is_early else packet, 0)
        if ways.falls and chain.policy is Act.DROP:
            ways.dropped = ways.dropped or f"chain {chain.path}: policy drop"
        passes = ways.accepted or (ways.falls and chain.policy is not Act.DROP)
        if ways.dropped and not passes and not ways.odd:
            return Opinion(False, ways.dropped, chain.path)
        if ways.dropped or ways.odd:
            doubt = doubt or ways.odd or ways.doubt or ways.dropped
            varying = varying or ways.varying
    return Opinion(None, varying or doubt, varies=bool(varying)) if doubt else Opinion(True)


def _walk(table: Table, name: str, packet: Packet, depth: int) -> _Ways:
    ways = _Ways()
    chain = table.get(name)
    if chain is None or depth > MOST_DEPTH:
        return _Ways(odd=f"chain {name}", falls=True)
    for rule in chain.rules:
        matches = rule.matches(packet)
        if matches is False or rule.act is Act.NEXT:
            continue
        text = f"chain {chain.path}: {rule.text}"
        goes_on = False
        match rule.act:
            case Act.ACCEPT:
                ways.accepted = True
            case Act.DROP:
                ways.dropped = ways.dropped or text
            case Act.RETURN:
                ways.falls = True
            case Act.ODD:
                ways.odd = ways.odd or text
            case Act.JUMP | Act.GOTO:
                inner = _walk(table, rule.target, packet, depth + 1)
                ways.add(inner)
                ways.falls |= inner.falls and rule.act is Act.GOTO
                goes_on = inner.falls and rule.act is Act.JUMP
        if matches is None:
            ways.doubt = ways.doubt or text
            ways.varying = ways.varying or (text if rule.varies else "")
        elif not goes_on:
            return ways
    ways.falls = True
    return ways
