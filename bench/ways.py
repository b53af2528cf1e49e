"""Ways to swap, runs and bars of ``bench.client``. Pure. Times are seconds."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any, Literal

from bench.report import Verdict

MIB = 1 << 20
PAGES_PER_MIB = MIB // 4096
ATTACH_BAR, HEADER_BAR = 130.0, 10.0  # milliseconds of guest time
PEER_BAR, ZRAM_BAR = 1.0, 1.05  # seconds of a load, as a ratio
STALL_BAR = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class Load:
    """A memory load (memload): bytes, scattered pages, how well a page packs, touches by Zipf."""

    bytes_: int
    scattered: int
    pack: int
    touches: int

    @property
    def words(self) -> str:
        """The part of the kernel argument netboot.bench_load that follows the runs."""
        return f"{self.bytes_}:{self.scattered}:{self.pack}:{self.touches}"


@dataclass(frozen=True, slots=True)
class Limit:
    """The limits of a disk: requests and bytes per second, 0 for none."""

    requests: int
    bytes_: int
    rotational: bool


@dataclass(frozen=True, slots=True)
class Way:
    """One way to have swap: over a network of ``mbit``, on a ``disk``, or in the PC's own RAM (zram).

    By "zram, nbd-client" there are two areas, and the network has what does not fit in zram.
    ``tuned``: not netboot, but with netboot's settings of the kernel. ``profile``: further settings
    of the profile, KEY=VALUE. ``kernel``: PATH:VALUE that the PC writes before the load. ``words``:
    further kernel arguments. ``cpu``: QEMU's name of the PC's CPU, empty for the usual one.
    """

    name: str
    by: Literal["netboot", "nbd-client", "disk", "zram", "zram, nbd-client"]
    mbit: int = 0
    disk: Limit | None = None
    zswap: bool = False
    tuned: bool = False
    profile: tuple[str, ...] = ()
    kernel: tuple[str, ...] = ()
    words: str = ""
    cpu: str = ""

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
    Way("nbd-client and nbdkit, 1 Gbit/s, our settings", "nbd-client", mbit=1000, tuned=True),
    Way("disk, 7200 rpm, seeks each time", "disk", disk=Limit(100, 80_000_000, rotational=True)),
    Way("disk, 7200 rpm, never seeks", "disk", disk=Limit(0, 80_000_000, rotational=True)),
    Way("SD card, 500 requests/s", "disk", disk=Limit(500, 0, rotational=False)),
)
# zswap in front of zram would compress pages twice.
ZRAM = Way("zram alone", "zram")
TIERS = Way(
    "zram of 50 %, then nbd-client and nbdkit, 1 Gbit/s, our settings",
    "zram, nbd-client",
    mbit=1000,
    tuned=True,
)
# The settings by default, on the usual network: the bars are for these.
BARRED = replace(_PLAIN[0], zswap=True)
WAYS = (ZRAM, TIERS, *(replace(way, zswap=zswap) for zswap in (False, True) for way in _PLAIN))


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the load: its four parts, and the time in which a task waited (PSI).

    The kernel counts a fetch of a page as a wait for ``io``, and also for ``memory`` if the page
    was in use shortly before. To make room for the page counts as ``memory`` alone. ``out_mib`` and
    ``in_mib`` were written to the device and read back; pages that zswap keeps are in neither, nor
    are those of a zram in front of a network.
    ``refault_mib`` came back although they had been in use not long before. ``stall`` is the longest
    time for one page.
    """

    write: float
    read: float
    scattered: float
    touched: float
    memory: float
    io: float
    out_mib: float
    in_mib: float
    refault_mib: float
    stall: float

    @property
    def total(self) -> float:
        """The time from the first page to the last."""
        return self.write + self.read + self.scattered + self.touched


COMPRESSOR, ENCRYPT = "swap.zswap.compressor=", "swap.encrypt=yes"
# The areas in the order of their use, each up to the number of the device.
DEVICES = {
    "netboot": "/dev/nbd",
    "nbd-client": "/dev/nbd",
    "disk": "/dev/vda",
    "zram": "/dev/zram",
    "zram, nbd-client": "/dev/zram0,/dev/nbd",
}


def check_swap(way: Way, data: Mapping[str, Any]) -> None:
    """Check what the PC says of its swap. Raises ValueError if it is not that of the way."""
    expected = {"zswap": "Y" if way.zswap else "N"}
    for setting in way.profile:
        if setting.startswith(COMPRESSOR):
            expected["compressor"] = setting.removeprefix(COMPRESSOR)
    device = "/dev/dm-" if ENCRYPT in way.profile else DEVICES[way.by]
    others = {key for key, value in expected.items() if data.get(key) != value}
    if others or not str(data.get("device")).startswith(device):
        raise ValueError(f"{way.title}: the PC has another swap: {dict(data)}")


KILLED = 128 + 9  # the exit status of a program that the OOM killer has ended


def parse_run(data: Mapping[str, Any]) -> Run | None:
    """Parse the PC's report of a run, None if the OOM killer ended it. Raises ValueError.

    A load that ended in any other way, found a wrong page or moved no page is no figure.
    """
    if data.get("status") == KILLED:
        return None
    if (data.get("status"), data.get("wrong")) != (0, 0) or not data.get("pages_out"):
        raise ValueError(f"the load failed: {dict(data)}")
    written, verified = float(data["written"]), float(data["verified"])
    scattered = float(data["scattered"])
    return Run(
        write=written,
        read=verified - written,
        scattered=scattered - verified,
        touched=float(data["touched"]) - scattered,
        memory=float(data["memory_us"]) / 1e6,
        io=float(data["io_us"]) / 1e6,
        out_mib=int(data["pages_out"]) / PAGES_PER_MIB,
        in_mib=int(data["pages_in"]) / PAGES_PER_MIB,
        refault_mib=int(data["refaults"]) / PAGES_PER_MIB,
        stall=float(data["stall"]),
    )


def median_of(runs: Sequence[Run | None]) -> Run | None:
    """Return the run whose total is the median (of two, the slower one), None if one was killed."""
    ended = [run for run in runs if run is not None]
    if not ended or len(ended) < len(runs):
        return None
    return sorted(ended, key=lambda run: run.total)[len(ended) // 2]


Results = Mapping[Way, Run | None]


def ended(results: Results) -> dict[Way, Run]:
    """Return the ways whose load was not killed."""
    return {way: run for way, run in results.items() if run is not None}


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


def load_bars(usual: Results, fitting: Results, beyond: Results) -> list[Verdict]:
    """Return the bars of the three loads, as far as their ways were measured."""
    bars = []
    runs = ended(usual)
    ours = {(way.mbit, way.zswap): run for way, run in runs.items() if way.by == "netboot"}
    ratios = [
        ours[way.mbit, way.zswap].total / run.total
        for way, run in runs.items()
        if way.by == "nbd-client" and (way.mbit, way.zswap) in ours
    ]
    if ratios:
        bars.append(
            Verdict("worst of all: s / nbd-client's", max(ratios), PEER_BAR, at_least=False)
        )
    small = ended(fitting)
    if BARRED in small and ZRAM in small:
        ratio = small[BARRED].total / small[ZRAM].total
        name = f"set that fits zram, {BARRED.title}: s / zram's"
        bars.append(Verdict(name, ratio, ZRAM_BAR, at_least=False))
    tried = [
        run
        for results in (usual, fitting, beyond)
        for way, run in results.items()
        if way.by == "netboot"
    ]
    if tried:
        killed = sum(run is None for run in tried)
        bars.append(Verdict("netboot's loads that ran out of memory", killed, 0, at_least=False))
    if ours:
        stall = max(run.stall for run in ours.values())
        bars.append(Verdict("longest stall without a fault, s", stall, STALL_BAR, at_least=False))
    return bars


COLUMNS = (
    *("write", "read", "scattered", "programs", "total", "longest stall"),
    *("PSI memory", "PSI io", "MiB out", "in", "refaults"),
)


def table(results: Results, about: str) -> str:
    """Return a Markdown table of one load. ``about`` says which one, and stands over the names."""
    lines = [f"| {about} | {' | '.join(COLUMNS)} |", f"|---|{'--:|' * len(COLUMNS)}"]
    lines += [f"| {way.title} | {' | '.join(_cells(run))} |" for way, run in results.items()]
    return "\n".join(lines)


def _cells(run: Run | None) -> list[str]:
    if run is None:
        return ["OOM killer", *[""] * (len(COLUMNS) - 1)]
    parts = (run.write, run.read, run.scattered, run.touched, run.total)
    moved = (run.out_mib, run.in_mib, run.refault_mib)
    return [
        *(f"{part:.1f} s" for part in parts),
        f"{run.stall:.2f} s",
        *(f"{pressure:.1f} s" for pressure in (run.memory, run.io)),
        *(f"{mib:.0f}" for mib in moved),
    ]


def claims(results: Results) -> str:
    """Return a table for the claim of 1997 that network swap beats a local disk, by pairs."""
    lines = [
        "| netboot | against | sequential | scattered | programs | all |",
        "|---|---|---|---|---|---|",
    ]
    runs = ended(results)
    for ours in (way for way in runs if way.by == "netboot"):
        for disk in (way for way in runs if way.disk and way.zswap == ours.zswap):
            mine, other = runs[ours], runs[disk]
            ratios = (
                (other.write + other.read) / (mine.write + mine.read),
                other.scattered / mine.scattered,
                other.touched / mine.touched,
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


def details(results: Mapping[Way, Sequence[Run | None]]) -> list[dict[str, Any]]:
    """Return all figures of one load for the JSON report; a run that was killed is None."""
    return [
        {**asdict(way), "runs": [run and asdict(run) for run in runs]}
        for way, runs in results.items()
    ]
