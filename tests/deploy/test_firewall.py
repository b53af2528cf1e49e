"""What a firewall does with the packets of a PC: rules of real firewalls, and of all forms.

The files in ``firewalls`` are what Debian 12's firewalld, ufw and firehol made in a namespace: as
installed, and with the ports of docs/howto/firewall.md open on eth0 (chains of forwarding left out).
"""

import json
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from netboot.deploy import surroundings
from netboot.deploy.firewall import iptables, nft
from netboot.deploy.firewall.check import corrected
from netboot.deploy.firewall.needs import (
    Conclusion,
    Need,
    conclude,
    judge_need,
    likely_pc,
    needs,
    remedy,
)
from netboot.deploy.firewall.rules import Act, Chain, Opinion, Packet, Rule, Table, judge
from netboot.errors import AnswerError
from netboot.host.interfaces import Interface
from netboot.profile import file as profile_file

FOLDER = Path(__file__).parent / "firewalls"
HERE, PC, ALL = IPv4Address("10.9.0.1"), IPv4Address("10.9.0.50"), IPv4Address("255.255.255.255")
DHCP = Packet("eth0", "udp", IPv4Address(0), ALL, 68, 67)
PXE = Packet("eth0", "udp", PC, HERE, 4011, 4011)
TFTP = Packet("eth0", "udp", PC, HERE, 2070, 69)
ACK = Packet("eth0", "udp", PC, HERE, 2070, 40000, is_new=False)
DATA = Packet("eth0", "udp", HERE, PC, 40000, 2070, answer=True)
HTTP = Packet("eth0", "tcp", PC, HERE, 40000, 8080)
NBD = Packet("eth0", "tcp", PC, HERE, 40000, 10809)
REQUESTS = (DHCP, PXE, TFTP, HTTP, NBD)


def read(name: str) -> list[Table]:
    text = (FOLDER / name).read_text()
    return iptables.parse(text) if name.endswith(".save") else list(nft.parse(text).values())


@pytest.mark.parametrize("name", ["firewalld.json", "ufw.save", "firehol.save"])
def test_a_real_firewall_as_installed_is_closed(name: str) -> None:
    tables = read(name)
    for packet in REQUESTS:
        opinion = judge(tables, packet)
        assert opinion.is_open is False, (packet, opinion)
        assert opinion.rule
    # What was asked for comes in, and what the server begins goes out.
    assert judge(tables, ACK).is_open and judge(tables, DATA).is_open


@pytest.mark.parametrize("name", ["firewalld-open.json", "ufw-open.save", "firehol-open.save"])
def test_a_real_firewall_with_the_ports_of_the_guide_is_open(name: str) -> None:
    tables = read(name)
    for packet in (*REQUESTS, ACK, DATA):
        assert judge(tables, packet) == Opinion(True), packet
    assert judge(tables, Packet("eth0", "tcp", PC, HERE, 40000, 23)).is_open is False


def test_ufw_is_open_on_the_named_card_only() -> None:
    tables = read("ufw-open.save")
    other = Packet("eth1", "udp", PC, HERE, 2070, 69)
    assert judge(tables, other).is_open is False


def ruleset(*rules: list[Any], policy: str = "accept", **more: Any) -> list[Table]:
    """Return a table with a base chain ``input`` of these expressions, and further chains or sets."""
    place = {"family": "inet", "table": "filter"}
    base = {"hook": "input", "type": "filter", "prio": 0, "policy": policy}
    objects: list[dict[str, Any]] = [{"table": {"family": "inet", "name": "filter"}}]
    objects.append({"chain": {**place, "name": "input", **base}})
    for name, content in more.items():
        if isinstance(content, dict):
            objects.append({content.pop("kind"): {**place, "name": name, **content}})
        else:
            objects.append({"chain": {**place, "name": name}})
            objects += [{"rule": {**place, "chain": name, "expr": each}} for each in content]
    objects += [{"rule": {**place, "chain": "input", "expr": expr}} for expr in rules]
    return list(nft.parse(json.dumps({"nftables": objects})).values())


def port(number: Any, protocol: str = "udp", op: str = "==") -> dict[str, Any]:
    left = {"payload": {"protocol": protocol, "field": "dport"}}
    return {"match": {"op": op, "left": left, "right": number}}


def meta(key: str, value: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": {"meta": {"key": key}}, "right": value}}


DROP, ACCEPT = {"drop": None}, {"accept": None}


@pytest.mark.parametrize(
    "number",
    [
        69,
        {"set": [67, 69]},
        {"set": [{"range": [60, 70]}]},
        {"range": [60, 70]},
        "@ports",
    ],
)
def test_every_way_to_write_a_port(number: Any) -> None:
    ports = {"kind": "set", "elem": [{"elem": {"val": 69, "counter": {}}}, 4011]}
    tables = ruleset([meta("iif", "eth0"), port(number), DROP], ports=ports)
    opinion = judge(tables, TFTP)
    assert opinion.is_open is False
    assert opinion.rule.startswith("chain inet filter input: iif eth0 udp dport ")
    assert opinion.rule.endswith(" drop")
    assert judge(tables, HTTP).is_open


@pytest.mark.parametrize(
    ("name", "matches"), [("eth0", True), ("eth*", True), ("eth1", False), ("lo", False)]
)
@pytest.mark.parametrize("key", ["iif", "iifname"])
def test_interfaces(key: str, name: str, matches: bool) -> None:
    assert judge(ruleset([meta(key, name), DROP]), TFTP).is_open is not matches


def test_a_verdict_map_and_a_set_of_networks() -> None:
    key = {"payload": {"protocol": "udp", "field": "dport"}}
    table = {
        "vmap": {"key": key, "data": {"set": [[69, {"jump": {"target": "tftp"}}], [67, DROP]]}}
    }
    source = {"payload": {"protocol": "ip", "field": "saddr"}}
    near = {"set": [{"prefix": {"addr": "10.9.0.0", "len": 24}}, "192.168.0.1"]}
    tables = ruleset(
        [table],
        policy="drop",
        tftp=[[{"match": {"op": "==", "left": source, "right": near}}, ACCEPT]],
    )
    assert judge(tables, TFTP).is_open and judge(tables, DHCP).is_open is False
    far = Packet("eth0", "udp", IPv4Address("10.8.0.1"), HERE, 2070, 69)
    assert judge(tables, far) == Opinion(
        False, "chain inet filter input: policy drop", "inet filter input"
    )


def test_a_reject_implies_its_protocol() -> None:
    for kind, packet, is_open in (
        ("icmpv6", TFTP, True),
        ("tcp reset", TFTP, True),
        ("tcp reset", HTTP, False),
        ("icmpx", TFTP, False),
    ):
        assert judge(ruleset([{"reject": {"type": kind}}]), packet).is_open is is_open
    assert judge(ruleset([{"reject": None}]), TFTP).is_open is False


def test_goto_does_not_come_back_and_return_does() -> None:
    tables = ruleset(
        [{"goto": {"target": "pcs"}}], [ACCEPT], policy="drop", pcs=[[port(67), ACCEPT]]
    )
    assert judge(tables, DHCP).is_open and judge(tables, TFTP).is_open is False
    tables = ruleset(
        [{"jump": {"target": "pcs"}}], [ACCEPT], policy="drop", pcs=[[{"return": None}]]
    )
    assert judge(tables, TFTP).is_open


def test_a_rule_that_is_not_understood_leaves_a_doubt_only_if_it_decides() -> None:
    odd = {"match": {"op": "==", "left": {"meta": {"key": "skuid"}}, "right": 0}}
    assert judge(ruleset([odd, DROP]), TFTP) == Opinion(
        None, "chain inet filter input: meta skuid 0 drop", varies=True
    )
    assert (
        judge(ruleset([{"limit": {"rate": 3}}, {"log": None}], [port(69), DROP]), TFTP).is_open
        is False
    )
    assert judge(ruleset([odd, ACCEPT]), TFTP).is_open
    assert judge(ruleset([odd, DROP], policy="drop"), TFTP).is_open is False
    assert judge(ruleset([port(69), {"queue": {"num": 1}}]), TFTP).is_open is None
    assert (
        judge(ruleset([port(69), {"xt": {"type": "match", "name": "u32"}}, DROP]), TFTP).is_open
        is None
    )
    assert judge(ruleset([port(69), {"jump": {"target": "gone"}}]), TFTP).is_open is None


ETHER = {"payload": {"protocol": "ether", "field": "saddr"}}
FLOOD = {"op": "update", "elem": "x", "set": "@pcs", "stmt": [{"limit": {"rate": 9}}]}


@pytest.mark.parametrize(
    "part",
    [
        {"limit": {"rate": 3, "per": "minute", "inv": True}},
        {"limit": "by-name"},
        {"quota": {"val": 1, "val_unit": "mbytes"}},
        {"ct count": {"val": 4, "inv": True}},
        {"set": FLOOD},
        meta("hour", {"range": ["22:00", "6:00"]}),
        meta("day", "Sunday"),
        {"match": {"op": "!=", "left": ETHER, "right": {"set": ["52:54:00:00:00:01"]}}},
        {"match": {"op": "==", "left": {"concat": [ETHER, port(69)["match"]["left"]]}, "right": 0}},
        {"match": {"op": ">", "left": {"ct": {"key": "bytes"}}, "right": 1000}},
    ],
)
def test_a_try_in_a_copy_does_not_settle_what_a_rule_does_with_a_room(part: Any) -> None:
    unknown = {"match": {"op": "==", "left": {"fib": {"result": "type", "flags": "iif"}}}}
    unknown["match"]["right"] = "local"
    need = Need("UDP 69 (TFTP)", TFTP, 69)
    opinion = judge(ruleset([port(69), part, DROP]), TFTP)
    assert opinion.is_open is None and opinion.varies
    for passes in (True, False):
        assert corrected([(need, opinion)], [passes]) == [(need, opinion)]
    # Neither another doubt on the way, nor a certain end, hides it or is changed by it.
    both = judge(ruleset([unknown, DROP], [port(69), part, DROP]), TFTP)
    assert both == opinion
    assert judge(ruleset([port(69), part, DROP], policy="drop"), TFTP).is_open is False
    assert not judge(ruleset([port(67), part, DROP]), TFTP).varies
    other = judge(ruleset([unknown, DROP]), TFTP)
    assert other.is_open is None and not other.varies
    assert corrected([(need, other)], [True]) == [(need, Opinion(True, other.rule))]


@pytest.mark.parametrize(
    "words",
    [
        "-m limit --limit 3/min",
        "-m hashlimit --hashlimit-above 3/min --hashlimit-name x",
        "-m recent --update --seconds 60 --name x",
        "-m connlimit --connlimit-above 4",
        "-m time --timestart 22:00:00 --timestop 06:00:00",
        "-m mac ! --mac-source 52:54:00:00:00:01",
        "-m statistic --mode random --probability 0.5",
        "-m quota --quota 1000",
    ],
)
def test_rules_of_iptables_that_vary(words: str) -> None:
    text = f"*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p udp {words} -j DROP\nCOMMIT\n"
    opinion = judge(iptables.parse(text), TFTP)
    assert opinion.is_open is None and opinion.varies and words.split()[1] in opinion.rule
    text = text.replace(words, "-m set --match-set bad src")
    assert judge(iptables.parse(text), TFTP).varies is False


@pytest.mark.parametrize(
    ("network", "here", "known", "pc"),
    [
        ("10.9.0.0/24", "10.9.0.2", [], "10.9.0.128"),  # not .1, mostly the router
        ("10.9.0.0/24", "10.9.0.2", ["10.8.0.9", "10.9.0.50", "10.9.0.60"], "10.9.0.50"),
        ("10.9.0.0/24", "10.9.0.128", ["10.9.0.128"], "10.9.0.1"),
        ("10.9.0.0/30", "10.9.0.2", [], "10.9.0.1"),
        ("10.9.0.0/31", "10.9.0.1", [], "10.9.0.0"),
        ("10.9.0.1/32", "10.9.0.1", [], "10.9.0.1"),
    ],
)
def test_the_pc_that_is_played_is_none_that_a_firewall_may_know(
    network: str, here: str, known: list[str], pc: str
) -> None:
    addresses = [IPv4Address(each) for each in known]
    assert str(likely_pc(IPv4Address(here), IPv4Network(network), addresses)) == pc


def test_a_profile_names_addresses_of_pcs() -> None:
    text = """
dhcp:
  mode: full
  range: 10.0.0.50-10.0.0.60
  networks: {10.9.0.0/24: {range: 10.9.0.70-10.9.0.80}}
clients:
  02:fc:00:00:00:01: {address: 10.0.0.9}
  02:fc:00:00:00:02: {hostname: pc2}
"""
    found = surroundings._pcs(profile_file.parse(text, "room.yaml"))
    assert [str(each) for each in found] == ["10.0.0.50", "10.9.0.70", "10.0.0.9"]


def test_the_remedy_is_for_the_chain_that_closes_a_port() -> None:
    offer = Need("outgoing DHCP answers", Packet("eth0", "udp", HERE, ALL, 67, 68, answer=True))
    tftp, http = Need("UDP 69 (TFTP)", TFTP, 69), Need("TCP 8080 (HTTP)", HTTP, 8080)
    out = Opinion(False, "drop", "inet filter output")
    udp, tcp = Opinion(False, "drop", "inet early pre"), Opinion(False, "drop", "ip mine in")
    assert remedy([(offer, out), (tftp, udp), (http, tcp)], "nft") == (
        "nft insert rule inet early pre iifname eth0 udp dport '{ 69 }' accept && "
        "nft insert rule ip mine in iifname eth0 tcp dport '{ 8080 }' accept"
    )
    assert "inet filter input iifname" in remedy([(tftp, Opinion(False, "a copy drops it"))], "nft")


def test_an_answer_that_is_dropped_is_not_a_port_to_open() -> None:
    text = "*filter\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p tcp --sport 8080 -j DROP\nCOMMIT\n"
    http = Need("TCP 8080 (HTTP)", HTTP, 8080)
    opinion = judge_need(iptables.parse(text), http)
    assert opinion.is_open is False and opinion.of_answer
    assert not judge_need([], http).of_answer
    assert remedy([(http, opinion)], "iptables").startswith(
        "let out UDP from port 67 and ports above 32767, and TCP from port 8080, and let in"
    )


def test_an_earlier_chain_that_drops_is_final_and_one_that_accepts_is_not() -> None:
    drop = Rule("drop", (), Act.DROP)
    accept = Rule("accept", (), Act.ACCEPT)
    early = {"raw": Chain("raw", [accept], "prerouting", -300)}
    late = {"last": Chain("last", [drop], "input", 10)}
    assert judge([late, early], TFTP) == Opinion(False, "chain last: drop", "last")
    assert judge([early], TFTP) == Opinion(True) == judge([], TFTP)


def test_chains_that_call_each_other_in_a_circle_are_in_doubt() -> None:
    a = Chain("a", [Rule("jump b", (), Act.JUMP, "b")], "input")
    b = Chain("b", [Rule("jump a", (), Act.JUMP, "a")])
    assert judge([{"a": a, "b": b}], TFTP).is_open is None


@pytest.mark.parametrize(
    ("rule", "matches"),
    [
        ("-i eth0 -p udp -m udp --dport 69 -j DROP", True),
        (
            "-i eth+ -p udp -m multiport --dports 67,69:70 -j REJECT --reject-with icmp-port-unreachable",
            True,
        ),
        ("! -i eth0 -j DROP", False),
        ("! -s 10.9.0.0/24 -j DROP", False),
        ("-s 10.0.0.0/8 -d 10.9.0.1/32 -m conntrack --ctstate NEW -j DROP", True),
        ("-m conntrack ! --ctstate ESTABLISHED,RELATED -j DROP", True),
        ("-p tcp -m tcp --dport 69 -j DROP", False),
        ("-p udp -m limit --limit 3/min -j DROP", None),
        ("-p udp -m set --match-set bad src -j DROP", None),
        ("-m comment --comment 'no -j ACCEPT here' -j DROP", True),
        ("-j LOG --log-prefix '-j DROP'", False),
        ("-p udp --dport 69 -j NFQUEUE --queue-num 0", None),
        ("-m rpfilter --invert -j DROP", False),
        ("-m addrtype --dst-type LOCAL -j DROP", True),
        ("-m addrtype --dst-type BROADCAST -j DROP", False),
        ("-p icmp -m icmp --icmp-type 8 -j DROP", False),
    ],
)
def test_rules_of_iptables(rule: str, matches: bool | None) -> None:
    tables = iptables.parse(f"*filter\n:INPUT ACCEPT [0:0]\n[3:42] -A INPUT {rule}\nCOMMIT\n")
    opinion = judge(tables, TFTP)
    assert opinion.is_open is (None if matches is None else not matches)


def test_flags_of_tcp() -> None:
    def closed(rule: str) -> bool | None:
        text = f"*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp {rule} -j DROP\nCOMMIT\n"
        return judge(iptables.parse(text), HTTP).is_open is False

    assert closed("-m tcp --tcp-flags FIN,SYN,RST,ACK SYN") and closed("--syn")
    assert not closed("-m tcp --tcp-flags FIN,ACK FIN,ACK") and not closed("! --syn")
    assert not closed("--tcp-flags ALL NONE")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"nftables": [{"rule": {}}]}', "null"])
def test_no_ruleset_is_an_answer_that_cannot_be_read(text: str) -> None:
    with pytest.raises(AnswerError):
        nft.parse(text)
    with pytest.raises(AnswerError):
        iptables.parse("-A INPUT -j DROP\n")


def test_a_closed_port_that_no_pc_needs_is_a_hint() -> None:
    """A closed port of the panel is told with its remedy, and fails no check."""
    tables = read("ufw-open.save")
    wanted = needs(
        "eth0", HERE, PC, {"HTTP": 8080}, dhcp="proxy", optional={"the room's page": 8081}
    )
    found = [(need, judge_need(tables, need)) for need in wanted]
    result = conclude(found, "ufw")
    assert result.is_open
    is_open, _, hint = result.detail.partition("; closed for ")
    assert "TCP 8080 (HTTP)" in is_open and "8081" not in is_open
    assert hint == (
        "TCP 8081 (the room's page), which no PC needs; to open it: "
        "ufw allow in on eth0 proto tcp to any port 8081"
    )

    closed = conclude([(need, Opinion(False, "x")) for need in wanted], "ufw")
    assert closed.is_open is False and "8081" not in closed.detail
    in_doubt = conclude([(need, Opinion(None, "x")) for need in wanted], "ufw")
    assert in_doubt.is_open is None and "8081" not in in_doubt.detail
    everything = conclude([(need, Opinion(True)) for need in wanted], "ufw")
    assert everything.detail.endswith("TCP 8080 (HTTP), TCP 8081 (the room's page)")


@pytest.mark.parametrize(
    ("panel", "optional"), [("lan", {surroundings.PANEL: 8081}), ("local", {}), ("off", {})]
)
def test_the_doctor_asks_for_the_panel_if_the_lan_may_see_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, panel: str, optional: dict[str, int]
) -> None:
    (path := tmp_path / "room.yaml").write_text(f"http: {{panel: '{panel}'}}\n")
    asked: list[Any] = []

    def check(*_: Any, **words: Any) -> Conclusion:
        asked.append(words["optional"])
        return Conclusion(True, "")

    monkeypatch.setattr(surroundings, "check", check)
    monkeypatch.setattr(surroundings, "_card", lambda _: "")
    loopback = Interface("lo", 1, IPv4Address("127.0.0.1"), IPv4Network("127.0.0.0/8"))
    surroundings.look(profile_file.load(path), loopback)
    assert asked == [optional]
