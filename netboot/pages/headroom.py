"""Whether the file system of a store can hold what the server promises to its PCs.

Other programs and users fill it as well: every local user may write to /dev/shm.
"""

import asyncio
import contextlib
import logging
import os
from pathlib import Path
from typing import NoReturn

BLOCK_BYTES = 512  # of st_blocks (stat(2))
# /dev/shm has half of the RAM by default, as swap.capacity has, and other files that are small.
TOLERATED = 0.1
LOOK_SECONDS = 30.0

log = logging.getLogger(__name__)


def room(directory: Path) -> int:
    """Return the bytes that pages in ``directory`` use or could use. Raises OSError."""
    found = os.statvfs(directory)
    used = 0
    for path in directory.iterdir():
        with contextlib.suppress(FileNotFoundError):
            used += path.stat().st_blocks * BLOCK_BYTES
    return found.f_bavail * found.f_frsize + used


def shortage(directory: Path, promised_bytes: int) -> str:
    """Return the warning if there is too little room; empty if there is enough. Raises OSError."""
    left = room(directory)
    if left >= promised_bytes * (1 - TOLERATED):
        return ""
    share = f"{left / (1 << 20):.0f} of {promised_bytes / (1 << 20):.0f} MiB"
    return (
        f"{directory.parent} has room for {share} that PCs may store; remove other files "
        "there, enlarge it, or set a smaller swap.capacity"
    )


async def watch(directory: Path, promised_bytes: int) -> NoReturn:
    """Warn each time when the file system of ``directory`` is found too full."""
    told = False
    while True:
        try:
            short = shortage(directory, promised_bytes)
        except OSError as error:
            short = f"{directory}: {error.strerror}"
        if short and not told:
            log.warning("pages: %s", short)
        told = bool(short)
        await asyncio.sleep(LOOK_SECONDS)
