"""`netboot doctor` against a real server in a network of its own, healthy and not."""

import json
import subprocess
import sys
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from netboot.boot.snippets import facts
from netboot.boot.snippets import snippet as render
from netboot.deploy.surroundings import LanDhcp
from netboot.profile.profile import Profile
from tests import ROOT
from tests.deploy.rig import HERE, Lan, Serve

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

FULL = "dhcp: {mode: full, range: 192.168.78.50-192.168.78.60}\n"
DOCTOR = [sys.executable, "-m", "netboot", "doctor"]
Doctor = Callable[..., tuple[int, list[dict[str, Any]]]]


@pytest.fixture
def doctor(lan: Lan, serve: Serve, tmp_path: Path) -> Doctor:
    """Start a server for the text of a profile, run the doctor, return status and findings."""

    def ask(profile: str, *words: str) -> tuple[int, list[dict[str, Any]]]:
        serve(profile)
        command = [*DOCTOR, "--json", "--profile", str(tmp_path / "room.yaml"), *words]
        done = subprocess.run(
            lan.command(*command), cwd=ROOT, capture_output=True, text=True, check=False
        )
        return done.returncode, json.loads(done.stdout)

    return ask


@pytest.mark.parametrize("mode", ["", FULL])
def test_a_server_that_is_well(doctor: Doctor, images: Path, mode: str) -> None:
    # Swap larger than the capacity: the doctor's own swap is one page.
    profile = f"swap: {{size: 1GiB, capacity: 1GiB}}\n{mode}"
    status, findings = doctor(profile, "--images", str(images))
    assert [finding["check"] for finding in findings] == [
        *("dhcp", "tftp", "script", "images", "pages", "card", "clock", "firewall")
    ]
    assert status == 0 and all(finding["ok"] and finding["known"] for finding in findings)
    assert findings[0]["detail"] == f"OFFER from {HERE}"


def test_images_that_are_not_those_that_were_built(
    doctor: Doctor, images: Path, tmp_path: Path
) -> None:
    manifest = (images / "manifest.json").read_text().replace('"sha256": "', '"sha256": "0')
    (tmp_path / "manifest.json").write_text(manifest)
    status, findings = doctor("", "--images", str(tmp_path))
    (failed,) = (finding for finding in findings if not finding["ok"])
    detail = "amd64/vmlinuz is not the file that was built: its SHA-256 differs"
    assert status == 1 and (failed["check"], failed["detail"]) == ("images", detail)


def test_no_server_is_told_at_the_first_step(lan: Lan, tmp_path: Path) -> None:
    (tmp_path / "room.yaml").write_text("interface: br0\n")
    command = [*DOCTOR, "--profile", str(tmp_path / "room.yaml")]
    done = subprocess.run(
        lan.command(*command), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    first = done.stdout.splitlines()[0]
    assert first.split() == [
        *("br0", "dhcp", "FAILED", first.split()[3], "s", "no", "OFFER", "from", HERE),
        *("in", "4", "s;", "is", "'netboot", "serve'", "running?"),
    ]


CLOSED = """table inet filter {
  chain input {
    type filter hook input priority 0; policy accept;
    iif br0 udp dport { 69, 4011 } drop
    iif br0 tcp dport 8080 drop
  }
}
"""


def test_a_firewall_that_shuts_every_pc_out(doctor: Doctor, lan: Lan) -> None:
    """Boot 4: each step is well, because the doctor's own packets go over lo."""
    subprocess.run(lan.command("nft", "-f", "-"), input=CLOSED, text=True, check=True)
    try:
        status, findings = doctor("")
    finally:
        subprocess.run(lan.command("nft", "flush", "ruleset"), check=True)
    (failed,) = (finding for finding in findings if not finding["ok"])
    assert status == 1 and failed["check"] == "firewall"
    for word in ("UDP 69", "UDP 4011", "TCP 8080", "nft insert rule inet filter input"):
        assert word in failed["detail"]
    assert "UDP 67" not in failed["detail"] and "TCP 10809" not in failed["detail"]
    links = subprocess.run(
        lan.command("ip", "-brief", "link"), capture_output=True, text=True, check=True
    )
    assert [line.split()[0] for line in links.stdout.splitlines()] == ["lo", "br0"]


def test_without_root_it_says_what_it_could_not_look_at(serve: Serve, lan: Lan) -> None:
    serve("")
    user = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    profile = ("--profile", "profiles/lab.yaml", "--set", "interface=br0")
    done = subprocess.run(
        lan.command(*user, *DOCTOR, "--json", *profile),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    found = {finding["check"]: finding for finding in json.loads(done.stdout)}
    skipped = {
        name for name, row in found.items() if row["detail"].startswith("skipped: only root")
    }
    assert skipped == {"dhcp", "firewall"} and all(row["ok"] for row in found.values())
    assert {name for name, row in found.items() if not row["known"]} == skipped
    assert found["script"]["detail"].startswith("boot script") and done.returncode == 0


def dnsmasq(lan: Lan, folder: Path, *words: str) -> "subprocess.Popen[bytes]":
    """Start a DHCP server on the LAN with these settings."""
    command = ["dnsmasq", "--keep-in-foreground", "--port=0", "--user=root", "--interface=br0"]
    command += ["--bind-interfaces", "--no-ping", "--pid-file=", *words]
    command += ["--dhcp-range=192.168.78.50,192.168.78.60,1h"]
    return subprocess.Popen(lan.command(*command, f"--dhcp-leasefile={folder / 'leases'}"))


@pytest.mark.parametrize("kind", ["router", "own", "proxy"])
def test_init_finds_the_dhcp_server_of_the_lan(
    lan: Lan, tmp_path: Path, serve: Serve, kind: str
) -> None:
    here = HERE if kind == "own" else "192.168.78.1"  # the server is on this machine all the same
    probe = (
        "from dataclasses import replace; from ipaddress import IPv4Address\n"
        "from netboot.deploy.surroundings import find_dhcp\n"
        "from netboot.host.interfaces import find\n"
        f"print(find_dhcp(replace(find('br0')[0], address=IPv4Address('{here}'))))"
    )
    server = None if kind == "proxy" else dnsmasq(lan, tmp_path)
    if server is None:
        serve("")
    try:
        command = lan.command(sys.executable, "-c", probe)
        told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    finally:
        if server is not None:
            server.terminate()
            server.wait()
    own = f"cannot tell: this machine's own DHCP server answers, {HERE}"
    expected = {
        "router": LanDhcp(IPv4Address(HERE)),
        "own": LanDhcp(unknown=own),
        "proxy": LanDhcp(),  # it names boot files, and gives out no address
    }
    assert told.strip() == repr(expected[kind])


@pytest.mark.parametrize("kind", ["ours", "one file", "nothing", "no server"])
def test_the_lans_own_dhcp_server_is_asked_for_our_files(
    doctor: Doctor, lan: Lan, tmp_path: Path, kind: str
) -> None:
    snippet = tmp_path / "netboot.conf"
    known = facts(Profile(), IPv4Address(HERE))
    words = {
        "ours": f"--conf-file={snippet}",
        "one file": f"--dhcp-boot=snponly.efi,,{HERE}",
        "nothing": "--conf-file=/dev/null",
    }
    snippet.write_text(render("dnsmasq", known))
    server = dnsmasq(lan, tmp_path, words[kind]) if kind in words else None
    try:
        status, findings = doctor("dhcp: {mode: none}\n")
    finally:
        if server is not None:
            server.terminate()
            server.wait()
    dhcp, *others = findings
    named = "the LAN's DHCP server names "
    if kind == "nothing":
        refusal = (
            f"the LAN's DHCP server {HERE} names no boot file: expected 'undionly.kpxe' at {HERE}"
        )
        assert status == 1 and not dhcp["ok"] and dhcp["detail"].startswith(refusal)
        return
    assert status == 0 and dhcp["known"] == (kind != "no server")
    told = {"ours": f"{named}undionly.kpxe and boot.ipxe", "one file": f"{named}snponly.efi"}
    assert dhcp["detail"] == told.get(
        kind, "cannot tell: the LAN's DHCP server offers the doctor no address"
    )
    assert {each["check"] for each in others} >= {"tftp", "script", "images", "pages", "firewall"}
