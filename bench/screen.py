"""Diskless PCs until their page is on the screen: ``python -m bench.screen [--quick] [--only NAME]``.

Each row boots virtual PCs from a root image, and counts what they read of it and what they swap,
until the beacon ``screen:shown``. It builds the images of bench/images, prints a table and the result
of each bar, and writes JSON and a picture of each row. The same programs are also booted as LTSP would
do it (bench.peer). The exit status is 1 if a bar is missed. It needs root. Seconds depend on the
machine; bytes and requests hardly do.
"""

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any, NoReturn

from bench import peer, screens, web, wire
from bench.client import PROFILE, isolated
from bench.guest import HERE
from bench.machine import versions
from bench.report import finish, parser, publish, tell
from bench.screens import QUICK, ROWS, Row, Sample
from bench.seat import BASELINE_IMAGES, Boot
from netboot.boot import cpio
from netboot.cli.show import BuildProgress
from netboot.errors import AnswerError
from netboot.images import build as images
from netboot.images import initramfs
from netboot.lab import machine, network
from netboot.lab.machine import console_tail
from netboot.lab.pictures import SHOWN
from netboot.lab.rig import Classroom, Lesson, SeatReport
from netboot.profile import file as profile_file
from netboot.roots.library import Library

DEFINITIONS = Path(__file__).parent / "images"
BOOT_SECONDS = 600.0  # of an emulated PC that has too little memory
CLIENT_SECONDS = 120.0  # of each PC of a room: a core emulates one at a time
SETTLING_SECONDS = 30.0  # after the first program's window, in which others may not have opened yet
STILL_SECONDS = 180.0
TICKS = os.sysconf("SC_CLK_TCK")
WAITS = re.compile(rb"bench-waits: memory=(\d+) io=(\d+) refaults=(\d+)")
PRINTK = b"kernel.printk = 4 4 1 3\n"  # messages of a level below 4: errors too
KILLED = re.compile(rb"[Oo]ut of memory: Killed process")


def settings(row: Row) -> tuple[str, ...]:
    """Return the profile's settings of a row."""
    swap = "0"
    if row.swap == "network":
        swap = "4x" if row.clients == 1 else "2x"  # a room has to fit into the server's RAM
    page = (f"seat.url=http://{network.SERVER.ip}:{web.PORT}/",) if row.page else ()
    return ("root.kind=image", f"root.image={row.image}", f"swap.size={swap}", *page)


def services(row: Row) -> list[str]:
    """Return the services of bench/guest that a row's PCs have.

    bench-waits reads a program every 2 s. It does not run where a bar counts what a PC reads.
    """
    return [*["bench-waits"] * (row.mb is None), *["bench-zram"] * (row.swap == "zram")]


def guest_image(folder: Path, names: Sequence[str]) -> Path:
    """Write an initrd with services, a script and a unit for each; return its path.

    It also has the kernel tell of killed programs: the images show only what is more serious.
    """
    units = "userland/etc/systemd/system"
    records = [cpio.file("userland/etc/sysctl.d/90-bench.conf", PRINTK)]
    for name in names:
        unit = (HERE / f"guest/{name}.service").read_bytes()
        records += [
            cpio.file(f"{units}/{name}.service", unit),
            cpio.symlink(f"{units}/sysinit.target.wants/{name}.service", f"../{name}.service"),
            cpio.file(f"userland/etc/{name}", (HERE / "guest" / name).read_bytes()),
        ]
    path = folder / "guest.img"
    path.write_bytes(initramfs.compressed(cpio.archive(records)))
    return path


def measure(row: Row, built: Path, picture: Path) -> Sample:
    """Boot the PCs of a row in namespaces of their own. Raises RuntimeError if the server fails."""

    def body(folder: Path) -> dict[str, Any]:
        lesson = Lesson(
            PROFILE,
            built,
            folder,
            clients=row.clients,
            memory=row.memory,
            until=SHOWN,
            capture=True,
            sent_only=True,
            screen=True,
            timeout=max(BOOT_SECONDS, CLIENT_SECONDS * row.clients),
            settings=settings(row),
            initrds=(guest_image(folder, services(row)),),
        )
        with (
            web.serve(HERE / "page", folder / "page.log") if row.page else contextlib.nullcontext()
        ):
            return asdict(asyncio.run(_boot(Classroom(lesson), row, picture)))

    return Sample(**isolated(body))


async def _boot(room: Classroom, row: Row, picture: Path) -> Sample:
    reports = list(room.seats.values())
    async with room.open():
        began = time.time()
        await room.power_on()
        await room.wait()
        if room.server_failure:
            raise RuntimeError(room.server_failure)
        await _look(reports[0], row, picture)
        ended = time.time()
        server_cpu = sum(map(_cpu_seconds, room.server_processes()))
        wire_mb = sum(_to_pc(report) for report in reports) / 1e6
    for report in reports:
        if report.failure:
            tail = "\n".join(console_tail(report.machine.console, 5))
            tell(f"  pc{report.machine.number}: {report.failure}\n{tail}")
    shown = [event for report in reports if (event := report.first(SHOWN)) is not None]
    last = max(event.when for event in shown) if len(shown) == len(reports) else ended
    return _sample(row, reports, len(shown), last - began, wire_mb, server_cpu)


async def _look(report: SeatReport, row: Row, picture: Path) -> None:
    """Take a picture of the first PC, and wait until it is still if the row wants that."""
    if report.power is None:
        return
    if row.until_still:
        await asyncio.sleep(SETTLING_SECONDS)
    with contextlib.suppress(AnswerError):  # it has switched itself off
        await report.power.screen.still_picture(picture, STILL_SECONDS if row.until_still else 0)


def _sample(
    row: Row,
    reports: Sequence[SeatReport],
    shown: int,
    seconds: float,
    wire_mb: float,
    server_cpu: float,
) -> Sample:
    stage = "" if row.until_still else SHOWN
    traffic = [wire.read(report.machine.pcap, stage) for report in reports]
    consoles = [report.machine.console.read_bytes() for report in reports]
    told = [WAITS.findall(console) for console in consoles]
    waits = [tuple(map(int, lines[-1])) for lines in told if lines]
    common = [
        wire.on_others(each, [other for other in traffic if other is not each]) for each in traffic
    ]
    return Sample(
        shown=shown,
        seconds=seconds,
        image_requests=mean(each.image.requests for each in traffic),
        image_mb=mean(each.image.bytes for each in traffic) / 1e6,
        again_mb=mean(each.image.again for each in traffic) / 1e6,
        out_mb=mean(each.swapped_out.bytes for each in traffic) / 1e6,
        in_mb=mean(each.swapped_in.bytes for each in traffic) / 1e6,
        killed=sum(len(KILLED.findall(console)) for console in consoles),
        wire_mb=wire_mb,
        server_cpu=server_cpu,
        refault_mb=_mean([each[2] * wire.BLOCK for each in waits]),
        memory=_mean([each[0] for each in waits]),
        io=_mean([each[1] for each in waits]),
        filled_mb=mean(each.filled for each in traffic) * wire.BLOCK / 1e6,
        common_mb=mean(common) * wire.BLOCK / 1e6,
    )


def _mean(values: Sequence[int]) -> float | None:
    """Return the mean of millionths; None if no PC told any."""
    return mean(values) / 1e6 if values else None


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS  # utime, stime (proc(5))


def _to_pc(report: SeatReport) -> int:
    path = Path(f"/sys/class/net/{report.machine.tap}/statistics/tx_bytes")
    return int(path.read_text()) if path.exists() else 0


def build_images(rows: Sequence[Row]) -> float | None:
    """Build the images, as far as there is something new, so that they have the peer's kernel.

    Return the seconds of one more build, with nothing new.
    """
    names = list(dict.fromkeys(row.image for row in rows))
    for name in names:
        _build(name)
    if not names:
        return None
    began = time.monotonic()
    _build(names[0])
    return time.monotonic() - began


def _build(name: str) -> None:
    tell(f"netboot image build {name}")
    path = DEFINITIONS / f"{name}.yaml"
    subprocess.run([sys.executable, "-m", "netboot", "image", "build", str(path)], check=True)


def measure_peer() -> Boot | None:
    """Boot the peer with the same image. Return None if its page does not come."""
    subprocess.run(["tools/baseline-images", str(BASELINE_IMAGES)], check=True)
    root = peer.squashfs_of(Library().find(screens.BESIDE_PEER.image))
    try:
        return peer.measure(root, screens.BESIDE_PEER.memory, BOOT_SECONDS)
    except RuntimeError as error:
        tell(f"the peer: {error}")
        return None


def run(rows: Sequence[Row], built: Path, folder: Path, build_seconds: float | None) -> int:
    """Measure, print, write ``screen.json`` and pictures; return the number of missed bars."""
    folder.mkdir(parents=True, exist_ok=True)
    results = {}
    for number, row in enumerate(rows, 1):
        name = re.sub("[^a-z0-9]+", "-", row.title.lower())
        results[row] = got = measure(row, built, folder / f"screen-{name}.png")
        said = f"{got.shown}/{row.clients} shown, {got.seconds:.0f} s, {got.image_mb:.1f} MB"
        tell(f"{number}/{len(rows)} {row.title}: {said}, {got.image_requests:.0f} requests")
    beside = measure_peer() if screens.BESIDE_PEER in rows else None
    program = machine.KINDS["bios"].program
    about = {
        "versions": versions({"qemu": (program, "--version")}),
        "accelerator": machine.accelerator(program),
    }
    return publish(
        folder,
        "screen",
        screens.verdicts(results, build_seconds, beside),
        tables=[screens.table(results, beside)],
        details=screens.details(results, beside),
        about=about,
    )


def main() -> NoReturn:
    """Run the command line. Exits with status 1 if a bar is missed."""
    options = parser("screen", __doc__, "only the rows with a bar for what is read of the image")
    options.add_argument("--only", default="", help="only rows whose title contains this")
    given = options.parse_args()
    rows = [row for row in (QUICK if given.quick else ROWS) if given.only in row.title]

    def measured() -> int:
        network.check_root()
        machine.check_programs(["bios"])
        build_seconds = build_images(rows)
        with tempfile.TemporaryDirectory() as name:
            with BuildProgress() as progress:
                profile = profile_file.load(PROFILE, [])
                images.build(profile, Path(name), images.default_cache(), progress)
            return run(rows, Path(name), given.output.resolve(), build_seconds)

    finish(measured)


if __name__ == "__main__":
    main()
