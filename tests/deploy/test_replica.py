"""The copy of a firewall: the kernel's own verdict on each packet, and ours beside it."""

import os
import signal
import subprocess
import sys
import time
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from netboot.deploy.firewall import nft, replica
from netboot.deploy.firewall.needs import Need, conclude, judge_need, manager_of, needs
from netboot.deploy.firewall.rules import Opinion
from tests import ROOT

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

HERE, PC = IPv4Address("10.9.0.1"), IPv4Address("10.9.0.50")
NEEDS = needs("eth0", HERE, PC, {"HTTP": 8080, "pages": 10809}, dhcp="proxy")
INPUT = "chain input {{ type filter hook input priority 0; policy {}; {} }}"
OUTPUT = "chain output {{ type filter hook output priority 0; policy {}; {} }}"
ESTABLISHED = "ct state established,related accept;"


def order(text: str) -> replica.Order:
    packets = [replica.as_order(need) for need in NEEDS]
    return replica.Order("eth0", str(HERE), 24, ["docker0"], [text], [], packets)


def table(*chains: str) -> str:
    return "table inet filter {\n" + "\n".join(chains).replace(";", "\n") + "\n}\n"


def as_json(text: str) -> str:
    """Return a ruleset as ``nft -j`` shows it, from a namespace with the cards that it names."""
    script = "ip link add eth0 type veth peer name docker0; nft -f -; nft -j list ruleset"
    done = subprocess.run(
        ["unshare", "--net", "sh", "-ec", script],
        input=text,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize(
    ("text", "closed"),
    [
        ("", []),
        (table(INPUT.format("accept", "iif eth0 udp dport 69 drop;")), ["UDP 69"]),
        (table(INPUT.format("accept", "iifname docker0 drop; iif docker0 udp dport 69 drop;")), []),
        (
            table(INPUT.format("drop", f"iif lo accept; {ESTABLISHED} tcp dport 22 accept;")),
            ["UDP 67", "UDP 69", "UDP 4011", "TCP 8080", "TCP 10809"],
        ),
        (
            table(
                INPUT.format("drop", "udp dport { 67, 69, 4011 } accept; tcp dport 1-20000 accept;")
            ),
            ["acknowledgements"],
        ),
        (
            table(INPUT.format("accept", "meta nfproto ipv6 reject; reject with tcp reset;")),
            ["TCP 8080", "TCP 10809"],
        ),
        (
            table(
                "chain raw { type filter hook prerouting priority -300; ct state invalid udp dport 69 drop; }"
            ),
            ["UDP 69"],
        ),
        (
            table(
                OUTPUT.format(
                    "accept", "meta pkttype broadcast drop; tcp sport 8080 pkttype host drop;"
                )
            ),
            ["TCP 8080"],
        ),
        (table(OUTPUT.format("drop", ESTABLISHED)), ["outgoing DHCP", "outgoing TFTP"]),
        (
            table(OUTPUT.format("accept", "tcp flags & (syn|ack) == syn|ack drop;")),
            ["TCP 8080", "TCP 10809"],
        ),
        (
            table(
                INPUT.format("accept", "udp dport vmap { 69 : drop, 67 : jump pcs };"),
                "chain pcs { drop; }",
            ),
            ["UDP 67", "UDP 69"],
        ),
        (
            table(
                "chain early { type filter hook prerouting priority -300; tcp dport 8080 reject; }"
            ),
            ["TCP 8080"],
        ),
    ],
)
def test_the_kernel_and_we_are_of_one_opinion(text: str, closed: list[str]) -> None:
    passed = replica.ask(order(text))
    assert isinstance(passed, list), passed
    shut = [need.name for need, passes in zip(NEEDS, passed, strict=True) if not passes]
    assert [any(name.startswith(each) for each in closed) for name in shut] == [True] * len(closed)
    tables = list(nft.parse(as_json(text)).values())
    assert [judge_need(tables, need).is_open for need in NEEDS] == passed


def test_rules_that_cannot_be_loaded_are_told() -> None:
    assert "syntax error" in str(replica.ask(order("table {")))


def test_the_remedy_opens_the_firewall() -> None:
    text = table(INPUT.format("accept", "iif eth0 udp dport { 67, 69 } drop; tcp dport 8080 drop;"))
    tables = list(nft.parse(as_json(text)).values())
    found = [(need, judge_need(tables, need)) for need in NEEDS]
    command = conclude(found, manager_of(tables)).detail.partition("): ")[2]
    script = f"ip link add eth0 type veth peer name pc0; nft -f -; {command}; nft list ruleset"
    opened = subprocess.run(
        ["unshare", "--net", "sh", "-ec", script],
        input=text,
        capture_output=True,
        text=True,
        check=True,
    )
    assert replica.ask(order(opened.stdout)) == [True] * len(NEEDS)


def test_nothing_is_left_if_it_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys; from tests.deploy.test_replica import order;"
        "from netboot.deploy.firewall import replica; print('go', flush=True);"
        "replica.ask(order(''))"
    )
    before = _namespaces()
    asking = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, env=os.environ
    )
    assert asking.stdout is not None and asking.stdout.readline() == b"go\n"
    while _namespaces() == before and asking.poll() is None:
        time.sleep(0.005)
    asking.send_signal(signal.SIGKILL)
    asking.wait()
    asking.stdout.close()
    end = time.monotonic() + 60
    while _namespaces() - before and time.monotonic() < end:
        time.sleep(0.02)
    assert not _namespaces() - before


def _namespaces() -> set[str]:
    """Return the network namespaces of copies that run."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if b"netboot.deploy.firewall.replica" in (process / "cmdline").read_bytes():
                found.add(os.readlink(process / "ns" / "net"))
        except OSError:
            continue
    return found - {os.readlink("/proc/self/ns/net")}


@pytest.mark.parametrize(
    ("manager", "words"),
    [
        (
            "firewalld",
            "firewall-cmd --permanent --zone=$(firewall-cmd --get-zone-of-interface=eth0",
        ),
        ("firewalld", "--get-default-zone) --add-port=69/udp --add-port=8080/tcp && firewall-cmd"),
        ("ufw", "ufw allow in on eth0 proto udp to any port 69 && ufw allow in on eth0 proto tcp"),
        ("firehol", 'server custom netboot "udp/69 tcp/8080" any accept'),
        ("iptables", "iptables -I INPUT -i eth0 -p udp -m multiport --dports 69 -j ACCEPT"),
        ("nft", "nft insert rule inet filter input iifname eth0 udp dport '{ 69 }' accept"),
    ],
)
def test_each_firewall_has_its_own_command(manager: str, words: str) -> None:
    wanted: list[Need] = [need for need in NEEDS if need.port in (69, 8080)]
    found = [(need, Opinion(False, "drop", "inet filter input")) for need in wanted]
    assert words in conclude(found, manager).detail  # type: ignore[arg-type]
