"""A whole room against one server: PCs boot and swap at once, and a probe measures fairness.

All virtual PCs are switched on together, each with a checksummed load of all the RAM that its
kernel leaves. While they swap, one more client reads 4 KiB pages at depth 1. Its latency, compared
with an idle server, shows how fair the server is. But most of it is the wait for a CPU, which the
room's emulators use as well. So the probe is repeated on an idle server with equally busy CPUs: as
many endless loops run beside it as emulators were runnable while the room swapped.
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

from bench import fio
from bench.rows import Row
from netboot.boot import ticket
from netboot.boot.events import BootEvent
from netboot.images import build as images
from netboot.lab import network
from netboot.lab.rig import STATE_FOLDER, Classroom, Lesson, SeatReport
from tests import ROOT

SECONDS = 600.0  # for all PCs
LOAD = 0.6  # of the RAM: all that the kernel leaves, so each page is swapped out and in about once
PROBE_MAC, PROBE_BYTES = "52:54:00:78:00:01", 64 << 20
PROBE = Row("randread", 4096, 1, 1)
PROBE_SECONDS = 15.0
FAIR = 3.0  # p99 beside the room over p99 of the idle server
STARVED = 2.0  # the slowest PC's load over the median's


@dataclass(frozen=True, slots=True)
class Seat:
    """One PC: seconds from power-on to swap and to userland, of its load, of its longest stall."""

    number: int
    swap: float
    userland: float
    load: float
    longest_stall: float
    wrong: int


@dataclass(frozen=True, slots=True)
class Fairness:
    """The probe's p99 in microseconds, and the number of runnable emulators beside it."""

    beside_us: float
    idle_us: float
    runnable: float


def probe_uri() -> str:
    """Fill a lease of its own with pages; return its URI."""
    secret = (STATE_FOLDER / "secret").read_bytes()
    session = ticket.begin(secret, PROBE_MAC, bytes(ticket.NONCE_BYTES), time.time())
    url = f"http://{network.SERVER.ip}:8080/lease/{session}?ram={PROBE_BYTES}&fresh=1"
    with urllib.request.urlopen(url, timeout=30) as answer:
        words = dict(word.split("=", 1) for word in answer.read().decode().split())
    name = "seat-" + PROBE_MAC.replace(":", "")
    uri = f"nbd://{network.SERVER.ip}:10809/{name}@{words['token']}"
    fio.fill(uri, PROBE_BYTES)
    return uri


def runnable(pid: int) -> int:
    """Count the threads of a process that run or wait for a CPU."""
    states = []
    for thread in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):
            states.append(thread.read_text().rpartition(") ")[2][0])
    return states.count("R")


def probe(uri: str, emulators: Sequence[int]) -> tuple[float, float]:
    """Return p99 in microseconds and the mean number of runnable ``emulators`` meanwhile."""
    words = fio.command(uri, PROBE, PROBE_BYTES, PROBE_SECONDS, cpu=None)
    waiting: list[int] = []
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd="/") as process:
        while process.poll() is None:
            time.sleep(0.5)
            waiting.append(sum(map(runnable, emulators)))
        assert process.stdout is not None
        said = process.stdout.read()
    return fio.parse(json.loads(said[said.index("{") :])).p99_us, mean(waiting)


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Run ``count`` endless loops."""
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


async def hold(lesson: Lesson) -> tuple[Classroom, Fairness | None]:
    """Run the lesson, with the probe while all PCs swap and again after they are off."""
    swapping = asyncio.Event()

    def heard(_: SeatReport, event: BootEvent) -> None:
        if event.stage in ("userland", "load:verified") or event.stage.startswith("failed:"):
            sys.stderr.write(f"{time.strftime('%H:%M:%S')} {event.seat} {event.stage}\n")
        if all(seat.first("load:start") or seat.failure for seat in room.seats.values()):
            swapping.set()

    room, fairness = Classroom(lesson, heard), None
    async with room.open():
        uri = await asyncio.to_thread(probe_uri)
        await room.power_on()
        ended = asyncio.create_task(room.wait())
        begun = asyncio.create_task(swapping.wait())
        await asyncio.wait((ended, begun), return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            pids = [seat.power.process.pid for seat in room.seats.values() if seat.power]
            beside, wanting = await asyncio.to_thread(probe, uri, pids)
            await ended
            with busy(round(wanting)):
                idle, _ = await asyncio.to_thread(probe, uri, ())
            fairness = Fairness(beside, idle, wanting)
        begun.cancel()
    return room, fairness


def seats(room: Classroom) -> list[Seat]:
    """Return the PCs that are done."""
    found = []
    for report in room.seats.values():
        stages = {event.stage: event for event in report.events}
        if report.failure or "load:verified" not in stages:
            continue
        data = stages["load:verified"].data
        found.append(
            Seat(
                report.machine.number,
                report.seconds(stages["swap"]),
                report.seconds(stages["userland"]),
                float(data["seconds"]),
                float(data["longest_stall"]),
                int(data["wrong"]),
            )
        )
    return found


def judged(room: Classroom, fairness: Fairness | None) -> dict[str, Any]:
    """Return the report as JSON-ready values; ``failures`` is empty after a success."""
    done = seats(room)
    failures = [
        f"{seat.machine.mac}: {seat.failure}" for seat in room.seats.values() if seat.failure
    ]
    if room.server_failure:
        failures.append(room.server_failure)
    report: dict[str, Any] = {"seats": [asdict(seat) for seat in done], "failures": failures}
    if len(done) == len(room.seats):
        loads = [seat.load for seat in done]
        report["slowest"] = max(loads) / median(loads)
        if report["slowest"] > STARVED:
            failures.append(f"one PC took {report['slowest']:.1f} times as long as the median")
    if fairness is None:
        failures.append("the PCs never swapped all at once")
    else:
        report["fairness"] = asdict(fairness)
        ratio = report["p99_ratio"] = fairness.beside_us / fairness.idle_us
        if ratio > FAIR:
            failures.append(f"a 4 KiB read takes {ratio:.1f} times as long (p99) beside the room")
    return report


def table(report: dict[str, Any]) -> str:
    """Return the report as text."""
    verdict = "; ".join(report["failures"]) or "All as it should be."
    lines = [f"{len(report['seats'])} PCs. {verdict}", ""]
    lines += ["| of all PCs | first | median | last |", "|---|--:|--:|--:|"]
    rows = {
        "power-on to swap attached": "swap",
        "power-on to userland": "userland",
        "the load": "load",
        "longest stall over one page": "longest_stall",
    }
    for name, key in rows.items() if report["seats"] else ():
        values = sorted(seat[key] for seat in report["seats"])
        lines.append(
            f"| {name} | {values[0]:.1f} s | {median(values):.1f} s | {values[-1]:.1f} s |"
        )
    if "slowest" in report:
        lines += ["", f"The slowest load took {report['slowest']:.2f} times the median's time."]
    if "fairness" in report:
        fair = report["fairness"]
        lines.append(
            f"p99 of a 4 KiB read: {fair['beside_us']:.0f} us beside the room, "
            f"{fair['idle_us']:.0f} us of an idle server on CPUs as busy "
            f"({fair['runnable']:.0f} emulators that wanted to run): {report['p99_ratio']:.2f}."
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="made by 'netboot build'")
    parser.add_argument("--logs", type=Path, required=True)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--memory", type=int, default=120, help="MB")
    parser.add_argument("--table", action="store_true", help="Markdown instead of JSON")
    options = parser.parse_args()
    lesson = Lesson(
        ROOT / "profiles/lab.yaml",
        options.images.resolve(),
        options.logs.resolve(),
        clients=options.clients,
        memory=options.memory,
        load=LOAD,
        timeout=SECONDS,
        settings=("swap.size=1x",),  # promised to each PC; the load does not fill it
        initrds=(images.build_load_image(images.default_cache()),),
    )

    def body() -> int:
        report = judged(*asyncio.run(hold(lesson)))
        report |= {"memory": options.memory, "cpus": os.cpu_count()}
        sys.stdout.write((table(report) if options.table else json.dumps(report, indent=1)) + "\n")
        return 1 if report["failures"] else 0

    network.run_isolated(body)


if __name__ == "__main__":
    main()
