"""Whether the server can hold what it promises to its PCs, at the start and while it runs.

Other programs and users fill the file system of a store as well: every local user may write to
/dev/shm. And what lies there is memory, of which a cgroup may have less than the machine.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from netboot.boot.limits import NBD_CONNECTIONS
from netboot.host.memory import Limit, free_bytes, memory_limits, ram_bytes
from netboot.pages.nbd.backing import PAGE_BYTES
from netboot.pages.stores.folder import find_kept
from netboot.pages.stores.memory import TMPFS
from netboot.profile.stores import BY_NAME, MIN_TIER_BYTES, StoreSpec

BLOCK_BYTES = 512  # of st_blocks (stat(2))
# Beside the pages: both files of the lease table, and what the notes of each area take to fill a
# page, for 200 areas.
BESIDE_BYTES = 1 << 20
# Of a store. Each area has a file or two, each worker a socket.
FEW_INODES = 2 * (NBD_CONNECTIONS.in_total or 0)
LOOK_SECONDS = 30.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Promise:
    """The promise of a profile: ``capacity`` bytes, None if that is what fits, and ``overcommit``."""

    spec: StoreSpec
    capacity: int | None = None
    overcommit: float = 1.0


@dataclass(frozen=True, slots=True)
class Holding:
    """The bytes of pages that a server can hold, and the warnings about a promise of more.

    ``granted`` is the most that may be granted, with ``swap.overcommit``. The kernel would kill
    processes of this server if it stored more.
    """

    granted: int
    warnings: tuple[str, ...] = ()


def room(directory: Path) -> int:
    """Return the bytes that pages in ``directory`` use or could use. Raises OSError."""
    return _free(directory) + used(directory)


def _free(directory: Path) -> int:
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


def used(directory: Path) -> int:
    """Return the bytes that the files in ``directory`` have now. Raises OSError."""
    total = 0
    for path in directory.iterdir():
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_blocks * BLOCK_BYTES
    return total


def in_mib(directory: Path) -> int:
    """Return what the files in ``directory`` have now, in MiB, rounded up. Raises OSError."""
    return -(-used(directory) // (1 << 20))


def pages_in(size_bytes: int) -> int:
    """Return the bytes of pages for which ``size_bytes`` of a file system are enough.

    Each page has a note of a byte.
    """
    return max(0, size_bytes - BESIDE_BYTES) * PAGE_BYTES // (PAGE_BYTES + 1)


def affordable(spec: StoreSpec, name: str) -> StoreSpec:
    """Return ``spec`` with no more memory than the kernel would let the server ``name`` use.

    Of a tiered store that starts now, and may have pages of before. Warns if that is less.
    """
    if not spec.memory_bytes:
        return spec
    limits, own = [], 0
    with contextlib.suppress(OSError):  # the store says that there is no tmpfs
        kept = find_kept(TMPFS, name, os.geteuid())
        own = used(kept) if kept else 0
        limits = [Limit(str(TMPFS), max(0, _free(TMPFS) + own - BESIDE_BYTES))]
    least = min([*limits, *memory_limits(own)], key=lambda each: each.size_bytes)
    if least.size_bytes >= spec.memory_bytes:
        return spec
    most = max(MIN_TIER_BYTES, least.size_bytes)
    log.warning(
        "pages: swap.store: memory=%d MiB, but %s leaves %d MiB, which is used: raise it, or set a "
        "smaller memory=",
        spec.memory_bytes >> 20,
        least.what,
        most >> 20,
    )
    return replace(spec, memory_bytes=most)


def look(promise: Promise, directory: Path, granted: int) -> Holding:
    """Return what the server can hold whose store has ``directory``. Raises OSError.

    ``granted`` bytes are promised to PCs already.
    """
    spec = promise.spec
    limits = _limits(spec, directory)
    half = ram_bytes() // 2
    fits = min((each.size_bytes for each in limits), default=half)
    capacity = promise.capacity or min(half, fits)
    # Without a capacity in the profile nobody was promised more than was granted.
    promised = promise.capacity or int(granted / promise.overcommit)
    # What fits goes up and down with the server's own processes; a capacity is exact.
    least = promised if promise.capacity else promised * 15 // 16
    warnings = [_shortage(each, promised) for each in limits if each.size_bytes < least]
    if limits:  # else its file system has no page
        warnings += _inodes(directory)
    most = int(capacity * promise.overcommit)
    if spec.kind in ("memory", "tiered"):
        warnings += _taken(spec.memory_bytes or promised, used(directory))
    if spec.kind == "memory":
        tmpfs, *others = limits
        least_other = min(others, key=lambda each: each.size_bytes)
        # A tmpfs that is full first makes writes wait, and no process dies of that.
        if least_other.size_bytes < min(most, tmpfs.size_bytes):
            if least_other.size_bytes >= promised:
                warnings.append(_capped(least_other, most, tmpfs))
            most = least_other.size_bytes
    return Holding(most, tuple(warnings))


def _limits(spec: StoreSpec, directory: Path) -> list[Limit]:
    """Return what limits the pages of a store."""
    if BY_NAME[spec.kind].remote:
        return []
    kept = directory
    if spec.kind == "tiered":
        assert spec.directory is not None, "parse_store requires it"
        kept = spec.directory / directory.name
    limits = [Limit(str(kept.parent), pages_in(room(kept)))]
    if spec.kind == "memory":
        limits += memory_limits(used(directory))
    return limits


def _shortage(limit: Limit, promised: int) -> str:
    share = f"{limit.size_bytes >> 20} of {-(-promised // (1 << 20))} MiB"
    return (
        f"{limit.what} has room for {share} that PCs may store; remove other files there, enlarge "
        "it, or set a smaller swap.capacity"
    )


def _taken(promised: int, own: int) -> list[str]:
    """Return a warning if other programs have the memory that is ``promised``."""
    left = free_bytes() + own
    if left >= promised:
        return []
    share = f"{left >> 20} of {-(-promised // (1 << 20))} MiB"
    text = (
        f"this machine, beside its other programs, has room for {share} that PCs may store; stop "
        "some of them, add RAM or swap, or promise less in the profile (swap)"
    )
    return [text]


def _capped(limit: Limit, most: int, tmpfs: Limit) -> str:
    return (
        f"{limit.what} has room for {limit.size_bytes >> 20} of the {most >> 20} MiB of "
        f"swap.overcommit, so no more is granted; add RAM, or make {tmpfs.what} smaller than that"
    )


def _inodes(directory: Path) -> list[str]:
    found = os.statvfs(directory)
    if not found.f_files or found.f_favail >= FEW_INODES:  # 0: a file system without a limit
        return []
    left = f"{directory.parent} has {found.f_favail} inodes left, expected {FEW_INODES}"
    return [f"{left}; remove files there, or enlarge their number"]


def left_behind(directory: Path, before: Iterable[Path]) -> list[str]:
    """Return a warning for each directory with pages of an earlier store of this server.

    ``directory`` is that of its store now, ``before`` are those of its stores before.
    """
    found = []
    for path in dict.fromkeys([TMPFS / directory.name, *before]):
        with contextlib.suppress(OSError):
            if path != directory and any(path.glob("*.pages")):
                found.append(
                    f"{path} has {in_mib(path)} MiB of pages of an earlier swap.store; set it "
                    f"back to serve them to their PCs, or free them: rm -r {path}"
                )
    return found


async def watch(holding: Callable[[], Holding]) -> NoReturn:
    """Look every 30 s, and tell each warning when it is new."""
    told: set[str] = set()
    while True:
        try:
            warnings = holding().warnings
        except OSError as error:
            warnings = (f"{error.filename}: {error.strerror}",)
        # The figures change with each page, and the text before them does not.
        kinds = {text.partition(" has ")[0]: text for text in warnings}
        for kind, text in kinds.items():
            if kind not in told:
                log.warning("pages: %s", text)
        told = set(kinds)
        await asyncio.sleep(LOOK_SECONDS)
