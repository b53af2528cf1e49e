"""Secure Boot with a key of the operator's own, beside a DHCP server that knows nothing of it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import ROOT

SECONDS = 400


def boots(images: Path, folder: Path, harm: str, *pcs: str) -> list[dict[str, Any]]:
    """Return what became of each PC."""
    words = [sys.executable, "-m", "tests.vm.own_key", str(images), str(folder), str(SECONDS)]
    done = subprocess.run(
        [*words, harm, *pcs], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    report = json.loads(done.stdout)
    assert not report["failure"], report["failure"]
    seats: list[dict[str, Any]] = report["seats"]
    return seats


def stages(seat: dict[str, Any]) -> list[str]:
    return [event["stage"] for event in seat["stages"]]


def test_a_pc_with_256_mb_boots_what_its_firmware_can_check(images: Path, tmp_path: Path) -> None:
    """Shim knows the key, and comes by HTTP. Swap and userland are there."""
    (seat,) = boots(images, tmp_path, "no", "mok-http")
    assert {"secure", "init:words", "swap", "userland"} <= set(stages(seat)), seat["told"]


@pytest.mark.nightly
def test_tftp_and_the_firmwares_own_list_do_it_too_and_a_stranger_boots_nothing(
    images: Path, tmp_path: Path
) -> None:
    tftp, db, stranger = boots(images, tmp_path, "no", "mok-tftp", "db-http", "none-http")
    for seat in (tftp, db):
        assert {"secure", "swap", "userland"} <= set(stages(seat)), seat["told"]
    assert "secure" not in stages(stranger)


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("harm", "told", "stage"),
    [
        ("changed", "", ""),
        ("older", "this image is not the one that the server has now", "failed:secure"),
        ("words", "the words that came are not the server's: the signature is wrong", "secure"),
    ],
)
def test_what_is_not_the_servers_does_not_boot(
    images: Path, tmp_path: Path, harm: str, told: str, stage: str
) -> None:
    (seat,) = boots(images, tmp_path, harm, "mok-http")
    assert told in " ".join(seat["told"]) and "userland" not in stages(seat)
    assert ("secure" in stages(seat)) == (stage == "secure")
    assert not stage or stage in stages(seat)
