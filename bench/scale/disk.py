"""A disk store at the depth of its disk: ``python -m bench.scale.disk [--quick]``.

Eight seats (bench/nbd_load.c) read 4 KiB at depth 32 from a disk store whose pages are not in the page
cache, as far as no page is read twice. fio reads the same files with io_uring, past the cache. Both
are measured on the disk as it is, and on one of 20,000 reads a second, which is less than two CPUs can
serve. Then one seat reads beside another one whose disk takes a second for each read, in the same
worker. It needs root, and a cgroup of version 1 for block devices; it runs in namespaces of its own.
Conditions: docs/measurements/page-stores.md.
"""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import NoReturn

import bench
from bench import fio, load
from bench.machine import versions
from bench.report import OURS, Verdict, in_network, medians, parser, publish, tell
from bench.rows import Row
from bench.servers import Server, compile_c, running

SEATS, DEPTH = 8, 32
PACE = 20_000  # reads a second
SLOW_BYTES = 16 << 20
SHARE, BESIDE = 0.7, 2.0
AS_IT_IS, PACED = "as it is", f"{PACE:,} reads/s"
FOLDER = Path("/var/tmp")


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: reads a second of fio and of the store, and the server's CPU for each read."""

    fio_iops: float
    iops: float
    p99_us: float
    cpu_us: float


def verdicts(samples: dict[str, list[Sample]], idle: float, beside: float) -> list[Verdict]:
    """Return the bars."""
    found = []
    for kind, each in samples.items():
        middle = Sample(**medians(each))
        name = f"disk {kind}: reads/s of {SEATS} seats / fio with io_uring"
        found.append(Verdict(name, middle.iops / middle.fio_iops, SHARE, at_least=True))
    name = "a seat's p99 beside a read that takes 1 s / alone"
    return [*found, Verdict(name, beside / idle, BESIDE, at_least=False)]


def table(samples: dict[str, list[Sample]], idle: float, beside: float) -> str:
    """Return Markdown tables: medians of the runs."""
    lines = ["| disk | fio, reads/s | store, reads/s | p99, ms | server CPU, us a read |"]
    lines.append("|---|--:|--:|--:|--:|")
    for kind, each in samples.items():
        got = Sample(**medians(each))
        lines.append(
            f"| {kind} | {got.fio_iops:.0f} | {got.iops:.0f} | {got.p99_us / 1000:.1f} "
            f"| {got.cpu_us:.1f} |"
        )
    lines += ["", "| one seat, depth 1 | p99, us |", "|---|--:|"]
    lines += [f"| alone | {idle:.0f} |", f"| beside a read that takes 1 s | {beside:.0f} |"]
    return "\n".join(lines)


class Throttle:
    """A cgroup for block devices. Programs that this process starts while ``joined`` are in it."""

    def __init__(self, folder: Path) -> None:
        self._root = folder
        self._group = folder / f"netboot-bench-{os.getpid()}"

    def limit(self, device: int, reads: int) -> None:
        """Let the group read so many times in a second from a device; 0: without a limit."""
        text = f"{os.major(device)}:{os.minor(device)} {reads}"
        (self._group / "blkio.throttle.read_iops_device").write_text(text)

    @contextlib.contextmanager
    def joined(self) -> Iterator[None]:
        """Move this process into the group, and back."""
        (self._group / "cgroup.procs").write_text(str(os.getpid()))
        try:
            yield
        finally:
            (self._root / "cgroup.procs").write_text(str(os.getpid()))

    @contextlib.contextmanager
    def made(self) -> Iterator["Throttle"]:
        """Mount the cgroups in this mount namespace, and make the group."""
        words = ["mount", "-t", "cgroup", "-o", "blkio", "none", str(self._root)]
        subprocess.run(words, check=True)
        self._group.mkdir()
        try:
            yield self
        finally:
            self._group.rmdir()
            subprocess.run(["umount", str(self._root)], check=True)


def _many(options: Sequence[str], targets: Sequence[str], seconds: float) -> list[str]:
    """Return fio's command line: a job for each target, one reporting group."""
    words = ["fio", "--output-format=json", "--rw=randread", "--bs=4096"]
    words += ["--group_reporting", "--time_based", f"--runtime={seconds * 1000:.0f}ms"]
    words += ["--randrepeat=0", "--lat_percentiles=1", "--clat_percentiles=0", *options]
    for number, target in enumerate(targets):
        words += [f"--name=seat{number}", target]
    return words


def forget(files: Sequence[Path]) -> None:
    """Drop files from the page cache."""
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def sample(
    server: Server, program: Path, files: Sequence[Path], size: int, seconds: float
) -> Sample:
    """Return one run of fio on the files, and one of nbd_load through the server."""
    depth = f"--iodepth={DEPTH}"
    direct = ("--ioengine=io_uring", "--direct=1", depth, f"--size={size}")
    floor = fio.parse(fio.run(_many(direct, [f"--filename={path}" for path in files], seconds)))
    forget(files)
    row = Row("randread", 4096, DEPTH, 1)
    uris = [server.uri(export=_name(number)) for number in range(SEATS)]
    seats = [load.command(program, uri, row, size, seconds, cpu=None) for uri in uris]
    before = server.cpu_seconds()
    with ThreadPoolExecutor(SEATS) as pool:
        got = list(pool.map(load.run, seats))
    cpu_us = (server.cpu_seconds() - before) / sum(each.requests for each in got) * 1e6
    slowest = max(each.p99_us for each in got)
    return Sample(floor.iops, sum(each.iops for each in got), slowest, cpu_us)


def _name(number: int) -> str:
    return f"seat{number}"


def _page_files(folder: Path, size: int) -> list[Path]:
    return [each for each in folder.rglob("*") if each.is_file() and each.stat().st_size >= size]


def reads(
    folder: Path, throttle: Throttle, size: int, repetitions: int, seconds: float
) -> dict[str, list[Sample]]:
    """Measure the disk as it is, and paced."""
    pages = folder / "many"
    pages.mkdir()
    names = [_name(number) for number in range(SEATS)]
    device = folder.stat().st_dev
    samples: dict[str, list[Sample]] = {AS_IT_IS: [], PACED: []}
    program = compile_c(Path(bench.__file__).parent / "nbd_load.c", folder)
    with running(OURS, size, folder, exports=names, store=f"disk:{pages}") as server:
        for name in names:
            fio.fill(server.uri(export=name), size)
        files = _page_files(pages, size)
        for _ in range(repetitions):
            for kind, found in samples.items():
                throttle.limit(device, PACE if kind == PACED else 0)
                forget(files)
                found.append(sample(server, program, files, size, seconds))
                got = found[-1]
                tell(f"{kind}: fio {got.fio_iops:.0f}, store {got.iops:.0f}, {got.cpu_us:.1f} us")
        throttle.limit(device, 0)
    return samples


@contextlib.contextmanager
def slow_disk(folder: Path, throttle: Throttle) -> Iterator[Path]:
    """Yield a block device that the group may read once in a second."""
    backing = folder / "slow"
    backing.write_bytes(os.urandom(SLOW_BYTES))
    words = ["losetup", "--find", "--show", "--direct-io=off", str(backing)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    loop = Path(done.stdout.strip())
    try:
        throttle.limit(loop.stat().st_rdev, 1)
        yield loop
    finally:
        subprocess.run(["losetup", "--detach", str(loop)], check=True)


def beside_a_slow_read(
    folder: Path, throttle: Throttle, size: int, repetitions: int, seconds: float
) -> tuple[float, float]:
    """Return a seat's p99 in microseconds, alone and beside the slow disk's reader."""
    pages = folder / "two"
    pages.mkdir()
    quiet = Row("randread", 4096, 1, 1)
    idle, beside = [], []
    with (
        slow_disk(folder, throttle) as loop,
        running(
            OURS, size, folder, exports=("a",), workers=1, store=f"disk:{pages}", images={"b": loop}
        ) as server,
    ):
        fio.fill(server.uri(), size)
        files = _page_files(pages, size)
        reader = fio.command(server.uri(), quiet, size, seconds, cpu=None)
        # Its pages must not come with the first read.
        slow = fio.command(server.uri(export="b"), quiet, SLOW_BYTES, seconds + 2, cpu=None)
        for _ in range(repetitions):
            forget([*files, loop])
            idle.append(fio.parse(fio.run(reader)).p99_us)
            forget([*files, loop])
            with subprocess.Popen(slow, stdout=subprocess.DEVNULL) as other:
                beside.append(fio.parse(fio.run(reader)).p99_us)
                other.wait()
            tell(f"p99 alone {idle[-1]:.0f} us, beside a slow read {beside[-1]:.0f} us")
    return median(idle), median(beside)


def measure(*, quick: bool = False) -> tuple[list[Verdict], str, dict[str, object]]:
    """Measure; return the bars, the tables, and all runs. Needs root and namespaces of its own."""
    repetitions, seconds, size = (1, 2.0, 64 << 20) if quick else (5, 4.0, 256 << 20)
    with (
        tempfile.TemporaryDirectory(prefix="netboot-bench-", dir=FOLDER) as name,
        tempfile.TemporaryDirectory(prefix="netboot-bench-") as cgroups,
        Throttle(Path(cgroups)).made() as throttle,
        throttle.joined(),
    ):
        folder = Path(name)
        samples = reads(folder, throttle, size, repetitions, seconds)
        idle, beside = beside_a_slow_read(folder, throttle, size, repetitions, seconds)
    runs: dict[str, object] = {
        kind: [asdict(each) for each in found] for kind, found in samples.items()
    }
    details = {**runs, "idle_p99_us": idle, "beside_p99_us": beside}
    return verdicts(samples, idle, beside), table(samples, idle, beside), details


def run(folder: Path, *, quick: bool) -> int:
    """Measure, print, write ``scale-disk.json``; return the number of missed bars."""
    found, tables, details = measure(quick=quick)
    programs = {"fio": ("fio", "--version")}
    about = {"versions": versions(programs), "seats": SEATS, "depth": DEPTH, "quick": quick}
    return publish(folder, "scale-disk", found, tables=[tables], details=details, about=about)


def main() -> NoReturn:
    """Run the command line. Exits with status 1 if a bar is missed."""
    given = parser("scale.disk", __doc__, "once instead of five times, short runs").parse_args()
    folder = given.output.resolve()
    in_network(lambda: run(folder, quick=given.quick))


if __name__ == "__main__":
    main()
