"""Settings of a PC with netboot's swap, one changed at a time, and their table. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import median

from bench.ways import BARRED, Run, Way

VM, ZSWAP = "/proc/sys/vm", "/sys/module/zswap/parameters"
DEFAULT = "default"
SHRINKER_SINCE = (6, 8)  # Linux; an older one has no such setting


def _row(
    name: str, *profile: str, kernel: tuple[str, ...] = (), words: str = "", cpu: str = ""
) -> Way:
    return replace(BARRED, name=name, profile=profile, kernel=kernel, words=words, cpu=cpu)


# Each row differs from the first one by what its name says, if the row is not made of two others.
# These concern zswap, so a load of which it can hold much shows more.
POOL = (
    _row(DEFAULT),
    _row("zsmalloc", kernel=(f"{ZSWAP}/zpool:zsmalloc",)),
    _row("pool of 40 %", "swap.zswap.pool_percent=40"),
    _row(
        "zsmalloc, pool of 40 %", "swap.zswap.pool_percent=40", kernel=(f"{ZSWAP}/zpool:zsmalloc",)
    ),
    _row("lz4", "swap.zswap.compressor=lz4"),
    _row("zstd", "swap.zswap.compressor=zstd"),
)
NEWER = (
    _row("no shrinker", "swap.zswap.shrinker=no"),
    _row("zbud", kernel=(f"{ZSWAP}/zpool:zbud",)),  # what older kernels have by default
)
# Two generations of one CPU. Only the second has instructions for AES, which Linux uses with SSE 4.1.
CPU, CPU_AES = "Nehalem", "Westmere"
SETTINGS = (
    *POOL,
    *NEWER,
    _row("lzo-rle", kernel=(f"{ZSWAP}/compressor:lzo-rle",)),
    _row("page-cluster 2", kernel=(f"{VM}/page-cluster:2",)),
    _row("page-cluster 0", kernel=(f"{VM}/page-cluster:0",)),
    _row("swappiness 120", kernel=(f"{VM}/swappiness:120",)),
    _row("swappiness 180", kernel=(f"{VM}/swappiness:180",)),
    _row("watermarks 0.1 %", kernel=(f"{VM}/watermark_scale_factor:10",)),
    _row("watermarks 3 %", kernel=(f"{VM}/watermark_scale_factor:300",)),
    _row("reserve of 1 %", kernel=(f"{VM}/min_free_kbytes:1131",)),  # the kernel's own for that RAM
    _row("1 connection", "swap.connections=1"),
    _row("4 connections", "swap.connections=4"),
    _row("queue of 16", kernel=("/sys/block/nbd0/queue/nr_requests:16",)),
    _row("no discard", "swap.discard=no"),
    _row("encrypted, Adiantum", "swap.encrypt=yes", cpu=CPU),
    _row("encrypted, AES", "swap.encrypt=yes", words="netboot.encrypt=aes", cpu=CPU),
    _row("encrypted, AES, CPU with AES", "swap.encrypt=yes", cpu=CPU_AES),
)


def fits(way: Way, version: str) -> bool:
    """Return True if a kernel with this version (``uname -r``) has the setting of a row."""
    major, minor = version.split(".")[:2]
    return way not in NEWER or (int(major), int(minor)) >= SHRINKER_SINCE


# A difference is claimed if no run of the row lies among the runs of the default.
FIGURES: Mapping[str, tuple[Callable[[Run], float], int]] = {
    "MiB out": (lambda run: run.out_mib, 0),
    "MiB in": (lambda run: run.in_mib, 0),
    "MiB refaults": (lambda run: run.refault_mib, 0),
    "s PSI memory": (lambda run: run.memory, 1),
    "s PSI io": (lambda run: run.io, 1),
    "s, all": (lambda run: run.total, 1),
    "s, longest stall": (lambda run: run.stall, 2),
}


def table(results: Mapping[Way, Sequence[Run | None]], about: str) -> str:
    """Return a Markdown table: the median of each figure, its range, and marks of differences.

    A figure is bold if all runs of its row lie on one side of all runs of the default. A row of
    which a run was killed says so.
    """
    lines = [f"| {about} | {' | '.join(FIGURES)} |", f"|---|{'--:|' * len(FIGURES)}"]
    default = next((_ended(runs) for way, runs in results.items() if way.name == DEFAULT), [])
    for way, runs in results.items():
        ended = _ended(runs)
        cells = [
            _cell([figure(run) for run in ended], [figure(run) for run in default], digits)
            for figure, digits in FIGURES.values()
        ]
        killed = len(runs) - len(ended)
        if killed:
            cells = [f"OOM killer, {killed} of {len(runs)}", *[""] * (len(FIGURES) - 1)]
        lines.append(f"| {way.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _ended(runs: Sequence[Run | None]) -> list[Run]:
    return [run for run in runs if run is not None]


def _cell(values: Sequence[float], default: Sequence[float], digits: int) -> str:
    if not values:
        return ""
    shown = f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"
    apart = default and (max(values) < min(default) or min(values) > max(default))
    return f"**{shown}**" if apart else shown
