"""Every kind of firmware that QEMU has, up to userland with swap, and its refusals."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.images import renew_manifest
from tests.vm.conftest import Outcome

Lab = Callable[..., Outcome]

# GRUB holds a file twice while it verifies it, beside the kernel's memory: 256 MB are too few.
GRUBS_MEMORY = ("--memory", "512")
# QEMU's ROM is an iPXE. The first PC treats it as plain PXE, which fetches ours and runs it.
ROOM = """
clients:
  52:54:00:77:00:01: {boot: {loader: ipxe}}
  52:54:00:77:00:03: {boot: {loader: signed}}
"""
FIRST_KINDS = ("bios", "bios-usb", "uefi-secure", "uefi-usb")
IMAGES = ["amd64/vmlinuz", "amd64/initramfs.img"]
FETCHED_BY_TFTP = (
    ["undionly.kpxe", "bios.ipxe"],
    ["bios.ipxe"],
    ["shimx64.efi", "grubx64.efi", "grub.cfg", "x86_64-efi.cfg", *IMAGES],
    ["uefi-x64.ipxe"],
)


# A loader for BIOS that comes to nothing: it counts 62 seconds of the clock (CMOS register 0), and
# has the BIOS boot again (int 19h). After a minute a card's own iPXE does not count as ours any more.
HANGS = bytes.fromhex("fb b93e00 b000e670e47188c3 f4b000e670e47138d874f5 e2eb cd19")


def kinds(*names: str) -> list[str]:
    return [word for name in names for word in ("--firmware", name)]


def by_tftp(outcome: Outcome, number: int) -> Counter[str]:
    """Return how often a PC fetched each file completely by TFTP.

    In no order: each transfer has one of several workers, and on a busy machine the worker that saw
    the end of a file may tell it after another worker told the end of the next one.
    """
    events: list[dict[str, Any]] = outcome.seats[number]["stages"]
    done = [each["data"] for each in events if each["stage"] == "tftp"]
    return Counter(data["file"] for data in done if data["bytes"])


def in_order(stages: list[str], *expected: str) -> bool:
    rest = iter(stages)
    return all(stage in rest for stage in expected)


def test_one_profile_serves_pcs_of_all_kinds_at_once(lab: Lab, tmp_path: Path) -> None:
    profile = tmp_path / "room.yaml"
    profile.write_text(ROOM)
    outcome = lab(*kinds(*FIRST_KINDS), *GRUBS_MEMORY, profile=profile)
    assert outcome.status == 0, outcome.report
    for number, files in enumerate(FETCHED_BY_TFTP):
        assert by_tftp(outcome, number) == Counter(files)
        assert in_order(outcome.stages(number), "dhcp", "tftp", "lease", "swap", "userland")


@pytest.mark.nightly
def test_a_card_with_the_newest_ipxe_goes_straight_to_its_script(lab: Lab) -> None:
    """Beside it is a stick, whose iPXE is as new."""
    outcome = lab(*kinds("bios-new-rom", "uefi-usb"), "--dhcp", "proxy")
    assert outcome.status == 0, outcome.report
    assert by_tftp(outcome, 0) == Counter(["bios.ipxe"])
    assert by_tftp(outcome, 1) == Counter(["uefi-x64.ipxe"])
    assert "1.21.1" in outcome.console(), "that of QEMU's own ROM is of 2019 with Debian 12"


@pytest.mark.nightly
def test_a_loader_that_fails_is_followed_by_the_next_one(
    lab: Lab, images: Path, tmp_path: Path
) -> None:
    """UEFI fetches a broken loader, gives up, and asks again by HTTP, its next option.

    A BIOS runs a loader that hangs, and boots again. Beside them, in a room with another DHCP
    server, are a PC that boots from a CD and one whose UEFI has 32 bits.
    """
    folder = tmp_path / "images"
    shutil.copytree(images, folder)
    (folder / "snponly.efi").write_bytes(bytes(4096))
    (folder / "undionly.kpxe").write_bytes(HANGS)
    renew_manifest(folder)
    profile = tmp_path / "room.yaml"
    profile.write_text("clients: {52:54:00:77:00:04: {boot: {loader: ipxe}}}\n")
    options = (*GRUBS_MEMORY, "--dhcp", "proxy", "--images", str(folder))
    outcome = lab(*kinds("uefi", "bios-cd", "uefi-ia32", "bios"), *options, profile=profile)
    assert outcome.status == 0, outcome.report
    assert in_order(outcome.stages(0), "tftp", "loader", "http", "tftp", "swap", "userland")
    assert in_order(outcome.stages(3), "tftp", "loader", "tftp", "http", "swap", "userland")
    for number, second in ((0, "ipxe.efi"), (3, "ipxe.pxe")):
        events = outcome.seats[number]["stages"]
        loaders = [event["data"]["file"] for event in events if event["stage"] == "loader"]
        assert loaders == [second]
    assert by_tftp(outcome, 3) == Counter(["undionly.kpxe", "ipxe.pxe", "bios.ipxe"])
    assert by_tftp(outcome, 1) == Counter(["bios.ipxe"])
    assert by_tftp(outcome, 2) == Counter(["grubia32.efi", "i386-efi.cfg", *IMAGES])


def test_secure_boot_refuses_what_is_not_signed(lab: Lab, images: Path, tmp_path: Path) -> None:
    """The first PC gets iPXE, which is not signed. It never reports: this takes the whole time.

    The GRUB of the second PC gets a kernel with a changed byte.
    """
    folder = tmp_path / "images"
    shutil.copytree(images, folder)
    kernel = folder / "amd64/vmlinuz"
    content = bytearray(kernel.read_bytes())
    content[len(content) // 2] ^= 1
    kernel.write_bytes(content)
    profile = tmp_path / "room.yaml"
    profile.write_text("clients: {52:54:00:77:00:02: {boot: {loader: signed}}}\n")
    options = (*GRUBS_MEMORY, "--images", str(folder), "--timeout", "80")
    outcome = lab(*kinds("uefi-secure", "uefi-secure"), *options, profile=profile)
    assert outcome.status == 1
    unsigned, changed = outcome.seats
    assert "snponly.efi" in by_tftp(outcome, 0)
    assert "Access Denied" in outcome.console(1)
    senders = {event["data"].get("stage") for event in unsigned["stages"]}
    assert "ipxe" not in senders and "kernel" not in outcome.stages(0)
    assert changed["failure"].startswith("loader: GRUB could not start the kernel")
    assert "signature" in outcome.console(2)
