"""Every kind of firmware that QEMU has, up to userland with swap, and what it refuses."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.vm.conftest import Outcome

Lab = Callable[..., Outcome]

# QEMU's ROM is an iPXE: the first PC takes it for a plain PXE card, which fetches ours and runs it.
ROOM = """
clients:
  52:54:00:77:00:01: {boot: {loader: ipxe}}
"""
FIRST_KINDS = ("bios", "bios-usb")
FETCHED_BY_TFTP = (["undionly.kpxe", "bios.ipxe"], ["bios.ipxe"])


def kinds(*names: str) -> list[str]:
    return [word for name in names for word in ("--firmware", name)]


def by_tftp(outcome: Outcome, number: int) -> list[str]:
    """The files that a PC fetched by TFTP, and not in vain."""
    events: list[dict[str, Any]] = outcome.seats[number]["stages"]
    done = [each["data"] for each in events if each["stage"] == "tftp"]
    return [data["file"] for data in done if data["bytes"]]


def in_order(stages: list[str], *expected: str) -> bool:
    rest = iter(stages)
    return all(stage in rest for stage in expected)


def test_one_profile_serves_pcs_of_all_kinds_at_once(lab: Lab, tmp_path: Path) -> None:
    profile = tmp_path / "room.yaml"
    profile.write_text(ROOM)
    outcome = lab(*kinds(*FIRST_KINDS), profile=profile)
    assert outcome.status == 0, outcome.report
    for number, files in enumerate(FETCHED_BY_TFTP):
        assert by_tftp(outcome, number) == files
        assert in_order(outcome.stages(number), "dhcp", "tftp", "lease", "swap", "userland")


def test_a_loader_that_fails_is_followed_by_the_next_one(
    lab: Lab, images: Path, tmp_path: Path
) -> None:
    """The firmware fetches a loader that is none, gives up, and asks again: by HTTP, the next in its
    boot order. Beside it one that boots from a CD, in a room with another DHCP server.
    """
    folder = tmp_path / "images"
    shutil.copytree(images, folder)
    (folder / "snponly.efi").write_bytes(bytes(4096))
    options = ("--dhcp", "proxy", "--images", str(folder))
    outcome = lab(*kinds("uefi", "bios-cd"), *options)
    assert outcome.status == 0, outcome.report
    assert in_order(outcome.stages(0), "tftp", "loader", "http", "tftp", "swap", "userland")
    change = next(event for event in outcome.seats[0]["stages"] if event["stage"] == "loader")
    assert change["data"]["file"] == "ipxe.efi"
    assert by_tftp(outcome, 1) == ["bios.ipxe"]
