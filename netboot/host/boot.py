"""The boot of this machine's kernel, by the number that it draws at random each time."""

import os
from pathlib import Path

# Given by the service's unit, where /proc has processes only (deploy/layout.py).
VARIABLE = "NETBOOT_BOOT_ID"
FILE = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Return the boot id as the kernel writes it. Raises OSError."""
    digits = os.environ.get(VARIABLE)
    if digits is None:
        return FILE.read_text()
    # systemd leaves out hyphens and newline, which a folder of an earlier release has.
    parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    return "-".join(parts) + "\n"
