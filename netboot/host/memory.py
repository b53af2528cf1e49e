"""The memory that this process may fill: the machine's RAM, and the limits of its cgroups.

A tmpfs counts as memory of the process that wrote there. If it grows beyond a cgroup's limit, the
kernel kills processes of the cgroup, which frees nothing of the tmpfs. A container may see the RAM
of its host in sysconf(3); /proc/meminfo is its own under LXC (lxcfs).
"""

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

UNLIMITED = 1 << 60  # cgroup v1 writes a limit near 2^63
# For this server's processes as they grow, sockets and page tables.
SPARED_BYTES = 32 << 20
SPARED_SHARE = 16


@dataclass(frozen=True, slots=True)
class Limit:
    """``size_bytes`` that a tmpfs may grow to; ``what`` says whose limit it is."""

    what: str
    size_bytes: int


def ram_bytes(root: Path = Path("/")) -> int:
    """Return the RAM of this machine or container in bytes."""
    found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    total = _meminfo(root).get("MemTotal", 0)
    return min(found, total) if total else found


def free_bytes(root: Path = Path("/")) -> int:
    """Return the RAM and swap that no program has now, in bytes; caches count as free."""
    found = _meminfo(root)
    return found.get("MemAvailable", ram_bytes(root)) + found.get("SwapFree", 0)


def _meminfo(root: Path) -> dict[str, int]:
    rows = re.findall(r"^(\w+):\s+(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE)
    return {name: int(kib) << 10 for name, kib in rows}


def memory_limits(own_bytes: int = 0, root: Path = Path("/")) -> list[Limit]:
    """Return the limits for files of ours on a tmpfs, which has ``own_bytes`` of them now."""
    limits = [Limit("the RAM of this machine", _spare(ram_bytes(root), 0))]
    for path, limit, used in _cgroups(root):
        others = used.get("anon", 0) + max(used.get("shmem", 0) - own_bytes, 0)
        limits.append(Limit(f"the memory limit of cgroup {path}", _spare(limit, others)))
    return limits


def _spare(limit: int, used: int) -> int:
    return max(0, limit - used - SPARED_BYTES - limit // SPARED_SHARE)


def _cgroups(root: Path) -> Iterator[tuple[str, int, dict[str, int]]]:
    """Yield each cgroup of this process with a limit, the limit in bytes, and what it uses."""
    paths = {}
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        paths["memory" if "memory" in controllers.split(",") else controllers] = path
    for line in _text(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        names: tuple[str, ...] = ("memory.max", "memory.high")
        if kind == "cgroup2" and "" in paths:
            path, total = paths[""], ""
        elif kind == "cgroup" and "memory" in options.split(",") and "memory" in paths:
            names, path, total = ("memory.limit_in_bytes",), paths["memory"], "total_"
        else:
            continue
        top, mount = before.split(" ")[3:5]
        own = _inside(PurePosixPath(path), PurePosixPath(top))
        for part in (own, *own.parents):
            folder = root / mount.lstrip("/") / part
            limits = [
                int(text) for name in names if (text := _text(folder / name).strip()).isdigit()
            ]
            if limits and min(limits) < UNLIMITED:
                yield str(PurePosixPath("/") / part), min(limits), _usage(folder, total)


def _inside(path: PurePosixPath, top: PurePosixPath) -> PurePosixPath:
    """Return ``path`` relative to the mount, whose root is ``top``: a container sees a part only."""
    with contextlib.suppress(ValueError):
        return path.relative_to(top)
    return PurePosixPath()


def _usage(folder: Path, total: str) -> dict[str, int]:
    rows = (line.split(" ", 1) for line in _text(folder / "memory.stat").splitlines())
    found = {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}
    if total:
        return {"anon": found.get("total_rss", 0), "shmem": found.get("total_shmem", 0)}
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
