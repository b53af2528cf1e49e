"""Raspberry Pi: the files that its firmware requests over TFTP, and the ones made here. Pure.

A Pi runs no boot program of ours. Its boot ROM (Pi 3) or EEPROM (Pi 4 and later) requests files by
its own names. It looks first in a folder named after the last 8 digits of its serial number (or,
with TFTP_PREFIX=2, after its MAC address). If that has no start.elf, it looks without a folder
(Raspberry Pi documentation, "Network booting" and "BCM2711 bootloader configuration").
"""

import re

from netboot.boot.plan import INITRAMFS_FILE, KERNEL_FILE

CONFIG_FILE, COMMAND_LINE_FILE = "config.txt", "cmdline.txt"
PROCESSOR = "arm64"  # of boot.architectures: the processor for vmlinuz and initramfs.img
MADE_FILES = (CONFIG_FILE, COMMAND_LINE_FILE)
FOLDER = re.compile(r"([0-9a-f]{8}|[0-9a-f]{2}(-[0-9a-f]{2}){5})/", re.IGNORECASE)
# Of all files that a Pi requests, those without which it does not start; the others are optional.
NEEDED = re.compile(r"bootcode\.bin|start\w*\.elf|config\.txt|cmdline\.txt|vmlinuz|initramfs\.img")


def names(path: str) -> tuple[str, ...]:
    """Return the places of a requested file below the operator's folder: for this Pi, for all.

    Empty if the path leads elsewhere.
    """
    if any(part in ("", ".", "..") for part in path.split("/")) or "\0" in path:
        return ()
    return tuple(dict.fromkeys((path, FOLDER.sub("", path, count=1))))


def is_needed(path: str) -> bool:
    """Return True if a Pi stops without this file."""
    return NEEDED.fullmatch(names(path)[-1] if names(path) else path) is not None


def render_config() -> str:
    """Return ``config.txt``: 64 bits, our kernel, the full initramfs, a serial console."""
    lines = (
        "arm_64bit=1",
        "enable_uart=1",
        f"kernel={KERNEL_FILE}",
        f"initramfs {INITRAMFS_FILE} followkernel",
        "",
    )
    return "\n".join(lines)
