"""netboot/boot/memory.py: the RAM that iPXE reads from SMBIOS, and too little of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netboot.boot import memory


@pytest.mark.parametrize(
    ("modules", "ram"),
    [
        ("4000...", 64),  # little-endian
        ("4000.2000..", 96),
        (".".join(["1000"] * 8), 128),  # eight sockets
        ("4000.0000.0000.0000", 64),  # three empty sockets
        ("0020...", 8192),
        ("0080...", None),  # 0 KiB
        ("0084...", 1),  # 1024 KiB
        ("ffff...", None),  # unknown
        ("4000.ffff..", None),
        ("ff7f...", None),  # 32 GiB or more
        ("0000.0000.0000.0000", None),
        ("...", None),  # no SMBIOS
        ("", None),
        ("${smbios/17.12.2:hexraw}", None),  # a program that is no iPXE
        ("nonsense", None),
        ("40 00", 64),
    ],
)
def test_the_modules_are_added(modules: str, ram: int | None) -> None:
    assert memory.ram_mib(modules) == ram


def test_a_pc_with_slices_needs_less() -> None:
    assert memory.shortage("5000...", whole=False) is None
    assert memory.shortage("4f00...", whole=False) == memory.Shortage(79, 80)
    found = memory.shortage("6000...", whole=True)
    assert str(found) == "this PC has 96 MiB of RAM, and needs 128 MiB to boot"
    assert memory.shortage("...", whole=True) is None


def test_a_pc_is_little_only_if_that_is_known() -> None:
    assert memory.is_little("7f00...")
    assert not memory.is_little("8000...")
    assert not memory.is_little("...")


def test_kernel_and_initramfs_are_low_only_if_they_fit_below_16_mib() -> None:
    assert memory.is_low(14 << 20)
    assert not memory.is_low(15 << 20)


@given(st.text(max_size=40))
def test_no_text_breaks_it(text: str) -> None:
    assert (memory.ram_mib(text) or 1) > 0
