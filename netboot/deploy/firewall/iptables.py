"""Chains of ``iptables-save``. Pure."""

import shlex
from collections.abc import Sequence
from ipaddress import IPv4Network

from netboot.deploy.firewall.rules import Act, Chain, Packet, Rule, Table, Test
from netboot.deploy.firewall.varying import MATCHES
from netboot.errors import AnswerError

# Base chains by table: hook and priority (linux/netfilter_ipv4.h).
PRIORITIES = {"raw": -300, "mangle": -150, "nat": -100, "filter": 0, "security": 50}
HOOKS = {
    "PREROUTING": "prerouting",
    "INPUT": "input",
    "OUTPUT": "output",
    "POSTROUTING": "postrouting",
}
ACTS = {"ACCEPT": Act.ACCEPT, "DROP": Act.DROP, "REJECT": Act.DROP, "RETURN": Act.RETURN}
ODD = frozenset(("QUEUE", "NFQUEUE", "DNAT", "REDIRECT", "TPROXY", "SYNPROXY", "NETMAP", "TARPIT"))
ANY_NAMES = ("0", "all")
SILENT = ("-m", "--match", "--comment", "--mask")  # options that decide nothing by themselves


def parse(text: str) -> list[Table]:
    """Return the tables of ``iptables-save``. Raises AnswerError if the text is of another form."""
    tables: list[dict[str, Chain]] = []
    name = ""
    try:
        for line in text.splitlines():
            if line.startswith("*"):
                name = line[1:].strip()
                tables.append({})
            elif line.startswith(":"):
                chain, policy = line[1:].split()[:2]
                hook = HOOKS.get(chain, "")
                act = Act.DROP if policy == "DROP" else Act.ACCEPT
                tables[-1][chain] = Chain(chain, [], hook, PRIORITIES.get(name, 0), act, name)
            elif line.startswith(("-A ", "[")):
                words = shlex.split(line[line.index("-A ") :])
                tables[-1][words[1]].rules.append(_rule(words[2:], tables[-1]))
    except (ValueError, IndexError, KeyError) as error:
        raise AnswerError(f"iptables-save: cannot be read: {error!r}") from None
    return list(tables)


def _rule(words: Sequence[str], table: Table) -> Rule:
    tests: list[Test] = []
    text, at, varies = shlex.join(words), 0, False
    while at < len(words):
        negated = words[at] == "!"
        at += negated
        option = words[at]
        if option in ("-j", "--jump", "-g", "--goto"):
            return Rule(text, tuple(tests), *_verdict(option, words[at + 1], table), varies)
        end = at + 1
        while end < len(words) and not words[end].startswith("-") and words[end] != "!":
            end += 1
        values = words[at + 1 : end]
        varies |= option in ("-m", "--match") and not MATCHES.isdisjoint(values)
        test = None if option in SILENT else _test(option, values)
        if test is not None:
            tests.append(_not(test) if negated else test)
        at = end
    return Rule(text, tuple(tests), Act.NEXT)


def _verdict(option: str, target: str, table: Table) -> tuple[Act, str]:
    if target in ACTS:
        return ACTS[target], ""
    if target in table:
        return (Act.GOTO if option in ("-g", "--goto") else Act.JUMP), target
    return (Act.ODD if target in ODD else Act.NEXT), ""  # LOG, MARK, CT and the like


def _not(test: Test) -> Test:
    def negated(packet: Packet) -> bool | None:
        found = test(packet)
        return None if found is None else not found

    return negated


def _test(option: str, values: Sequence[str]) -> Test:
    """Return the test of an option; one that is not known here is in doubt."""
    value = values[0] if values else ""
    match option:
        case "-i" | "--in-interface":
            return lambda packet: not packet.answer and _is_named(packet.interface, value)
        case "-o" | "--out-interface":
            return lambda packet: packet.answer and _is_named(packet.interface, value)
        case "-p" | "--protocol":
            return lambda packet: value in (packet.protocol, *ANY_NAMES)
        case "-s" | "--source":
            sources = IPv4Network(value, strict=False)
            return lambda packet: packet.source in sources
        case "-d" | "--destination":
            targets = IPv4Network(value, strict=False)
            return lambda packet: packet.target in targets
        case "--dport" | "--dports" | "--destination-port" | "--destination-ports":
            return lambda packet: _is_in(packet.target_port, value)
        case "--sport" | "--sports" | "--source-port" | "--source-ports":
            return lambda packet: _is_in(packet.source_port, value)
        case "--ports":
            return lambda packet: (
                _is_in(packet.target_port, value) or _is_in(packet.source_port, value)
            )
        case "--ctstate" | "--state":
            return lambda packet: _state(packet) in value.split(",")
        case "--dst-type":
            return lambda packet: _kind(packet) in value.split(",")
        case "--pkt-type":
            return lambda packet: (
                value == ("broadcast" if packet.is_broadcast and not packet.answer else "unicast")
            )
        case "--tcp-flags" if len(values) > 1:
            return lambda packet: _has_flags(packet, *values[:2])
        case "--syn":
            return lambda packet: packet.protocol == "tcp" and packet.is_new
        case "--icmp-type" | "--icmpv6-type":
            return lambda packet: False
        case "--invert":  # of rpfilter: packets without a way back
            return lambda packet: False
        case _:
            return lambda packet: None


def _state(packet: Packet) -> str:
    if not packet.is_tracked:
        return "INVALID"
    return "NEW" if packet.is_new else "ESTABLISHED"


def _is_named(interface: str, pattern: str) -> bool:
    if pattern.endswith("+"):
        return interface.startswith(pattern[:-1])
    return interface == pattern


def _is_in(port: int, listed: str) -> bool | None:
    for part in listed.split(","):
        first, _, last = part.partition(":")
        if not (first or "0").isdecimal() or not (last or "0").isdecimal():
            return None
        highest = int(last or (65535 if ":" in part else first))
        if int(first or 0) <= port <= highest:
            return True
    return False


def _kind(packet: Packet) -> str:
    if packet.is_broadcast:
        return "BROADCAST"
    return "UNICAST" if packet.answer else "LOCAL"


def _has_flags(packet: Packet, mask: str, wanted: str) -> bool:
    own = {"SYN", "ACK"} if packet.answer else {"SYN"} if packet.is_new else {"ACK"}
    looked_at = set(mask.split(",")) if mask != "ALL" else own | set(wanted.split(","))
    expected = set() if wanted == "NONE" else set(wanted.split(","))
    return packet.protocol == "tcp" and own & looked_at == expected
