"""Secure Boot with a key of the operator's own, beside a DHCP server that knows nothing of it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import ROOT

SECONDS = 800
HOST = "52:54:00:77:00:01"  # of the first PC
UUID = "/proc/sys/kernel/random/uuid"  # each reader reads another one
REFUSED = "Security Violation"


def boots(images: Path, folder: Path, *pcs: str, profile: str = "") -> list[dict[str, Any]]:
    """Return what became of each PC."""
    file = folder / "room.yaml"
    file.write_text(f"boot: {{loader: own}}\n{profile}")
    words = [sys.executable, "-m", "tests.vm.own_key", str(images), str(file), str(SECONDS), *pcs]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    report = json.loads(done.stdout)
    assert not report["failure"], report["failure"]
    seats: list[dict[str, Any]] = report["seats"]
    return seats


def stages(seat: dict[str, Any]) -> dict[str, str]:
    return {event["stage"]: event["message"] for event in seat["stages"]}


def test_a_pc_with_256_mb_boots_what_its_firmware_can_check(images: Path, tmp_path: Path) -> None:
    """Shim knows the key, and comes by HTTP. Swap and userland are there."""
    (seat,) = boots(images, tmp_path, "mok-http")
    assert {"secure", "init:words", "swap", "userland"} <= set(stages(seat)), seat["told"]


@pytest.mark.nightly
def test_tftp_and_the_firmwares_own_list_do_it_too_and_a_stranger_boots_nothing(
    images: Path, tmp_path: Path
) -> None:
    tftp, db, stranger = boots(images, tmp_path, "mok-tftp", "db-http", "none-http")
    for seat in (tftp, db):
        assert {"secure", "swap", "userland"} <= set(stages(seat)), seat["told"]
    assert "secure" not in stages(stranger)


@pytest.mark.nightly
def test_what_is_not_the_servers_does_not_boot(
    images: Path, root_image: Path, tmp_path: Path
) -> None:
    """One room, so that the firmware of one PC starts while another PC's system does."""
    shutil.copyfile(root_image, tmp_path / "root.squashfs")
    ways = "mok-http-seat mok-http-root mok-http-initramfs db-http-kernel mok-http-line"
    pcs = f"{ways} mok-http-older mok-http-words".split()
    profile = f"""\
root: {{kind: nbd, image: {tmp_path}/root.squashfs}}
clients: {{"{HOST}": {{seat: {{files: {{/etc/changing: {UUID}}}}}}}}}
"""
    seats = dict(zip(pcs, boots(images, tmp_path, *pcs, profile=profile), strict=True))
    console = {pc.rpartition("-")[2]: " ".join(seat["told"]) for pc, seat in seats.items()}
    events = {pc.rpartition("-")[2]: stages(seat) for pc, seat in seats.items()}
    assert not any("userland" in each for each in events.values()), events
    for harm in ("initramfs", "kernel", "line"):
        assert REFUSED in console[harm] and "secure" not in events[harm], console[harm]
    older = "this image is not the one that the server has now"
    assert older in console["older"] and "secure" not in events["older"], console["older"]
    assert "not the one that this server has now" in events["older"]["failed:secure"]
    words = "the words that came are not the server's: the signature is wrong"
    assert words in console["words"] and "secure" in events["words"], console["words"]
    told = events["seat"]["failed:root"]
    assert "the files of this PC are not those that the server has signed" in told
    assert "is the image the one whose hash this boot has?" in events["root"]["failed:root"]
    console_of_root = (tmp_path / "pc2.console").read_text(errors="replace")
    assert "data block 0 is corrupted" in console_of_root
