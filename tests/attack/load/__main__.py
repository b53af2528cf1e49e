"""``make attack``: all attacks at once, while a room works.

Three runs of the same room: on an idle machine, under attack, and beside loops that load the machine
as the attack did: its programs, and the kernel's and the server's work for them. There is a loop for
each attacker's program, with its priority (nice 10). Fails if a bar is missed.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.machine import versions
from bench.report import publish, tell
from netboot.cli.show import BuildProgress
from netboot.host import processes
from netboot.images import build as images
from netboot.lab import network
from netboot.lab.machine import Machine as VirtualPc
from netboot.lab.machine import console_tail
from netboot.profile import file as profile_file
from tests import ROOT
from tests.attack.load import figures
from tests.attack.load.figures import Run
from tests.attack.load.kinds import KINDS, Kind
from tests.attack.load.seats import mac_of
from tests.attack.load.site import SEATS, START_SECONDS, Server, Site, profile, serving
from tests.attack.wire import HONEST, MACS

SECONDS = 60.0  # of the attack, at least: as long as the PC in QEMU needs
MOST_SECONDS = 110.0
PREPARE = 6.0  # seconds before the room is switched on: attackers get sessions, and fill up
SPREAD = 12.0  # the PCs are switched on within this time
KILL_AT = 35.0
# Of the attackers and of the loops in their place: elsewhere they have CPUs of their own.
ATTACK_NICE = 10
MEMORY, LOAD, SIZE = 256, 0.6, "192MiB"
QEMU = {"qemu": ("qemu-system-x86_64", "--version")}
SKIPPED = "skipped: QEMU is not installed (sudo apt install qemu-system-x86)"


@dataclass
class Setting:
    """What all runs share."""

    site: Site
    folder: Path
    images: Path
    initrd: Path
    qemu: bool


def end_program(process: "subprocess.Popen[str]") -> Any:
    """End a program by its standard input; return what its last line says."""
    try:
        said, _ = process.communicate(timeout=100)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return {}
    return json.loads(said.splitlines()[-1]) if said else {}


def seat_events(mac: str) -> list[dict[str, Any]]:
    """Return a seat's events; none if the server does not answer at once."""
    url = f"http://127.0.0.1:8080/status/{mac}"
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            found: list[dict[str, Any]] = json.load(answer)["events"]
    except (OSError, ValueError):
        return []
    return found


class Attack:
    """The programs of the attackers, or loops in their place."""

    def __init__(self, site: Site, kinds: Sequence[Kind], shares: Sequence[float]) -> None:
        self._site = site
        self._kinds = kinds
        self._shares = shares
        self._running: list[tuple[Kind, subprocess.Popen[str], float]] = []
        self._loops: list[subprocess.Popen[str]] = []

    def begin(self, *, early: bool = False, late: bool = False) -> None:
        """Start the attacks of one time."""
        for kind in self._kinds:
            if (kind.early, kind.late) == (early, late):
                victims = () if kind.program[0] == "half_open" else victim_macs()
                process = self._site.start(kind.address, *kind.program, *victims, nice=ATTACK_NICE)
                self._running.append((kind, process, time.monotonic()))
                if early:
                    await_port(process.pid, 67)
        if late:
            for share in self._shares:
                words = ["nice", "-n", str(ATTACK_NICE), sys.executable]
                words += ["-m", "tests.attack.load.burn", f"{share:.4f}"]
                self._loops.append(
                    subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, text=True)
                )

    def shares(self) -> list[float]:
        """Return the CPUs that each program has used since it began."""
        now = time.monotonic()
        return [
            processes.cpu_seconds(process.pid) / (now - begun)
            for _, process, begun in self._running
            if process.poll() is None
        ]

    def loops_used(self, seconds: float) -> float:
        """Return the CPUs that all loops have used."""
        return sum(processes.cpu_seconds(loop.pid) for loop in self._loops) / seconds

    def end(self) -> list[tuple[Kind, Mapping[str, float]]]:
        """End all; return what the attacks attained."""
        for loop in self._loops:
            loop.communicate()
        for _, process, _ in self._running:
            assert process.stdin is not None
            process.stdin.close()  # all at once
            process.stdin = None
        found: list[tuple[Kind, Mapping[str, float]]] = []
        for kind, process, _ in self._running:
            said = end_program(process)
            found.append((kind, said if isinstance(said, dict) else {"calls": said}))
        return found


def busy_seconds() -> float:
    """Return the CPU seconds of this machine that were not idle (proc(5), /proc/stat)."""
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def await_port(pid: int, port: int) -> None:
    """Wait until a UDP port is open in the network namespace of a process."""
    end = time.monotonic() + START_SECONDS
    while f":{port:04X} " not in Path(f"/proc/{pid}/net/udp").read_text():
        if time.monotonic() > end:
            raise RuntimeError(f"an attack did not begin: UDP port {port}")
        time.sleep(0.05)


def victim_macs() -> list[str]:
    """Return the MAC addresses of the played PCs, in the order of their addresses."""
    return [MACS["honest"], *map(mac_of, SEATS)]


async def run(setting: Setting, name: str, kinds: Sequence[Kind], shares: Sequence[float]) -> Run:
    """Run the room once."""
    site, folder = setting.site, setting.folder / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pc = VirtualPc(1, "bios", MEMORY, folder)
    attack, power = Attack(site, kinds, shares), None
    attack.begin(early=True)
    with serving(folder, profile(pc, LOAD, SIZE), setting.images, setting.initrd) as server:
        begun, log_before = time.monotonic(), server.log_bytes()
        attack.begin()
        await asyncio.sleep(PREPARE - 1.5)
        attack.begin(late=True)
        await asyncio.sleep(1.5)
        watched, busy_before = time.monotonic(), busy_seconds()
        places = [f"{address}={site.machines[address].pid}" for address in SEATS]
        room = site.start(HONEST, "load.seats", str(SPREAD), *places)
        asking = site.start(HONEST, "honest", str(SECONDS - PREPARE - 4))
        on = time.time()
        if setting.qemu:
            power = await pc.power_on()
        stages = await watch(server, pc if setting.qemu else None, begun)
        busy = (busy_seconds() - busy_before) / (time.monotonic() - watched)
        used = attack.shares() or [attack.loops_used(time.monotonic() - begun)]
        seats, asked = end_program(room), end_program(asking)
        over = time.monotonic() - begun
        log = server.log_bytes() - log_before
        attained = attack.end()
        if power is not None:
            if power.process.returncode is None:
                power.process.kill()
            await power.process.wait()
            power.monitor.close()
    console = console_tail(pc.console, 5) if setting.qemu else []
    tell(f"{name}: {over:.0f} s, {busy:.2f} CPUs in use, {sum(used):.2f} by attackers or loops")
    return Run(
        name=name,
        seconds=over,
        shares=used,
        busy=busy,
        seats=seats,
        doors=asked,
        stages={stage: when - on for stage, when in stages.items()},
        console=console,
        memory=server.memory,
        log_bytes=log,
        attained=attained,
    )


async def watch(server: Server, pc: VirtualPc | None, begun: float) -> dict[str, float]:
    """Wait for the end of a run; kill a page worker in its middle.

    Return the times of the virtual PC's stages.
    """
    stages: dict[str, float] = {}
    killed = False
    while (passed := time.monotonic() - begun) < MOST_SECONDS:
        server.look()
        if passed > KILL_AT and not killed:
            server.kill_a_page_worker()
            killed = True
        if pc is not None and "load:verified" not in stages:
            for event in await asyncio.to_thread(seat_events, pc.mac):
                stages.setdefault(event["stage"], event["when"])
        is_done = pc is None or any(
            stage == "load:verified" or stage.startswith("failed:") for stage in stages
        )
        if passed > SECONDS and is_done:
            break
        await asyncio.sleep(0.5)
    return stages


def same_load(idle: Run, attacked: Run) -> list[float]:
    """Return the shares of loops that load the machine as the attack did.

    That is the attackers' programs, and the kernel's and the server's work for them.
    """
    factor = (attacked.busy - idle.busy) / sum(attacked.shares)
    return [share * factor for share in attacked.shares]


def runs(setting: Setting, kinds: Sequence[Kind]) -> list[Run]:
    """Run the room idle, under attack, and beside as much CPU."""

    async def all_three() -> list[Run]:
        idle = await run(setting, "idle", (), ())
        attacked = await run(setting, "attack", kinds, ())
        loaded = await run(setting, "load", (), same_load(idle, attacked))
        return [idle, loaded, attacked]

    return asyncio.run(all_three())


def main() -> None:
    parser = argparse.ArgumentParser(prog="make attack", description=__doc__)
    parser.add_argument("--logs", type=Path, default=Path("lab-logs/attack"))
    parser.add_argument("--only", action="append", default=[], help="only attacks with this word")
    options = parser.parse_args()
    network.check_root()
    kinds = [
        kind
        for kind in KINDS
        if not options.only or any(word in kind.name for word in options.only)
    ]
    qemu = shutil.which("qemu-system-x86_64") is not None
    folder = options.logs.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        built = Path(name)
        room = profile_file.load(ROOT / "profiles/lab.yaml", [])
        with BuildProgress() as progress:
            images.build(room, built, images.default_cache(), progress)
        initrd = images.build_load_image(images.default_cache())

        def body() -> int:
            site = Site()
            try:
                found = runs(Setting(site, folder, built, initrd, qemu), kinds)
            finally:
                site.end()
            missed = publish(
                folder,
                "attack",
                figures.verdicts(found),
                tables=[figures.attacks(found[-1]), figures.room(found)],
                details={"runs": [each.as_json() for each in found]},
                about={"versions": versions(QEMU if qemu else {}), "qemu": qemu or SKIPPED},
            )
            problems = figures.problems(found)
            for problem in problems:
                tell(problem)
            return 1 if missed or problems else 0

        network.run_isolated(body)


if __name__ == "__main__":
    main()
