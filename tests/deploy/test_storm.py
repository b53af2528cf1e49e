"""`netboot storm` against a real server on a LAN of its own: figures, and what is given back."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from netboot.boot.client import STORM_MACS, is_played
from netboot.pages.stores.folder import KEPT_PREFIX, SUFFIX
from netboot.pages.stores.memory import TMPFS
from netboot.serve.room_pages import pages_name
from tests import ROOT
from tests.deploy.rig import HERE, Lan, Serve

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

FULL = "dhcp: {mode: full, range: 192.168.78.50-192.168.78.60}\n"
NETBOOT = [sys.executable, "-m", "netboot"]


def _storm(lan: Lan, *words: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        lan.command(*NETBOOT, "storm", "--json", "--interface", "br0", *words),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def _wait_for(events: list[dict[str, Any]], text: str, count: int) -> None:
    end = time.monotonic() + 60
    while sum(text in event["message"] for event in events) < count:
        assert time.monotonic() < end, [event["message"] for event in events]
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("profile", "arch", "stages"),
    [
        (FULL, "bios", ["dhcp", "loader", "ipxe dhcp", "script", "images", "swap", "all"]),
        (
            "",
            "uefi-x64",
            ["dhcp", "4011", "loader", "ipxe dhcp", "ipxe 4011", "script", "images", "swap", "all"],
        ),
        ("swap: {size: 0}\n", "uefi-x64-http", None),
    ],
    ids=["full", "proxy", "no-swap"],
)
def test_every_pc_comes_through(
    lan: Lan, serve: Serve, profile: str, arch: str, stages: list[str] | None
) -> None:
    serve(profile)
    status, report = _storm(lan, "--clients", "5", "--over", "0", "--arch", arch)
    assert (status, report["failed"], report["failures"]) == (0, 0, {})
    rows = {row["stage"]: row for row in report["stages"]}
    assert stages is None or list(rows) == stages
    assert ("swap" in rows) is (stages is not None)
    assert all((row["done"], row["failed"]) == (5, 0) for row in rows.values())
    assert rows["images"]["bytes"] == 5 * 1000 * (len("amd64/vmlinuz") + len("amd64/initramfs.img"))
    assert report["server_cpu_seconds"] >= 0


@pytest.mark.parametrize("arch", ["bios", "uefi-x64-http"])
def test_pcs_whose_dhcp_server_is_another_one_come_through(
    lan: Lan, serve: Serve, arch: str
) -> None:
    serve("dhcp: {mode: none}\n")
    words = ("--clients", "5", "--over", "0", "--arch", arch)
    status, report = _storm(lan, *words, "--no-dhcp")
    assert (status, report["failures"]) == (0, {})
    assert [row["stage"] for row in report["stages"]] == [
        "loader",
        "script",
        "images",
        "swap",
        "all",
    ]
    command = lan.command(*NETBOOT, "storm", "--interface", "br0", *words)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "with dhcp.mode none: add --no-dhcp" in done.stderr


def test_it_gives_back_what_it_was_given_and_is_in_no_list(
    lan: Lan, serve: Serve, tmp_path: Path
) -> None:
    events = serve(f"{FULL}swap: {{size: 1GiB, capacity: 1GiB}}\n")
    assert _storm(lan, "--clients", "4")[0] == 0
    _wait_for(events, "area 1: given back", 4)
    _wait_for(events, "released", 4)
    assert all(is_played(event["seat"]) for event in events)
    pages = TMPFS / f"{KEPT_PREFIX}{pages_name(tmp_path)}"
    kept = [tmp_path / "leases.json", tmp_path / "swap.json", pages / "state-leases.json"]
    end = time.monotonic() + 60
    while remaining := [path for path in kept if STORM_MACS in path.read_text()]:
        assert time.monotonic() < end, remaining
        time.sleep(0.05)
    assert list(pages.glob(f"*{SUFFIX}")) == []
    words = lan.command(*NETBOOT, "status", "--json")
    status = json.loads(subprocess.check_output(words, cwd=ROOT))
    assert (status["seats"], status["left_out"]) == ([], 0)
    # By the feed, as a panel: it has the server's figures, too.
    told = subprocess.check_output(
        lan.command(*NETBOOT, "status", "--state", str(tmp_path)), cwd=ROOT, text=True
    )
    assert "no seat has asked for anything yet" in told and "  0/" in told, told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_stops_it_gets_all_given_back_as_well(
    lan: Lan, serve: Serve, number: signal.Signals
) -> None:
    events = serve(FULL)
    words = lan.command(*NETBOOT, "storm", "--interface", "br0", "--clients", "2", "--over", "50")
    with subprocess.Popen(words, cwd=ROOT, stderr=subprocess.DEVNULL) as storm:
        _wait_for(events, "first page written", 1)
        storm.send_signal(number)
    assert storm.returncode == 130
    _wait_for(events, "area 1: given back", 1)
    _wait_for(events, "released", 1)


def test_what_fails_is_told_by_stage_and_reason(
    lan: Lan, serve: Serve, images: Path, tmp_path: Path
) -> None:
    shutil.copytree(images, folder := tmp_path / "images")
    serve("", folder)
    (folder / "amd64" / "vmlinuz").unlink()
    status, report = _storm(lan, "--clients", "3")
    assert (status, report["failed"]) == (1, 3)
    assert report["failures"] == {"images: HTTP 404 Not Found": 3}


def test_a_pool_that_is_too_small_costs_the_rest_their_boot(lan: Lan, serve: Serve) -> None:
    serve("dhcp: {mode: full, range: 192.168.78.50-192.168.78.52}\n")
    status, report = _storm(lan, "--clients", "5", "--limit", "5")
    assert (status, report["failed"]) == (1, 2)
    assert report["failures"] == {"dhcp: not done after the storm's 5 s": 2}


def test_pcs_wait_for_their_turn(lan: Lan, serve: Serve) -> None:
    # 32 kB each at 125 kB/s: admission lets 12 begin at once, the next a second later.
    events = serve(f"{FULL.replace('60', '90')}http: {{rate: 1Mbit}}\n")
    status, report = _storm(lan, "--clients", "30", "--over", "0")
    rows = {row["stage"]: row for row in report["stages"]}
    assert (status, report["failed"]) == (0, 0)
    assert 0 < rows["wait"]["done"] < 30 and rows["wait"]["failed"] == 0
    assert rows["wait"]["p50"] >= 1
    _wait_for(events, "PCs in front: ", rows["wait"]["done"])


def test_from_another_machine(lan: Lan, serve: Serve) -> None:
    serve(FULL)
    pc = lan.add(1)
    words = [*NETBOOT, "storm", "--json", "--interface", "eth0", "--server", HERE, "--clients", "3"]
    # Only its network: this checkout may be in /tmp, and a PC has a /tmp of its own.
    command = ["nsenter", "-t", str(pc.pid), "--net", *words]
    report = json.loads(subprocess.check_output(command, cwd=ROOT))
    assert report["failed"] == 0 and report["server_cpu_seconds"] >= 0


def test_each_pc_asks_from_an_address_of_its_own(lan: Lan, serve: Serve) -> None:
    events = serve(FULL)
    assert _storm(lan, "--clients", "3")[0] == 0
    _wait_for(events, "first page written", 3)
    addresses = {event["data"]["address"] for event in events if event["stage"] == "pages:attach"}
    assert addresses == {"127.83.0.1", "127.83.0.2", "127.83.0.3"}


def test_from_a_range_of_another_machine(lan: Lan, serve: Serve) -> None:
    events = serve(FULL.replace("}", ", networks: {10.78.0.0/24: {range: 10.78.0.9-10.78.0.99}}}"))
    pc = lan.add(2)
    pc.run("ip route add local 10.78.0.0/24 dev lo")
    subprocess.run(
        lan.command("ip", "route", "add", "10.78.0.0/24", "via", str(pc.address)), check=True
    )
    words = [*NETBOOT, "storm", "--json", "--interface", "eth0", "--server", HERE, "--clients", "3"]
    words += ["--addresses", "10.78.0.1-10.78.0.254"]
    command = ["nsenter", "-t", str(pc.pid), "--net", *words]
    assert json.loads(subprocess.check_output(command, cwd=ROOT))["failed"] == 0
    _wait_for(events, "first page written", 3)
    addresses = {event["data"]["address"] for event in events if event["stage"] == "pages:attach"}
    assert addresses == {"10.78.0.1", "10.78.0.2", "10.78.0.3"}
    done = subprocess.run(
        [*command[:-1], "10.79.0.1-10.79.0.9"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and "3 of 3 addresses are not on this machine" in done.stderr


def test_nobody_there_is_one_line(lan: Lan) -> None:
    words = lan.command(*NETBOOT, "storm", "--interface", "br0", "--clients", "3")
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert f"no netboot server answers at {HERE} on br0: no OFFER from {HERE} in 4 s" in done.stderr
