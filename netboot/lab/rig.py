"""A classroom of virtual PCs: router, boot server and machines, from power-on to the result."""

import asyncio
import bisect
import contextlib
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

from netboot.boot import snippets
from netboot.boot.events import BootEvent
from netboot.lab.machine import KINDS, Machine, Power
from netboot.lab.network import (
    BRIDGE,
    PRIVATE_TMPFS,
    ROUTER,
    ROUTER_IPV6,
    SERVER,
    add_tap,
    ip,
    make_bridge,
    server_address,
)
from netboot.profile import file
from netboot.roots.library import DEFAULT_FOLDER

FIRST_ADDRESS, LAST_ADDRESS = SERVER.ip + 49, SERVER.ip + 199
STOP_SECONDS = 5.0
STATE_FOLDER = PRIVATE_TMPFS / "netboot-state"
# In a mount namespace of its own: empty memory for pages, and a state of the room's secret alone.
_ONLY_THE_SECRET = (
    f"umask 077; exec 3<{STATE_FOLDER}/secret; mount -t tmpfs tmpfs {PRIVATE_TMPFS}; "
    f"mkdir {STATE_FOLDER}; cat <&3 >{STATE_FOLDER}/secret; exec 3<&-"
)
ROUTER_LOG, SERVER_LOG = "router", "server"
ROUTER_DEVICE = "router0"


@dataclass(frozen=True, slots=True)
class Lesson:
    """The task of a classroom. ``memory`` is in MiB, ``load`` in multiples of it."""

    profile: Path
    images: Path
    folder: Path
    clients: int = 1
    memory: int = 256
    firmware: tuple[str, ...] = ("bios",)  # of the first PC, the second and so on, repeated
    dhcp: str = "full"
    until: str = "userland"
    load: float | None = None
    capture: bool = False
    timeout: float = 300.0
    arguments: str = ""  # the profile's own kernel arguments, to which the lab adds
    settings: tuple[str, ...] = ()  # KEY=VALUE overrides of the profile
    initrds: tuple[Path, ...] = ()
    servers: int = 1
    boots: int = 1  # so many of the servers boot PCs, the others serve pages alone
    devices: tuple[str, ...] = ()  # further devices of each PC, as words for QEMU
    medium: Path | None = None  # the output of `netboot media`, for PCs that boot from it
    rom: Path | None = None  # of the cards of PCs whose kind has one of its own
    screen: bool = False  # each PC has one, with keyboard and mouse
    sent_only: bool = False  # of the frames to capture
    roots: Path = DEFAULT_FOLDER  # the folder of the root images


@dataclass(slots=True)
class SeatReport:
    """The boot of one PC: its ``events`` in order of time, and its result."""

    machine: Machine
    powered_on: float = 0.0
    events: list[BootEvent] = field(default_factory=list)
    failure: str = ""
    done: bool = False
    power: Power | None = None
    picture: Path | None = None  # of its screen
    doubt: str = ""  # why the picture may not show what it should, or why there is none

    def seconds(self, event: BootEvent) -> float:
        """Return the seconds from power-on to ``event``."""
        return round(event.when - self.powered_on, 3)

    def first(self, stage: str) -> BootEvent | None:
        """Return the first event of ``stage``, or None."""
        return next((event for event in self.events if event.stage == stage), None)

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON-ready values."""
        return {
            "mac": self.machine.mac,
            "ok": self.done and not self.failure,
            "failure": self.failure,
            "console": str(self.machine.console),
            "bytes_sent": self.bytes_sent,
            "picture": str(self.picture or ""),
            "doubt": self.doubt,
            "stages": [
                {
                    "stage": event.stage,
                    "seconds": self.seconds(event),
                    "message": event.message,
                    "data": event.data,
                }
                for event in self.events
            ],
        }

    @property
    def bytes_sent(self) -> int:
        """Return the bytes of files sent to this PC by TFTP and HTTP."""
        return sum(int(event.data.get("bytes", 0)) for event in self.events)


class Classroom:
    """The runner of one Lesson. It must be inside ``network.run_isolated``."""

    def __init__(
        self, lesson: Lesson, on_event: Callable[[SeatReport, BootEvent], None] | None = None
    ) -> None:
        self.lesson = lesson
        self._on_event = on_event
        self.seats = {
            machine.mac: SeatReport(machine)
            for machine in (
                Machine(
                    number,
                    lesson.firmware[(number - 1) % len(lesson.firmware)],
                    lesson.memory,
                    lesson.folder,
                    lesson.capture,
                    lesson.devices,
                    lesson.medium,
                    lesson.rom,
                    lesson.screen,
                    lesson.sent_only,
                )
                for number in range(1, lesson.clients + 1)
            )
        }
        self.server_failure = ""
        self._last_stage = "load:verified" if lesson.load is not None else lesson.until
        self._servers: dict[int, asyncio.subprocess.Process] = {}
        self._started = 0  # all servers so far
        self._processes: list[asyncio.subprocess.Process] = []
        self._watchers: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._closing = False

    async def run(self) -> None:
        """Boot all PCs and wait until each is done or has failed; ``seats`` has the results."""
        async with self.open():
            await self.power_on()
            await self.wait()

    @property
    def ok(self) -> bool:
        """Return whether every PC is done."""
        return not self.server_failure and all(
            report.done and not report.failure for report in self.seats.values()
        )

    def as_json(self) -> dict[str, Any]:
        """Return the reports of all seats as JSON-ready values."""
        return {
            "ok": self.ok,
            "failure": self.server_failure,
            "seats": [report.as_json() for report in self.seats.values()],
        }

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Start bridge, router and servers, and stop all at the end. No PC is switched on yet."""
        self.lesson.folder.mkdir(parents=True, exist_ok=True)
        for log in (ROUTER_LOG, *map(_server_log, range(1, self.lesson.servers + 1))):
            (self.lesson.folder / f"{log}.log").unlink(missing_ok=True)
        make_bridge()
        try:
            if self.lesson.dhcp != "full":
                await self._start_router()
            for number in range(1, self.lesson.servers + 1):
                await self.start_server(number)
            yield
        finally:
            self._closing = True
            for report in self.seats.values():
                if report.power is not None:
                    report.power.screen.close()
            for process in reversed(self._processes):
                await _stop(process)
            for watcher in self._watchers:
                watcher.cancel()
            await asyncio.gather(*self._watchers, return_exceptions=True)

    async def power_on(self, *numbers: int) -> None:
        """Switch every PC on, or those of these ``numbers``, which begin with 1."""
        if self.server_failure:
            return
        for report in self.seats.values():
            if numbers and report.machine.number not in numbers:
                continue
            report.machine.console.unlink(missing_ok=True)
            add_tap(report.machine.tap)
            report.powered_on = time.time()
            report.power = await report.machine.power_on()
            self._processes.append(report.power.process)
            watcher = asyncio.create_task(self._watch_machine(report, report.power.process))
            watcher.add_done_callback(lambda _: self._changed.set())
            self._watchers.append(watcher)

    async def start_server(self, number: int = 1) -> None:
        """Start ``netboot serve``; return when it serves, or when ``server_failure`` is set.

        A server other than the first one is a host of its own, and starts without earlier state.
        """
        ready = asyncio.Event()
        self._started += 1
        if number == 1:
            server = await self._spawn(
                *self._server_command(BRIDGE), log=SERVER_LOG, stdout=asyncio.subprocess.PIPE
            )
        else:
            device = f"server{number}-{self._started}"
            server = await self.start_host(
                device,
                server_address(number),
                _ONLY_THE_SECRET,
                [
                    *self._server_command(device),
                    *([] if number <= self.lesson.boots else ["--swap-only"]),
                ],
                log=_server_log(number),
                stdout=asyncio.subprocess.PIPE,
            )
        self._servers[number] = server
        self._watchers.append(asyncio.create_task(self._watch_server(number, server, ready)))
        await ready.wait()

    def server_processes(self, number: int = 1) -> list[int]:
        """Return the process ids of a server: control plane first, then page workers."""
        pid = self._servers[number].pid
        children = Path(f"/proc/{pid}/task/{pid}/children")
        return [pid, *map(int, children.read_text().split())]

    def kill_server(self, number: int = 1) -> None:
        """Kill all processes of a server at once.

        The memory files of server 1 stay for the next one; those of other servers are lost.
        """
        pids = self.server_processes(number)
        del self._servers[number]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    async def wait(self) -> None:
        """Wait until every PC is done or has failed, or the lesson's time is over."""
        try:
            async with asyncio.timeout(self.lesson.timeout):
                while not self._over():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            for report in self.seats.values():
                if not report.done and not report.failure:
                    last = report.events[-1].stage if report.events else "power-on"
                    report.failure = f"not done after {self.lesson.timeout:.0f} s; last: {last}"

    def _over(self) -> bool:
        if self.server_failure:
            return True
        return all(report.done or report.failure for report in self.seats.values())

    def _take(self, event: BootEvent) -> None:
        report = self.seats.get(event.seat)
        if report is None:
            return
        bisect.insort(report.events, event, key=lambda each: each.when)
        if event.stage == self._last_stage and self.lesson.load is None:
            report.done = True
        if event.stage.startswith("failed:") and not report.failure:
            report.failure = f"{event.stage.partition(':')[2]}: {event.message}"
        if self._on_event is not None:
            self._on_event(report, event)
        self._changed.set()

    async def _watch_machine(self, report: SeatReport, process: asyncio.subprocess.Process) -> None:
        """Wait until a PC ends. It has failed unless its last stage was reported."""
        status = await process.wait()
        await asyncio.sleep(0.2)  # the last beacon may still be on its way
        if report.first(self._last_stage) is not None:
            report.done = True
        elif not report.failure:
            complaints = (self.lesson.folder / f"pc{report.machine.number}.qemu").read_text()
            report.failure = f"switched off early (QEMU status {status}) {complaints.strip()}"

    async def _start_router(self) -> None:
        """Start the LAN's own router and DHCP server: another host, with dnsmasq."""
        lesson = self.lesson
        words = ["dnsmasq", "--keep-in-foreground", f"--conf-file={self._snippet()}", "--port=0"]
        words += [f"--interface={ROUTER_DEVICE}", "--bind-interfaces", "--user=root"]
        words += ["--enable-ra", f"--dhcp-range={ROUTER_IPV6.network.network_address},ra-only,64"]
        words += ["--pid-file=", f"--dhcp-leasefile={lesson.folder / 'router.leases'}"]
        words += ["--log-dhcp", "--log-facility=-"]
        pool = f"{FIRST_ADDRESS},{LAST_ADDRESS},{SERVER.netmask},1h"
        words += [f"--dhcp-range={pool}", f"--dhcp-option=option:router,{ROUTER.ip}"]
        # dnsmasq's ping before each offer would take 3 s of every boot (its PING_WAIT).
        words += ["--no-ping", "--dhcp-authoritative"]
        prepare = f"ip address add {ROUTER_IPV6} dev {ROUTER_DEVICE} nodad"
        await self.start_host(ROUTER_DEVICE, ROUTER, prepare, words, log=ROUTER_LOG)

    def _snippet(self) -> Path:
        """Return the router's file of settings: with dhcp none the snippet for the profile."""
        if self.lesson.dhcp != "none":
            return Path(os.devnull)
        settings = [*self.lesson.settings, "dhcp.mode=none"]
        profile = file.load(self.lesson.profile, settings)
        path = self.lesson.folder / "router.conf"
        path.write_text(snippets.snippet("dnsmasq", snippets.facts(profile, SERVER.ip)))
        return path

    async def start_host(
        self,
        device: str,
        address: IPv4Interface,
        prepare: str,
        command: list[str],
        log: str,
        stdout: int | None = None,
    ) -> asyncio.subprocess.Process:
        """Start another host on the LAN: network card ``device`` with ``address``, one program.

        The shell text ``prepare`` runs before ``command``. The host ends with the program.
        """
        script = (
            f"until ip link show {device} >/dev/null 2>&1; do sleep 0.02; done; "
            f"ip link set lo up; ip address add {address} dev {device}; {prepare}; "
            f"ip link set {device} up; exec {shlex.join(command)}"
        )
        namespaces = ("unshare", "--net", "--mount")
        process = await self._spawn(*namespaces, "sh", "-c", script, log=log, stdout=stdout)
        # A host that replaces another has its MAC address: its peers' ARP tables stay right.
        mac = f"52:54:00:78:00:{address.ip.packed[-1]:02x}"
        ip("link", "add", device, "address", mac, "type", "veth", "peer", "name", f"p-{device}")
        ip("link", "set", f"p-{device}", "master", BRIDGE, "up")
        while _net_namespace(process.pid) == _net_namespace("self"):
            await asyncio.sleep(0.01)
        ip("link", "set", device, "netns", str(process.pid))
        return process

    def _server_command(self, interface: str) -> list[str]:
        lesson = self.lesson
        # A PC that waits for a CPU misses ticks. Linux would panic over such a timer, hence
        # no_timer_check. With panic=1 and -no-reboot a panic ends QEMU, which we notice.
        consoles = dict.fromkeys(f"console={KINDS[kind].console}" for kind in lesson.firmware)
        if lesson.screen:
            # The kernel writes to both. The last one is /dev/console, to which programs write: as on
            # a PC whose command line names none.
            consoles["console=tty0"] = None
        arguments = [lesson.arguments, *consoles, "no_timer_check", "panic=1"]
        if lesson.load is not None:
            arguments += [f"netboot.load={lesson.load:g}", "netboot.poweroff=1"]
        settings = {
            "interface": interface,
            "dhcp.mode": lesson.dhcp,
            "dhcp.range": f"{FIRST_ADDRESS}-{LAST_ADDRESS}",
            "boot.arguments": " ".join(filter(None, arguments)),
        }
        words = [sys.executable, "-m", "netboot", "serve", "--json", "--user", "root"]
        words += ["--profile", str(lesson.profile), "--images", str(lesson.images)]
        words += ["--state", str(STATE_FOLDER), "--roots", str(lesson.roots)]
        own = ("http.panel=off",)  # nobody looks at the room of a test
        for setting in (
            *own,
            *lesson.settings,
            *(f"{key}={value}" for key, value in settings.items()),
        ):
            words += ["--set", setting]
        for initrd in lesson.initrds:
            words += ["--initrd", str(initrd)]
        return words

    async def _watch_server(
        self, number: int, server: asyncio.subprocess.Process, ready: asyncio.Event
    ) -> None:
        assert server.stdout is not None
        async for line in server.stdout:
            message = json.loads(line)
            if "ready" in message:
                ready.set()
            else:
                self._take(BootEvent(**message))
        if self._closing or server is not self._servers.get(number):
            return
        log = (self.lesson.folder / f"{_server_log(number)}.log").read_text().strip()
        self.server_failure = f"netboot serve ended with status {await server.wait()}: {log}"
        ready.set()
        self._changed.set()

    async def _spawn(
        self, *command: str, log: str, stdout: int | None = None
    ) -> asyncio.subprocess.Process:
        with (self.lesson.folder / f"{log}.log").open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output if stdout is None else stdout,
                stderr=output,
            )
        self._processes.append(process)
        return process


def _server_log(number: int) -> str:
    return SERVER_LOG if number == 1 else f"{SERVER_LOG}{number}"


def _net_namespace(pid: int | str) -> str:
    return str(Path(f"/proc/{pid}/ns/net").readlink())


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
