"""A PC under a memory load with several ways to swap: ``python -m bench.client [--quick]``.

Each way to swap is one boot of a virtual PC and some runs of the lab's load. Three ways (netboot,
zram alone, and zram in front of the network) also have a load that zram can hold and one that no RAM
can hold. Seven further boots measure the time from the link to swap. A load that the OOM killer ends
is a result. It prints tables and the result of each bar, and writes JSON and an SVG plot. The exit
status is 1 if a bar is missed. It needs root. Conditions: docs/measurements/client.md.
"""

import asyncio
import json
import multiprocessing
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from bench import guest, settings, ways
from bench.machine import versions
from bench.plot import seconds_svg
from bench.report import finish, parser, publish, tell
from bench.ways import BARRED, MIB, TIERS, WAYS, ZRAM, Load, Run, Way
from netboot.cli.show import BuildProgress
from netboot.images import build as images
from netboot.images.build import Built
from netboot.lab import machine, network
from netboot.lab.machine import console_tail
from netboot.lab.rig import Classroom, Lesson
from netboot.profile import file as profile_file
from netboot.profile.processors import AMD64

VERSIONS = {
    "qemu": ("qemu-system-x86_64", "--version"),
    "nbdkit": ("nbdkit", "--version"),
    "nbd-client": ("nbd-client", "-V"),
}
PROJECT = Path(__file__).parent.parent
PROFILE = PROJECT / "profiles/lab.yaml"
MEMORY = 128  # MiB
# As large as the RAM, half of which is for programs. A page compresses to a third.
LOAD = Load(MEMORY * MIB, scattered=3000, pack=3, touches=10_000)
# The programs' RAM (80 MiB) holds it, compressed: a third of it with zram, and what is in use.
FITTING = Load(MEMORY * MIB * 3 // 4, scattered=3000, pack=3, touches=10_000)
# No RAM holds it, compressed or not.
BEYOND = Load(MEMORY * MIB * 3 // 2, scattered=1000, pack=1, touches=1000)
SWAP_BYTES = 256 * MIB
BOOT_SECONDS = 480.0  # a limit, also for a busy machine
ATTACHES = 7  # a single boot may be slow if another program uses the CPU
NBDKIT_PORT = 10999
QUEUE_BYTES = 8 * MIB  # of the limited link: more than TCP has in flight, so no packet is lost


def isolated(body: Callable[[Path], Any]) -> Any:
    """Run ``body`` in namespaces of its own; return its result (JSON). Raises RuntimeError."""
    with tempfile.TemporaryDirectory(prefix="netboot-bench-") as name:
        answer = Path(name) / "answer.json"

        def run() -> int:
            answer.write_text(json.dumps(body(Path(name))))
            return 0

        context = multiprocessing.get_context("fork")
        process = context.Process(target=network.run_isolated, args=(run,))
        process.start()
        process.join()
        if not answer.exists():
            raise RuntimeError(f"a boot failed, status {process.exitcode}")
        return json.loads(answer.read_text())


def limit(tap: str, mbit: int) -> None:
    """Put a switch between PC and room that limits both directions to ``mbit``."""
    network.ip("link", "add", "narrow0", "type", "bridge", "forward_delay", "0")
    network.ip("link", "set", "narrow0", "up")
    network.ip("link", "add", "narrow1", "type", "veth", "peer", "name", "narrow2")
    for link, bridge in (("narrow1", "narrow0"), ("narrow2", network.BRIDGE), (tap, "narrow0")):
        network.ip("link", "set", link, "master", bridge, "up")
    for link in ("narrow1", "narrow2"):
        words = f"qdisc add dev {link} root tbf rate {mbit}mbit burst 128kb limit {QUEUE_BYTES}"
        subprocess.run(["tc", *words.split()], check=True)


def disk(way: Way) -> tuple[str, ...]:
    """Return QEMU's arguments for the disk of a way, if it has one. The disk is in memory."""
    if way.disk is None:
        return ()
    path = network.PRIVATE_TMPFS / "bench.disk"
    with path.open("wb") as file:
        file.truncate(SWAP_BYTES)
    drive = f"if=none,id=d0,format=raw,file={path}"
    if way.disk.requests:
        drive += f",throttling.iops-total={way.disk.requests}"
    if way.disk.bytes_:
        drive += f",throttling.bps-total={way.disk.bytes_}"
    return ("-drive", drive, "-device", "virtio-blk-pci,drive=d0")


def arguments(way: Way, runs: int, load: Load) -> str:
    """Return the kernel arguments for the hook bench/guest/60-bench."""
    how = {
        "netboot": "agent",
        "nbd-client": f"nbd:{network.SERVER.ip}:{NBDKIT_PORT}",
        "disk": f"disk:{int(way.disk is not None and way.disk.rotational)}",
        "zram": "zram",
        "zram, nbd-client": f"zram+nbd:{network.SERVER.ip}:{NBDKIT_PORT}",
    }[way.by]
    words = [f"netboot.bench={how}", f"netboot.bench_load={runs}:{load.words}"]
    words += ["netboot.bench_zswap=1"] * way.zswap + ["netboot.bench_tuned=1"] * way.tuned
    words += [f"netboot.bench_kernel={','.join(way.kernel)}"] * bool(way.kernel)
    return " ".join([*words, way.words]).strip()


async def boot(lesson: Lesson, way: Way | None = None) -> Classroom:
    """Boot a PC to the lesson's stage. Raises RuntimeError if the PC does not reach it."""
    room = Classroom(lesson)
    async with room.open():
        if way is not None and way.by.endswith("nbd-client"):
            words = ["nbdkit", "--foreground", "-i", str(network.SERVER.ip)]
            words += ["-p", str(NBDKIT_PORT), "memory", str(SWAP_BYTES)]
            await asyncio.create_subprocess_exec(*words)
        await room.power_on()
        (seat,) = room.seats.values()
        if way is not None and way.mbit:
            limit(seat.machine.tap, way.mbit)
        await room.wait()
    if not room.ok:
        tail = "\n".join(console_tail(seat.machine.console, 20))
        raise RuntimeError(f"{room.server_failure or seat.failure}\n{tail}")
    return room


def measure(
    way: Way, runs: int, load: Load, built: Path, initrds: Sequence[Path]
) -> list[dict[str, Any]]:
    """Return the PC's reports of the runs of one boot. Raises ValueError for another swap."""

    def body(folder: Path) -> list[dict[str, Any]]:
        size = SWAP_BYTES // MIB if way.by == "netboot" else 0
        lesson = Lesson(
            PROFILE,
            built,
            folder,
            memory=MEMORY,
            until="bench:done",
            timeout=BOOT_SECONDS,
            arguments=arguments(way, runs, load),
            settings=(
                f"swap.size={size}MiB" if size else "swap.size=0",
                f"swap.zswap.enabled={'yes' if way.zswap else 'no'}",
                *way.profile,
            ),
            initrds=tuple(initrds),
            devices=(*disk(way), *(("-cpu", way.cpu) if way.cpu else ())),
        )
        room = asyncio.run(boot(lesson, way))
        (seat,) = room.seats.values()
        return [event.data for event in seat.events if event.stage in ("bench:swap", "bench:run")]

    reports: list[dict[str, Any]] = isolated(body)
    ways.check_swap(way, reports.pop(0))
    return reports


def attach_times(built: Path) -> tuple[float, float, float]:
    """Return milliseconds of guest time in one boot, see ``ways.attach_times``."""

    def body(folder: Path) -> str:
        trace = "trace_event=syscalls:sys_enter_swapon tp_printk"
        lesson = Lesson(PROFILE, built, folder, firmware=("uefi",), arguments=trace)
        (seat,) = asyncio.run(boot(lesson)).seats.values()
        return seat.machine.console.read_text(errors="replace")

    return ways.attach_times(isolated(body))


Measure = Callable[[Way, int, Load], list[Run | None]]


@contextmanager
def prepared(kernel: str) -> Iterator[tuple[Built, Measure]]:
    """Build what PCs boot, with this ``boot.kernel``; yield it, and a function for a way's runs."""
    cache = images.default_cache()
    profile = profile_file.load(PROFILE, [f"boot.kernel={kernel}"])
    with tempfile.TemporaryDirectory() as name:
        with BuildProgress() as progress:
            built = images.build(profile, Path(name), cache, progress)
            extra = guest.build_image(profile.boot.kernel_for(AMD64), cache, progress)
        initrds = (images.build_load_image(cache), extra)

        def runs_of(way: Way, count: int, load: Load) -> list[Run | None]:
            runs = [
                ways.parse_run(data) for data in measure(way, count, load, built.folder, initrds)
            ]
            shown = ", ".join(f"{run.total:.1f} s" if run else "out of memory" for run in runs)
            tell(f"{way.title}, {load.bytes_ // MIB} MiB: {shown}")
            return runs

        yield built, runs_of


def run_settings(wanted: Sequence[Way], kernel: str, quick: bool, folder: Path) -> int:
    """Measure settings, print their tables, write ``client-settings.json``. No bar is missed.

    The rows take turns, so that all of them have their share of a busy time of the machine. The
    smaller load is for settings of zswap, which can hold much of it.
    """
    results: dict[str, dict[Way, list[Run | None]]] = {}
    with prepared(kernel) as (built, runs_of):
        version = built.manifest["processors"][AMD64.name]["kernel"]
        rows = [way for way in wanted if settings.fits(way, version)]
        pool = [way for way in rows if way in settings.POOL]
        loads = {
            f"as large as the RAM, Linux {version}": (LOAD, rows),
            f"three quarters of the RAM, Linux {version}": (FITTING, pool),
        }
        for _ in range(1 if quick else 3):
            for name, (load, ways_) in loads.items():
                for way in ways_:
                    found = results.setdefault(name, {})
                    found[way] = [*found.get(way, []), *runs_of(way, 1, load)]
    return publish(
        folder,
        "client-settings",
        [],
        tables=[settings.table(each, name) for name, each in results.items()],
        details={name: ways.details(each) for name, each in results.items()},
        about={"versions": versions(VERSIONS)},
    )


def run(wanted: Sequence[Way], kernel: str, quick: bool, folder: Path) -> int:
    """Measure, print, write ``client.json`` and ``.svg``; return the number of missed bars."""
    usual, fitting, beyond = {}, {}, {}
    with prepared(kernel) as (built, runs_of):
        attaches = [attach_times(built.folder) for _ in range(1 if quick else ATTACHES)]
        tell(f"link to swap, header, header and swapon, ms: {attaches}")
        for way in wanted:
            usual[way] = runs_of(way, 1 if quick else way.runs, LOAD)
        for way in (each for each in (BARRED, ZRAM, TIERS) if each in wanted):
            fitting[way] = runs_of(way, 1 if quick else way.runs, FITTING)
            beyond[way] = runs_of(way, 1, BEYOND)
    loads = {"ways": usual, "fitting": fitting, "beyond": beyond}
    attach, header, _ = zip(*attaches, strict=True)
    medians = [
        {way: ways.median_of(runs) for way, runs in results.items()} for results in loads.values()
    ]
    missed = publish(
        folder,
        "client",
        [*ways.attach_bars(attach, header), *ways.load_bars(*medians)],
        tables=[
            ways.table(medians[0], "as large as the RAM"),
            ways.claims(medians[0]),
            ways.table(medians[1], "three quarters of the RAM"),
            ways.table(medians[2], "1.5 times the RAM, does not compress"),
        ],
        details={
            **{name: ways.details(results) for name, results in loads.items()},
            "attach_ms": attaches,
        },
        about={"versions": versions(VERSIONS)},
    )
    (folder / "client.svg").write_text(
        seconds_svg({way.title: run.total for way, run in ways.ended(medians[0]).items()})
    )
    return missed


def main() -> NoReturn:
    """Run the command line. Exits with status 1 if a bar is missed."""
    options = parser("client", __doc__, "each way once")
    help_ = "rows whose title contains this; may be given several times"
    options.add_argument("--only", action="append", help=help_)
    help_ = "netboot with one setting changed in each row, instead of the ways"
    options.add_argument("--settings", action="store_true", help=help_)
    help_ = "the PCs' boot.kernel, such as linux-image-amd64/trixie"
    options.add_argument("--kernel", default=AMD64.kernel, help=help_)
    given = options.parse_args()
    body, rows = (run_settings, settings.SETTINGS) if given.settings else (run, WAYS)
    wanted = [way for way in rows if any(part in way.title for part in given.only or [""])]

    def measured() -> int:
        network.check_root()
        machine.check_programs(["uefi"])
        return body(wanted, given.kernel, given.quick, given.output.resolve())

    finish(measured)


if __name__ == "__main__":
    main()
