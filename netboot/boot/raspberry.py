"""Raspberry Pi: the files that its firmware asks for by TFTP, and those that are made here. Pure.

A Pi runs no boot program of ours: its boot ROM (Pi 3) or EEPROM (Pi 4 and later) asks for files of its
own names, first in a folder that is called like the last 8 digits of its serial number (or, with
TFTP_PREFIX=2, like its MAC address) and, where there is no start.elf, without a folder (Raspberry Pi
documentation, "Network booting" and "BCM2711 bootloader configuration").
"""

import re

from netboot.boot.plan import INITRAMFS_FILE, KERNEL_FILE

CONFIG_FILE, COMMAND_LINE_FILE = "config.txt", "cmdline.txt"
PROCESSOR = "arm64"  # of boot.architectures: what vmlinuz and initramfs.img are for
MADE_FILES = (CONFIG_FILE, COMMAND_LINE_FILE)
FOLDER = re.compile(r"([0-9a-f]{8}|[0-9a-f]{2}(-[0-9a-f]{2}){5})/", re.IGNORECASE)
# Of all that it asks for, what it does not start without; the rest may be there or not.
NEEDED = re.compile(r"bootcode\.bin|start\w*\.elf|config\.txt|cmdline\.txt|vmlinuz|initramfs\.img")


def names(path: str) -> tuple[str, ...]:
    """Where a file that a Pi asks for may lie below the operator's folder: for this Pi, for all.

    Empty for a path that leads elsewhere.
    """
    if any(part in ("", ".", "..") for part in path.split("/")) or "\0" in path:
        return ()
    return tuple(dict.fromkeys((path, FOLDER.sub("", path, count=1))))


def is_needed(path: str) -> bool:
    """Whether a Pi that does not get this file stops."""
    return NEEDED.fullmatch(names(path)[-1] if names(path) else path) is not None


def render_config() -> str:
    """``config.txt``: 64 bits, our kernel and the whole initramfs, a console on the serial pins."""
    lines = (
        "arm_64bit=1",
        "enable_uart=1",
        f"kernel={KERNEL_FILE}",
        f"initramfs {INITRAMFS_FILE} followkernel",
        "",
    )
    return "\n".join(lines)
