"""Ways to swap, runs and bars of ``bench.client``. Pure. Times are seconds."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal

from bench.report import Verdict

MIB = 1 << 20
PAGES_PER_MIB = MIB // 4096
ATTACH_BAR, HEADER_BAR = 150.0, 10.0  # milliseconds of guest time


@dataclass(frozen=True, slots=True)
class Limit:
    """The limits of a disk: requests and bytes per second, 0 for none."""

    requests: int
    bytes_: int
    rotational: bool


@dataclass(frozen=True, slots=True)
class Way:
    """One way to have swap: over a network of ``mbit``, or on a ``disk``."""

    name: str
    by: Literal["netboot", "nbd-client", "disk"]
    mbit: int = 0
    disk: Limit | None = None
    zswap: bool = False

    @property
    def runs(self) -> int:
        """The number of runs. A throttled disk is slow and hardly varies."""
        return 1 if self.disk and self.disk.requests else 3

    @property
    def title(self) -> str:
        """The name in the table."""
        return f"{self.name}{', zswap' if self.zswap else ''}"


# QEMU counts a request once, for any length and place. So 100 requests a second model a disk that
# seeks for each request, and no limit a disk that never seeks. A real disk is in between.
_PLAIN = (
    Way("netboot, 1 Gbit/s", "netboot", mbit=1000),
    Way("netboot, 100 Mbit/s", "netboot", mbit=100),
    Way("nbd-client and nbdkit, 1 Gbit/s", "nbd-client", mbit=1000),
    Way("nbd-client and nbdkit, 100 Mbit/s", "nbd-client", mbit=100),
    Way("disk, 7200 rpm, seeks each time", "disk", disk=Limit(100, 80_000_000, rotational=True)),
    Way("disk, 7200 rpm, never seeks", "disk", disk=Limit(0, 80_000_000, rotational=True)),
    Way("SD card, 500 requests/s", "disk", disk=Limit(500, 0, rotational=False)),
)
WAYS = tuple(
    Way(way.name, way.by, way.mbit, way.disk, zswap) for zswap in (False, True) for way in _PLAIN
)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the load: its three parts, and the time in which a task waited (PSI).

    The kernel counts a fetch of a page as a wait for ``io``, and also for ``memory`` if the page
    was in use shortly before. To make room for the page counts as ``memory`` alone. ``out_mib`` and
    ``in_mib`` were written to the device and read back; pages that zswap keeps are in neither.
    """

    write: float
    read: float
    scattered: float
    memory: float
    io: float
    out_mib: float
    in_mib: float

    @property
    def total(self) -> float:
        """The time from the first page to the last."""
        return self.write + self.read + self.scattered


def parse_run(data: Mapping[str, Any]) -> Run:
    """Parse the PC's report of a run. Raises ValueError for a wrong page or an unfinished load."""
    if data.get("wrong") != 0:
        raise ValueError(f"the load failed: {dict(data)}")
    written, verified = float(data["written"]), float(data["verified"])
    return Run(
        write=written,
        read=verified - written,
        scattered=float(data["scattered"]) - verified,
        memory=float(data["memory_us"]) / 1e6,
        io=float(data["io_us"]) / 1e6,
        out_mib=int(data["pages_out"]) / PAGES_PER_MIB,
        in_mib=int(data["pages_in"]) / PAGES_PER_MIB,
    )


def median_of(runs: Sequence[Run]) -> Run:
    """Return the run whose total is the median (of two, the slower one)."""
    return sorted(runs, key=lambda run: run.total)[len(runs) // 2]


Results = Mapping[Way, Run]


def attach_times(console: str) -> tuple[float, float, float]:
    """Return three times of one boot in milliseconds. Raises ValueError if a line is missing.

    The times are: from the link to swap; from the device to swapon(2), which the header takes; and
    from the device to the end of swapon(2), which sends the header to the server. The first is from
    lines of /init with the uptime in hundredths of a second: one ends the stage that switches the
    link on, the other follows when swap is on. The kernel's lines have microseconds.
    """

    def when(pattern: str) -> float:
        found = re.search(pattern, console)
        if found is None:
            raise ValueError(f"the console has no {pattern!r}")
        return float(found[1]) * 1000

    link = when(r"netboot: \[ *([\d.]+)\] \d+ hardware: ")
    swap = when(r"netboot: \[ *([\d.]+)\] \d+ swap: /dev/")
    device = when(r"\[ *([\d.]+)\] nbd0: detected capacity change")
    header = when(r"\[ *([\d.]+)\].* sys_swapon\(")
    on = when(r"\[ *([\d.]+)\] Adding \d+k swap on nbd0")
    return swap - link, header - device, on - device


def attach_bars(attach_ms: Sequence[float], header_ms: Sequence[float]) -> list[Verdict]:
    """Return the bars of the attach times, on medians."""
    return [
        Verdict("link up to swap attached, ms", median(attach_ms), ATTACH_BAR, at_least=False),
        Verdict("of it the swap header, ms", median(header_ms), HEADER_BAR, at_least=False),
    ]


def table(results: Results) -> str:
    """Return a Markdown table of all runs."""
    lines = [
        "| swap | write | read | scattered | all | PSI memory | PSI io | MiB out | in |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {way.title} | {run.write:.1f} s | {run.read:.1f} s | {run.scattered:.1f} s "
        f"| {run.total:.1f} s | {run.memory:.1f} s | {run.io:.1f} s "
        f"| {run.out_mib:.0f} | {run.in_mib:.0f} |"
        for way, run in results.items()
    ]
    return "\n".join(lines)


def claims(results: Results) -> str:
    """Return a table for the claim of 1997 that network swap beats a local disk, by pairs."""
    lines = ["| netboot | against | sequential | scattered | all |", "|---|---|---|---|---|"]
    for ours in (way for way in results if way.by == "netboot"):
        for disk in (way for way in results if way.disk and way.zswap == ours.zswap):
            mine, other = results[ours], results[disk]
            ratios = (
                (other.write + other.read) / (mine.write + mine.read),
                other.scattered / mine.scattered,
                other.total / mine.total,
            )
            cells = " | ".join(_verdict(ratio) for ratio in ratios)
            lines.append(f"| {ours.title} | {disk.name} | {cells} |")
    return "\n".join(lines)


def _verdict(ratio: float) -> str:
    """Return the verdict on ``ratio``, the disk's time / ours. 10 % are no difference."""
    if ratio > 1.1:
        return f"true, {ratio:.1f} times as fast"
    return "no difference" if ratio > 1 / 1.1 else f"**refuted**, {1 / ratio:.1f} times as slow"


def details(results: Mapping[Way, Sequence[Run]]) -> dict[str, Any]:
    """Return all figures for the JSON report."""
    return {
        "ways": [
            {**asdict(way), "runs": [asdict(run) for run in runs]} for way, runs in results.items()
        ]
    }
