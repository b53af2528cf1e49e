"""Which programs show the rules of this machine, and what is told if they do not."""

import json
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from netboot.deploy.firewall import reading
from netboot.deploy.firewall.needs import manager_of
from netboot.deploy.firewall.rules import Packet, judge
from netboot.host import programs

FOLDER = Path(__file__).parent / "firewalls"
PC, HERE = IPv4Address("10.9.0.50"), IPv4Address("10.9.0.1")
TFTP = Packet("eth0", "udp", PC, HERE, 2070, 69)


class Programs:
    """A PATH with these programs only, each of which prints a text."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        monkeypatch.setenv("PATH", str(folder))
        monkeypatch.setattr(programs, "SYSTEM_FOLDERS", "")
        monkeypatch.setattr(reading, "LEGACY_TABLES", folder / "tables")

    def add(self, name: str, output: str, status: int = 0) -> None:
        (self.folder / f"{name}.out").write_text(output)
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n/bin/cat {self.folder}/{name}.out\nexit {status}\n")
        path.chmod(0o755)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    return Programs(tmp_path, monkeypatch)


EMPTY = '{"nftables": [{"metainfo": {}}]}'
PLACE = {"family": "ip", "table": "filter"}
MADE_BY_IPTABLES = json.dumps(
    {
        "nftables": [
            {"chain": {**PLACE, "name": "INPUT", "hook": "input", "prio": 0, "policy": "drop"}},
            {"rule": {**PLACE, "chain": "INPUT", "expr": [{"xt": {"name": "conntrack"}}]}},
        ]
    }
)


def test_no_rules_are_open(installed: Programs) -> None:
    installed.add("nft", EMPTY)
    found = reading.read()
    assert (found.tables, found.unread) == ([], []) and judge(found.tables, TFTP).is_open


def test_a_machine_without_nft_says_so(installed: Programs) -> None:
    assert reading.read().unread == ["nft is not installed (apt install nftables)"]


def test_nft_that_may_not_look_says_so(installed: Programs) -> None:
    installed.add("nft", "", status=1)
    (told,) = reading.read().unread
    assert told.startswith("nft: ")
    installed.add("nft", "no JSON")
    (told,) = reading.read().unread
    assert "cannot be read" in told


def test_tables_of_nft_itself(installed: Programs) -> None:
    installed.add("nft", (FOLDER / "firewalld.json").read_text())
    found = reading.read()
    assert judge(found.tables, TFTP).is_open is False and manager_of(found.tables) == "firewalld"
    assert len(found.texts) == 1 and not found.saved and not found.unread


def test_tables_that_iptables_made_are_read_by_its_own_program(installed: Programs) -> None:
    installed.add("nft", MADE_BY_IPTABLES)
    (told,) = reading.read().unread
    assert told == "iptables-nft-save does not show the rules that iptables made"
    installed.add("iptables-nft-save", (FOLDER / "ufw.save").read_text())
    found = reading.read()
    assert not found.unread and manager_of(found.tables) == "ufw"
    assert judge(found.tables, TFTP).is_open is False
    assert [program for program, _ in found.saved] == ["iptables-nft-restore"] and not found.texts


def test_tables_of_the_older_iptables_are_read_if_there_are_any(installed: Programs) -> None:
    installed.add("nft", EMPTY)
    (installed.folder / "tables").write_text("filter\n")
    (told,) = reading.read().unread
    assert told.startswith("iptables-legacy-save does not show")
    installed.add("iptables-legacy-save", (FOLDER / "firehol.save").read_text())
    found = reading.read()
    assert not found.unread and manager_of(found.tables) == "firehol"
    assert [program for program, _ in found.saved] == ["iptables-legacy-restore"]
    (installed.folder / "tables").write_text("")
    assert reading.read().tables == []


@pytest.mark.parametrize("family", ["bridge", "arp"])
@pytest.mark.parametrize(
    ("policy", "expr", "told"),
    [
        ("accept", [{"counter": None}, {"drop": None}], True),
        ("accept", [{"xt": {"type": "target", "name": "DROP"}}], True),
        ("drop", [{"accept": None}], True),
        ("accept", [{"counter": None}, {"log": None}, {"accept": None}], False),
    ],
)
def test_a_table_that_drops_frames_is_told(
    installed: Programs, family: str, policy: str, expr: list[object], told: bool
) -> None:
    place = {"family": family, "table": "frames"}
    chain = {**place, "name": "in", "hook": "input", "prio": 0, "policy": policy}
    objects = [{"chain": chain}, {"rule": {**place, "chain": "in", "expr": expr}}]
    installed.add("nft", json.dumps({"nftables": objects}))
    line = f"table {family} frames drops frames, and is not looked at"
    assert reading.read().unread == ([line] if told else [])
