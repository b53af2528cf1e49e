"""Real boots: QEMU's firmware, Debian's kernel, our servers, dnsmasq as the LAN's router."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from netboot.images import initramfs
from tests import ROOT
from tests.support.images import renew_manifest
from tests.vm.conftest import LAB_SECONDS, Outcome

Lab = Callable[..., Outcome]


def assert_in_order(stages: list[str], *expected: str) -> None:
    rest = iter(stages)
    for stage in expected:
        assert stage in rest, f"{stage} is missing, or comes too early, in {stages}"


@pytest.mark.parametrize(
    ("firmware", "dhcp"),
    [("bios", "full"), ("uefi", "full"), ("uefi", "proxy"), ("uefi-http", "proxy")],
)
def test_a_pc_reaches_userland_with_swap(lab: Lab, firmware: str, dhcp: str) -> None:
    outcome = lab("--firmware", firmware, "--dhcp", dhcp)
    assert outcome.status == 0, outcome.report
    assert_in_order(
        outcome.stages(), "dhcp", "tftp", "http", "init:start", "init:network", "swap", "userland"
    )


def test_four_pcs_at_once_beside_an_untouched_dhcp_server(lab: Lab) -> None:
    outcome = lab("--clients", "4", "--memory", "256", "--dhcp", "proxy", "--until", "userland")
    assert outcome.status == 0, outcome.report
    assert len(outcome.seats) == 4
    for number in range(4):
        assert_in_order(outcome.stages(number), "dhcp", "tftp", "http", "lease", "swap", "userland")
        seconds = [entry["seconds"] for entry in outcome.seats[number]["stages"]]
        assert seconds[0] > 0


def test_a_load_of_twice_the_ram_comes_back_right(lab: Lab) -> None:
    outcome = lab("--memory", "160", "--load", "2")
    assert outcome.status == 0, outcome.report
    verified = next(e for e in outcome.seats[0]["stages"] if e["stage"] == "load:verified")["data"]
    assert verified["wrong"] == 0
    assert verified["ram_pages"] > 159 * 256, "all of the 160 MB that the PC has"
    assert verified["pages"] >= 2 * verified["ram_pages"] - 1
    assert verified["pswpout"] > verified["ram_pages"]
    assert verified["longest_stall"] >= 0
    examined = next(e for e in outcome.seats[0]["stages"] if e["stage"] == "agent:examined")["data"]
    assert (examined["oom_score_adj"], examined["swapped_kib"], examined["mark"]) == (-1000, 0, "@")
    assert examined["locked_kib"] >= examined["resident_kib"] > 0
    assert (examined["state"], examined["losses"]) == ("attached", 0)
    assert examined["server"] == "10.77.0.1:10809"


@pytest.mark.parametrize(
    "ipxe", [True, pytest.param(False, marks=pytest.mark.nightly)], ids=["ipxe", "no-loader"]
)
def test_arm64_boots_by_pxe_and_by_http(lab: Lab, images: Path, tmp_path: Path, ipxe: bool) -> None:
    kinds = ("--firmware", "uefi-arm64", "--firmware", "uefi-arm64-http")
    words = [*kinds, "--memory", "512", "--dhcp", "proxy"]
    if not ipxe:  # as in a build of an older netboot
        shutil.copytree(images, tmp_path / "images")
        (tmp_path / "images/ipxe-arm64.efi").unlink()
        renew_manifest(tmp_path / "images")
        words += ["--images", str(tmp_path / "images")]
    outcome = lab(*words)
    assert outcome.status == 0, outcome.report
    for number, way in enumerate(("tftp", "http")):
        assert ("http" in outcome.stages(number)) == (ipxe or way == "http")
        assert_in_order(outcome.stages(number), "dhcp", way, "init:start", "swap", "userland")
        started = next(e for e in outcome.seats[number]["stages"] if e["stage"] == "init:start")
        assert started["message"].endswith("-arm64")


def test_a_pc_without_long_mode_boots_a_32_bit_kernel_and_its_load_comes_back_right(
    lab: Lab,
) -> None:
    outcome = lab("--firmware", "bios-i386", "--memory", "128", "--load", "0.95")
    assert outcome.status == 0, outcome.report
    started = next(e for e in outcome.seats[0]["stages"] if e["stage"] == "init:start")
    assert started["message"].endswith("-686-pae")
    verified = next(e for e in outcome.seats[0]["stages"] if e["stage"] == "load:verified")["data"]
    assert verified["wrong"] == 0
    assert verified["pswpout"] > 0 and verified["pswpin"] > 0


def test_two_servers_hold_a_part_each(lab: Lab) -> None:
    layout = ("--servers", "2", "--set", "swap.layout=stripe", "--set", "swap.encrypt=yes")
    outcome = lab("--memory", "128", "--load", "0.9", *layout)
    assert outcome.status == 0, outcome.report
    assert outcome.stages().count("lease") == 2
    written = next(e for e in outcome.seats[0]["stages"] if e["stage"] == "load:written")["data"]
    first, second = (written[f"used_dm-{number}"] for number in (0, 1))
    assert abs(first - second) < first / 4


def test_without_swap_the_same_load_kills(lab: Lab) -> None:
    outcome = lab("--memory", "160", "--load", "2", "--set", "swap.size=0")
    assert outcome.status == 1
    assert "failed:load" in outcome.stages()
    assert "swap" not in outcome.stages()


def test_a_wrong_token_is_refused_and_a_fresh_lease_replaces_it(lab: Lab, tmp_path: Path) -> None:
    """An agent that ended after its first attachment leaves a dead token to the next one."""
    profile = tmp_path / "wrong.yaml"
    profile.write_text(f"boot: {{arguments: netboot.token={'0' * 32}}}\n")
    outcome = lab(profile=profile)
    assert outcome.status == 0
    assert_in_order(outcome.stages(), "pages:refused", "swap", "userland")
    assert "wrong token" in outcome.console()
    assert "asking for a fresh lease" in outcome.console()


def test_a_damaged_slice_is_told_and_not_used(lab: Lab, images: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "images"
    shutil.copytree(images, damaged)
    path = damaged / "amd64/initramfs-lz4.img"
    done = subprocess.run(["zstd", "-dc", path], check=True, capture_output=True)
    archive = bytearray(done.stdout)
    archive[archive.index(b"\x7fELF") + 1000] ^= 1
    path.write_bytes(initramfs.compressed(bytes(archive)))
    renew_manifest(damaged)
    outcome = lab("--images", str(damaged), "--set", "swap.zswap.compressor=lz4")
    assert outcome.status == 1
    assert_in_order(outcome.stages(), "init:start", "init:network", "failed:images")
    told = next(e for e in outcome.seats[0]["stages"] if e["stage"] == "failed:images")
    assert re.search(r"initramfs: \S+/lz4\S*\.ko; boot again", told["message"]), told
    assert told["message"] in outcome.console()
    lines = told["data"]["console"]
    assert lines and not [line for line in lines if "netboot.ticket" in line]


def test_a_page_server_that_comes_late_is_waited_for(images: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(Path(__file__).parent / "late_pages.py")]
    command += [str(ROOT / "profiles/lab.yaml"), str(images), str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=LAB_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout
    stages = json.loads(done.stdout)
    assert_in_order(stages, "init:swap", "swap", "userland")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_an_interrupted_lab(
    images: Path, tmp_path: Path, number: signal.Signals
) -> None:
    marker = str(tmp_path / "lab")
    command = [sys.executable, "-m", "netboot", "lab", "--logs", marker, "--images", str(images)]
    lab = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert lab.stdout is not None
    assert "dhcp" in lab.stdout.readline()
    assert _processes_with(marker)
    begin = time.monotonic()
    lab.send_signal(number)
    lab.wait(60)
    lab.stdout.close()
    while _processes_with(marker) and time.monotonic() < begin + 60:
        time.sleep(0.05)
    assert not _processes_with(marker)
    links = subprocess.run(["ip", "-br", "link"], check=True, capture_output=True, text=True)
    assert "lab0" not in links.stdout


def _processes_with(text: str) -> list[str]:
    """Return the command lines with ``text``, except our own."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if text in command:
                found.append(command)
    return found
