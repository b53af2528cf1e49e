"""``netboot init``: five answers, options or lines, and the profile that they make."""

import io
import json
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from netboot.cli.main import app
from netboot.deploy import doctor, layout, surroundings
from netboot.deploy.doctor import Finding
from netboot.deploy.surroundings import LanDhcp
from netboot.errors import OperatorError
from netboot.host import interfaces
from netboot.host.interfaces import Interface
from netboot.profile import file as profile_file
from netboot.profile.profile import Profile
from netboot.profile.starting import address_range

CARD = Interface("eth7", 7, IPv4Address("10.9.0.5"), IPv4Network("10.9.0.0/24"))
ROUTER = IPv4Address("10.9.0.1")
ANSWERS = [
    "--router",
    "yes",
    "--interface",
    "eth7",
    "--pcs",
    "20",
    "--show",
    "kiosk",
    "--swap",
    "memory",
]


class Terminal(io.StringIO):
    """Lines that a person types."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with one card and nothing else that a test could touch."""

    def look_around(profile: Profile) -> list[Finding]:
        assert profile.interface == ("eth7",)
        return [Finding("eth7", "clock", True, "fine", 0.0)]

    monkeypatch.setattr(interfaces, "find", lambda *names: [CARD])
    monkeypatch.setattr(doctor, "look_around", look_around)
    monkeypatch.setattr(surroundings, "find_dhcp", lambda card: LanDhcp(ROUTER))


def init(output: Path, *words: str) -> Profile:
    with pytest.raises(SystemExit) as end:
        app(["init", "--output", str(output), *words])
    assert not end.value.code
    return profile_file.load(output)


@pytest.mark.parametrize("router", ["yes", "no"])
@pytest.mark.parametrize("show", ["ram", "kiosk", "desktop", "thin"])
@pytest.mark.parametrize("swap", ["memory", "disk"])
def test_all_answers_make_a_profile_without_mistakes(
    router: str, show: str, swap: str, tmp_path: Path
) -> None:
    words = ["--router", router, "--interface", "eth7", "--pcs", "20", "--show", show]
    found = init(tmp_path / "etc/profile.yaml", *words, "--swap", swap)
    assert found.dhcp.mode == ("proxy" if router == "yes" else "full")
    assert found.interface == ("eth7",)
    assert found.root.kind == ("ram" if show == "ram" else "image")
    assert found.swap.store == ("memory" if swap == "memory" else "disk:/var/lib/netboot")
    assert found.swap.capacity and found.swap.size.bytes
    assert 20 * found.swap.size.bytes <= max(found.swap.capacity, 20 * (64 << 20))
    assert not found.doubts


def test_the_answers_are_asked_for_and_json_stays_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "room.yaml"
    monkeypatch.setattr("sys.stdin", Terminal("\nmaybe\nno\n0\n12\ndesktop\n\n"))
    found = init(path, "--json")
    assert found.dhcp.mode == "full" and found.root.image == "desktop"
    told = capsys.readouterr()
    row: dict[str, Any] = json.loads(told.out)
    assert row["profile"] == str(path) and [each["check"] for each in row["checks"]] == [
        "dhcp",
        "clock",
    ]
    assert told.err.count("router") == 2 and "expected one of " in told.err
    assert told.err.count("How many PCs") == 2 and "expected a whole number from 1 to" in told.err


def test_the_next_command_is_that_of_the_installation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "PROFILE", tmp_path / "profile.yaml")
    monkeypatch.setattr(layout, "PACKAGED", tmp_path)

    def last(name: str) -> str:
        init(tmp_path / name, *ANSWERS)
        return capsys.readouterr().out.splitlines()[-1]

    assert last("profile.yaml") == (
        "next: sudo systemctl enable --now netboot; "
        "if it runs already: sudo systemctl reload netboot"
    )
    assert last("room.yaml") == f"next: sudo netboot serve --profile {tmp_path}/room.yaml"


@pytest.mark.parametrize(
    ("lan", "router", "ok", "told"),
    [
        (LanDhcp(ROUTER), "yes", True, "the DHCP server 10.9.0.1 gives out addresses"),
        (LanDhcp(ROUTER), "no", False, "two would contradict each other"),
        (LanDhcp(), "yes", False, "PCs get no address until one does"),
        (LanDhcp(), "no", True, "no other DHCP server answered in 8 s"),
        (LanDhcp(unknown="skipped: why"), "no", True, "skipped: why"),
    ],
)
def test_the_lan_is_asked_whether_the_answer_is_right(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    lan: LanDhcp,
    router: str,
    ok: bool,
    told: str,
) -> None:
    monkeypatch.setattr(surroundings, "find_dhcp", lambda card: lan)
    init(tmp_path / "room.yaml", *ANSWERS, "--router", router, "--json")
    check = json.loads(capsys.readouterr().out)["checks"][0]
    assert (check["check"], check["ok"], check["known"]) == ("dhcp", ok, not lan.unknown)
    assert told in check["detail"]


@pytest.mark.parametrize(("lan", "mode"), [(LanDhcp(ROUTER), "proxy"), (LanDhcp(), "full")])
def test_an_empty_line_takes_what_the_lan_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lan: LanDhcp, mode: str
) -> None:
    monkeypatch.setattr(surroundings, "find_dhcp", lambda card: lan)
    monkeypatch.setattr("sys.stdin", Terminal("\n\n12\n\n\n"))
    assert init(tmp_path / "room.yaml").dhcp.mode == mode


def test_without_a_terminal_each_answer_is_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    with pytest.raises(OperatorError, match="missing --pcs"):
        app(["init", "-o", str(tmp_path / "x"), "--router", "yes", "--interface", "eth7"])
    monkeypatch.setattr("sys.stdin", Terminal(""))
    with pytest.raises(OperatorError, match="missing --interface: the input has ended"):
        app(["init", "-o", str(tmp_path / "x")])
    assert not (tmp_path / "x").exists()


def test_a_profile_that_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "room.yaml"
    path.write_text("swap: {size: 3GiB}\n")
    with pytest.raises(OperatorError, match="is there already"):
        app(["init", "-o", str(path), *ANSWERS])
    assert path.read_text() == "swap: {size: 3GiB}\n"
    assert init(path, *ANSWERS, "--replace").interface == ("eth7",)


@pytest.mark.parametrize(
    ("server", "network", "pcs", "expected"),
    [
        ("10.0.0.1", "10.0.0.0/24", 20, "10.0.0.230-10.0.0.254"),
        ("10.0.0.254", "10.0.0.0/24", 20, "10.0.0.229-10.0.0.253"),
        ("10.0.0.1", "10.0.0.0/29", 4, "10.0.0.2-10.0.0.6"),
    ],
)
def test_the_addresses_are_beside_the_server(
    server: str, network: str, pcs: int, expected: str
) -> None:
    first, last = address_range(IPv4Address(server), IPv4Network(network), pcs)
    assert f"{first}-{last}" == expected


def test_a_network_that_is_too_small_is_told() -> None:
    with pytest.raises(OperatorError, match="has no room for 25 addresses"):
        address_range(IPv4Address("10.0.0.3"), IPv4Network("10.0.0.0/28"), 20)
