"""Faults against a PC that swaps without pause: what it must survive, and how long it stalls.

One virtual PC has a checksummed load of twice its RAM, and one fault follows the other. All chance
comes from a seed, which is printed: equal seeds give equal faults, order, lengths and pauses. The
report is JSON, or rows of docs/measurements/reliability.md.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from netboot.boot.events import BootEvent
from netboot.images import build as images
from netboot.lab import network
from netboot.lab.rig import STATE_FOLDER, Classroom, Lesson, SeatReport
from tests import ROOT
from tests.vm.faults import (
    BOOT,
    CELLS,
    FAULTS,
    LEASE_SECONDS,
    LONG,
    LONG_MIRROR,
    MIRROR,
    SHORT,
    Scene,
    lose_pages,
)

ENDLESS_ROUNDS = 9999
BOOT_SECONDS, RECOVERY_SECONDS, ROUND_SECONDS, END_SECONDS = 120, 120, 240, 30
PAUSE_SECONDS = 4.0  # at most, before a fault
QUIET_SECONDS = 8.0  # after a fault: a stall is reported when it is over
BAR_SECONDS = 5.0  # a program may stall while the server is away, and for this longer
BLUR_SECONDS = 2.0  # between the PC's clock, the beacon's path and our clock


@dataclass(slots=True)
class Injury:
    """One fault: ``begun`` by the server's clock, its length and the stalls after it in seconds."""

    fault: str
    begun: float
    seconds: float = 0.0
    reattached: float | None = None  # as the agent counts
    longest_stall: float = 0.0


@dataclass(slots=True)
class Ward:
    """The classroom under torture, and the record of its PC."""

    lesson: Lesson
    chance: random.Random
    doomed: bool = False  # the PC may fail
    injuries: list[Injury] = field(default_factory=list)
    room: Classroom = field(init=False)
    seat: SeatReport = field(init=False)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.room = Classroom(self.lesson, self._heard)
        (self.seat,) = self.room.seats.values()

    @property
    def scene(self) -> Scene:
        return Scene(self.room, self.seat, self.chance)

    def count(self, stage: str) -> int:
        return sum(event.stage == stage for event in self.seat.events)

    async def boot(self, *, fault: str = "") -> None:
        """Boot, and wait until the whole memory load is written.

        The fault is inflicted between the PC's script and its lease.
        """
        await self.room.power_on()
        if fault:
            await self.until(lambda: self.count("http") > 0, BOOT_SECONDS, "script")
            await self.inflict(fault)
        await self.until(lambda: self.count("load:written") > 0, BOOT_SECONDS, "boot")

    async def until(self, done: Callable[[], bool], seconds: float, name: str) -> None:
        """Wait for ``done``. Raises AssertionError with its name on a timeout or a failed PC."""
        try:
            async with asyncio.timeout(seconds):
                while not done():
                    assert self.doomed or not self.seat.failure, f"{name}: {self.seat.failure}"
                    assert not self.room.server_failure, f"{name}: {self.room.server_failure}"
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"{name}: not in {seconds:.0f} s") from None

    async def inflict(self, name: str) -> None:
        """Inflict one fault, and wait for the recovery from it."""
        fault = FAULTS[name]
        await asyncio.sleep(self.chance.uniform(0, PAUSE_SECONDS))
        told = {stage: self.count(stage) for stage in fault.tells}
        self.injuries.append(Injury(name, time.time()))
        _note(name)
        await fault.act(self.scene)
        self.injuries[-1].seconds = round(time.time() - self.injuries[-1].begun, 2)
        if fault.loses:
            await self.until(
                lambda: all(self.count(stage) > before for stage, before in told.items()),
                RECOVERY_SECONDS,
                f"{name}: told {', '.join(told)}",
            )
        await asyncio.sleep(QUIET_SECONDS)
        if fault.loses is False:
            assert self.count("agent:lost") == told["agent:lost"], (
                f"{name}: the PC lost its connections"
            )

    async def verify(self, rounds: int) -> None:
        """Wait until every page is verified after the last fault; two rounds write all again."""
        rounds += self.count("load:round")  # the first round to end had begun before
        await self.until(
            lambda: self.count("load:round") >= rounds, 2 * ROUND_SECONDS, "verification"
        )

    def _heard(self, _: SeatReport, event: BootEvent) -> None:
        if event.stage.startswith(("agent:", "address:", "load:stall", "load:round", "failed:")):
            _note(f"    {event.stage} {event.message}")
        if event.stage == "load:stall":
            self._stalled(event.when, float(event.data["seconds"]))
        if event.stage in ("agent:reattached", "agent:renewed") and self.injuries:
            self.injuries[-1].reattached = float(event.data["seconds"])
        self._news.set()

    def _stalled(self, when: float, seconds: float) -> None:
        before = [i for i in self.injuries if i.begun < when - seconds + BLUR_SECONDS]
        if before:
            before[-1].longest_stall = max(before[-1].longest_stall, seconds)

    def report(self, failure: str) -> dict[str, Any]:
        """Return the report as JSON-ready values; ``failures`` is empty after a success."""
        rounds = [event.data for event in self.seat.events if event.stage == "load:round"]
        wrong = sum(int(data["wrong"]) for data in rounds)
        failures = [failure] if failure else []
        failures += [f"{wrong} wrong pages"] if wrong else []
        for injury in self.injuries:
            away = FAULTS[injury.fault].away
            late = injury.longest_stall - injury.seconds * bool(away)
            if away is not None and late > BAR_SECONDS:
                failures.append(f"{injury.fault}: a stall {late:.1f} s longer than the server's")
        failures += self._failures_of_address()
        injuries = [asdict(injury) for injury in self.injuries]
        return {"failures": failures, "rounds": len(rounds), "wrong": wrong, "injuries": injuries}

    def _failures_of_address(self) -> list[str]:
        """Return what is wrong with the PC's address, which its server lends for a minute each time."""
        told = {event.stage for event in self.seat.events if event.stage.startswith("address:")}
        failures = sorted({"address:refused", "address:conflict"} & told)
        leases = json.loads((STATE_FOLDER / "leases.json").read_text())["leases"]
        if "address:held" not in told or leases[0]["expires"] < time.time():
            failures.append("the PC does not renew its address")
        return failures


async def torture(
    ward: Ward, faults: Sequence[str], rounds: int = 2, *, at_boot: str = ""
) -> dict[str, Any]:
    """Inflict ``faults``, wait for ``rounds`` more rounds, and return the report."""
    failure = ""
    async with ward.room.open():
        try:
            await ward.boot(fault=at_boot)
            for name in faults:
                await ward.inflict(name)
            await ward.verify(rounds)
        except AssertionError as error:
            failure = str(error)
    return ward.report(failure)


async def loss(ward: Ward) -> dict[str, Any]:
    """Lose the pages for good. Programs that need them may end, but none may read zeros.

    The PC gets fresh swap, and init lives and obeys Ctrl-Alt-Del.
    """
    failure = ""
    async with ward.room.open():
        try:
            await ward.boot()
            ward.doomed = True
            _note("pages lost")
            await lose_pages(ward.scene)
            await ward.until(lambda: ward.count("agent:refused") > 0, RECOVERY_SECONDS, "refusal")
            await ward.until(lambda: ward.count("failed:swap") > 0, RECOVERY_SECONDS, "loss told")
            await ward.until(lambda: ward.count("failed:load") > 0, RECOVERY_SECONDS, "load's end")
            await ward.until(
                lambda: ward.count("agent:renewed") > 0, RECOVERY_SECONDS, "fresh swap"
            )
            assert ward.seat.power is not None, "not switched on"
            ward.seat.power.tell("sendkey ctrl-alt-delete")
            async with asyncio.timeout(END_SECONDS):
                await ward.seat.power.process.wait()
        except (AssertionError, TimeoutError) as error:
            failure = str(error) or "init does not obey Ctrl-Alt-Del"
    events = [event for event in ward.seat.events if event.stage in ("failed:swap", "failed:load")]
    report = ward.report(failure)
    return {**report, "told": {event.stage: event.message for event in events}}


def table(report: dict[str, Any]) -> str:
    """Return the report as text: a row for each kind of fault, with its worst figures."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for injury in report["injuries"]:
        kinds.setdefault(injury["fault"], []).append(injury)
    lines = [
        f"Seed {report['seed']}, {report['memory']} MB: {report['rounds']} rounds of the load, "
        f"{report['wrong']} wrong pages. "
        + ("; ".join(report["failures"]) or "All as it should be."),
        "",
        "| fault | times | away at most | attached again after at most | longest stall | beyond |",
        "|---|---|---|---|---|---|",
    ]
    for kind, injuries in kinds.items():
        figures = [
            max(i["seconds"] for i in injuries),
            max(i["reattached"] or 0.0 for i in injuries),
            max(i["longest_stall"] for i in injuries),
            max(
                max(i["longest_stall"] - i["seconds"] * bool(FAULTS[kind].away), 0)
                for i in injuries
            ),
        ]
        cells = " | ".join(f"{figure:.1f} s" for figure in figures)
        lines.append(f"| {kind} | {len(injuries)} | {cells} |")
    return "\n".join(lines)


def _note(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="made by 'netboot build'")
    parser.add_argument("--logs", type=Path, required=True)
    parser.add_argument("--memory", type=int, default=160, help="MB")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 100000)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--long", action="store_true", help="the whole table")
    parser.add_argument("--fault", action="append", choices=FAULTS, help="only these, in order")
    parser.add_argument("--loss", action="store_true", help="only the loss of all pages")
    parser.add_argument(
        "--mirror", action="store_true", help="only what befalls one of two servers"
    )
    parser.add_argument(
        "--cells", action="store_true", help="only what befalls a mirror over two of four servers"
    )
    parser.add_argument("--table", action="store_true", help="Markdown instead of JSON")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    faults = list(LONG if options.long else SHORT)
    chance.shuffle(faults)
    settings = (f"dhcp.lease_time={LEASE_SECONDS}s", *options.set)
    servers = 4 if options.cells else 2 if options.mirror else 1
    if servers > 1:
        faults = list(CELLS if options.cells else LONG_MIRROR if options.long else MIRROR)
        settings += (network.servers_setting(servers), "swap.layout=mirror")
    _note(f"seed {options.seed}")
    lesson = Lesson(
        ROOT / "profiles/lab.yaml",
        options.images.resolve(),
        options.logs.resolve(),
        memory=options.memory,
        # Not as a lesson's load, which switches the PC off at its end.
        arguments=f"netboot.load=2 netboot.rounds={ENDLESS_ROUNDS}",
        settings=settings,
        servers=servers,
        initrds=(images.build_load_image(images.default_cache()),),
    )

    def body() -> int:
        ward = Ward(lesson, chance)
        rounds = 1 if servers > 1 else 2  # of twice the work
        if options.loss:
            report = asyncio.run(loss(ward))
        else:
            at_boot = BOOT if options.long else ""
            faulty = torture(ward, options.fault or faults, rounds, at_boot=at_boot)
            report = asyncio.run(faulty)
        report |= {"seed": options.seed, "memory": options.memory}
        text = table(report) if options.table else json.dumps(report, indent=1)
        sys.stdout.write(text + "\n")
        return 1 if report["failures"] else 0

    network.run_isolated(body)


if __name__ == "__main__":
    main()
