"""Faults of a classroom while its PC swaps: one row for each."""

import asyncio
import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from netboot.boot import ticket
from netboot.lab import network
from netboot.lab.network import BRIDGE, PRIVATE_TMPFS
from netboot.lab.rig import STATE_FOLDER, Classroom, SeatReport
from netboot.serve.http.status import ask_drain
from netboot.serve.secret import SECRET_FILE, load_secret

LOSS_PERCENT = 5
OTHER_ADDRESS = IPv4Interface("10.77.0.9/24")
BACK_SECONDS = 10.0  # seconds; a killed server is back after at most these
REPLACED_SECONDS = 8.0, 12.0  # seconds; a broken server is replaced after these
LEASE_SECONDS = 60  # of an address; the PC renews it in every torture
LATE_SECONDS = 30.0  # seconds; a beacon of a busy PC
LONGEST_DHCP_PAUSE = 70.0  # seconds between two questions of the PC
COPIED = ("agent:lost", "agent:degraded", "agent:renewed", "agent:resynced")


@dataclass(frozen=True, slots=True)
class Scene:
    """The classroom of a fault, and the chance that decides its details."""

    room: Classroom
    seat: SeatReport
    chance: random.Random


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault. ``act`` returns when it is over.

    ``loses``: whether the PC must lose its connections and report that, and then ``tells``; None if
    that is left to chance. ``away``: whether no server serves the PC meanwhile, so that programs
    may stall for that time; None if they may stall longer.
    """

    act: Callable[[Scene], Awaitable[None]]
    loses: bool | None
    away: bool | None = True
    tells: tuple[str, ...] = ("agent:lost", "agent:reattached")


async def _kill_server(scene: Scene) -> None:
    """Kill control plane and workers with kill -9."""
    scene.room.kill_server()
    await asyncio.sleep(scene.chance.uniform(0, BACK_SECONDS))
    await scene.room.start_server()


async def _damage_state(scene: Scene) -> None:
    """Kill the server while it writes its state: one file is empty, cut or has other bytes."""
    scene.room.kill_server()
    files = sorted(path for path in STATE_FOLDER.rglob("*") if path.is_file())
    path = scene.chance.choice(files)
    content = bytearray(path.read_bytes())
    place = scene.chance.randrange(len(content) or 1)
    damages = (b"", content[:place], content[:place] + b"\0" * (len(content) - place))
    path.write_bytes(scene.chance.choice(damages))
    await scene.room.start_server()


async def _kill_workers(scene: Scene) -> None:
    """Kill all workers, one of which serves the PC."""
    for pid in scene.room.server_processes()[1:]:
        os.kill(pid, signal.SIGKILL)


async def _upgrade(scene: Scene) -> None:
    """Have the server replace its own program."""
    os.kill(scene.room.server_processes()[0], signal.SIGHUP)


async def _stop_server(scene: Scene, seconds: float) -> None:
    """Stop all processes of the server: its sockets stay, without an answer."""
    await _stop(scene.room.server_processes(), seconds)


async def _stop_workers(scene: Scene, seconds: float) -> None:
    """Stop the page workers alone: the control plane gives them up after 10 s, and has others."""
    await _stop(scene.room.server_processes()[1:], seconds)


async def _stop(pids: Sequence[int], seconds: float) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(seconds)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


async def _pull_cable(scene: Scene, seconds: float) -> None:
    """Take the PC's link down; the PC sees that."""
    assert scene.seat.power is not None, "not switched on"
    scene.seat.power.tell("set_link n0 off")
    await asyncio.sleep(seconds)
    scene.seat.power.tell("set_link n0 on")


async def _cut_switch(scene: Scene, seconds: float) -> None:
    """Cut the path behind the next switch: the PC's link stays up, frames are lost."""
    tap = scene.seat.machine.tap
    network.ip("link", "set", tap, "down")
    await asyncio.sleep(seconds)
    network.ip("link", "set", tap, "up")


async def _change_address(scene: Scene, seconds: float) -> None:
    """Give the server another address, as the DHCP server of its LAN may, and then its own again."""
    _readdress(network.SERVER, OTHER_ADDRESS)
    await asyncio.sleep(seconds)
    _readdress(OTHER_ADDRESS, network.SERVER)


def _readdress(old: IPv4Interface, new: IPv4Interface) -> None:
    network.ip("address", "del", str(old), "dev", BRIDGE)
    network.ip("address", "add", str(new), "dev", BRIDGE)


async def _replace_card(scene: Scene, seconds: float) -> None:
    """Remove the server's card, with all cables, and make it again with another index."""
    cables = [path.name for path in Path(f"/sys/class/net/{BRIDGE}/brif").iterdir()]
    network.ip("link", "del", BRIDGE)
    await asyncio.sleep(seconds)
    network.make_bridge()
    for cable in cables:
        network.ip("link", "set", cable, "master", BRIDGE)


async def _lose_packets(scene: Scene, seconds: float) -> None:
    """Drop packets both ways, at the server."""
    drop = f"numgen random mod 100 < {LOSS_PERCENT} drop"
    _run("nft", "add table inet fault")
    for hook, device in (("input", "iifname"), ("output", "oifname")):
        _run("nft", f"add chain inet fault {hook} {{ type filter hook {hook} priority 0; }}")
        _run("nft", f"add rule inet fault {hook} {device} {BRIDGE} {drop}")
    await asyncio.sleep(seconds)
    _run("nft", "delete table inet fault")


async def _end_dhcp_lease(scene: Scene) -> None:
    """Drop what the PC asks its DHCP server until its lease has ended: only the address's owner knows."""
    tap = scene.seat.machine.tap
    _run("nft", "add table netdev fault")
    hook = f'{{ type filter hook ingress device "{tap}" priority 0; }}'
    _run("nft", f"add chain netdev fault dhcp {hook}")
    _run("nft", "add rule netdev fault dhcp udp dport 67 drop")
    held, was_told = _count(scene, "address:held"), bool(_count(scene, "address:expired"))
    await asyncio.sleep(LEASE_SECONDS)
    async with asyncio.timeout(LATE_SECONDS):
        while not _count(scene, "address:expired"):
            await asyncio.sleep(0.5)
    _run("nft", "delete table netdev fault")
    if was_told:  # an earlier fault kept the server away; the PC tells the same trouble only later
        return
    async with asyncio.timeout(LONGEST_DHCP_PAUSE):
        while _count(scene, "address:held") == held:
            await asyncio.sleep(0.5)


def _count(scene: Scene, stage: str) -> int:
    return sum(event.stage == stage for event in scene.seat.events)


async def _slow_down(scene: Scene, seconds: float) -> None:
    """Allow 100 Mbit/s both ways, as an old switch does, which drops the rest."""
    tap = scene.seat.machine.tap
    _run("tc", *f"qdisc add dev {tap} root tbf rate 100mbit burst 32kbit latency 50ms".split())
    _run("nft", "add table inet fault")
    _run("nft", "add chain inet fault input { type filter hook input priority 0; }")
    over = "limit rate over 12500 kbytes/second burst 256 kbytes"
    _run("nft", f"add rule inet fault input iifname {BRIDGE} {over} drop")
    await asyncio.sleep(seconds)
    _run("nft", "delete table inet fault")
    _run("tc", "qdisc", "del", "dev", tap, "root")


async def lose_pages(scene: Scene) -> None:
    """Bring the server back as after a reboot: the pages in its memory are lost."""
    scene.room.kill_server()
    await _replace_first(scene, 0)


async def _replace_first(scene: Scene, seconds: float) -> None:
    await asyncio.sleep(seconds)
    for folder in PRIVATE_TMPFS.glob("netboot-kept-*"):
        shutil.rmtree(folder)
    await scene.room.start_server()


async def _break_first(scene: Scene) -> None:
    """Break for good the server that booted the PC, and replace it later."""
    scene.room.kill_server()
    await _replace_first(scene, scene.chance.uniform(*REPLACED_SECONDS))


async def _break_second(scene: Scene) -> None:
    """Break the other server for good, and replace it later."""
    scene.room.kill_server(2)
    await asyncio.sleep(scene.chance.uniform(*REPLACED_SECONDS))
    await scene.room.start_server(2)


async def _break_cell(scene: Scene) -> None:
    """Break for good one of the two servers with the PC's pages: a further one takes its place."""
    scene.room.kill_server(_one_of_two(scene))


async def _drain_cell(scene: Scene) -> None:
    """Drain one of the two servers with the PC's pages, and switch it off when it is empty."""
    number = _one_of_two(scene)
    server = f"{network.server_address(number).ip}:8080"
    key = ticket.panel_key(load_secret(STATE_FOLDER / SECRET_FILE, make=False))
    left = (await asyncio.to_thread(ask_drain, server, key, "drain", "torture"))["left"]
    async with asyncio.timeout(LATE_SECONDS):
        while left:
            await asyncio.sleep(0.5)
            left = (await asyncio.to_thread(ask_drain, server, key))["left"]
    scene.room.kill_server(number)


def _one_of_two(scene: Scene) -> int:
    """Return a server with the PC's pages; not the one that boots the PC, so that it can tell."""
    told = [(event.stage, event.message) for event in scene.seat.events]
    held: dict[str, None] = {}  # addresses, in the order of time
    for stage, message in told:
        address = re.search(r"[0-9]+(\.[0-9]+){3}", message)
        if address is None:
            continue
        if stage in ("agent:attached", "agent:resynced"):
            held[address[0]] = None
        elif stage == "agent:degraded":
            held.pop(address[0], None)
    first = network.server_address(1).ip
    numbers = [1 + int(IPv4Address(each)) - int(first) for each in held]
    assert len(numbers) == 2, told
    return scene.chance.choice([number for number in numbers if number != 1])


async def _fill_store(scene: Scene, seconds: float, *, server: int = 1) -> None:
    """Leave a server's store no room, neither now nor for pages in place of freed ones."""
    pid = scene.room.server_processes(server)[0]
    mounted = Path(f"/proc/{pid}/root{PRIVATE_TMPFS}")
    usual, end = os.statvfs(mounted), time.monotonic() + seconds
    while time.monotonic() < end:
        found = os.statvfs(mounted)
        # Fails if a page comes meanwhile: the next one has its chance in a moment.
        _resize(pid, (found.f_blocks - found.f_bfree) * found.f_frsize, check=False)
        await asyncio.sleep(0.1)
    _resize(pid, usual.f_blocks * usual.f_frsize)


async def _fill_second(scene: Scene, seconds: float) -> None:
    """Leave the store of the other server no room."""
    await _fill_store(scene, seconds, server=2)


def _resize(pid: int, size_bytes: int, *, check: bool = True) -> None:
    command = ["nsenter", "-t", str(pid), "-m", "mount", "-o", f"remount,size={size_bytes}"]
    subprocess.run([*command, PRIVATE_TMPFS], check=check, stderr=subprocess.DEVNULL)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


def _for(
    seconds: float, act: Callable[[Scene, float], Awaitable[None]]
) -> Callable[[Scene], Awaitable[None]]:
    return lambda scene: act(scene, seconds)


BOOT = "server killed while the PC boots"

FAULTS = {
    "server killed": Fault(_kill_server, loses=True),
    BOOT: Fault(_kill_server, loses=None, away=None),
    "state file damaged": Fault(_damage_state, loses=True),
    "workers killed": Fault(_kill_workers, loses=True),
    "server upgraded": Fault(_upgrade, loses=False),
    "server stopped, 8 s": Fault(_for(8, _stop_server), loses=True),
    "server stopped, 60 s": Fault(_for(60, _stop_server), loses=True),
    "workers stopped, 15 s": Fault(_for(15, _stop_workers), loses=True),
    "cable pulled, 8 s": Fault(_for(8, _pull_cable), loses=True),
    "cable pulled, 60 s": Fault(_for(60, _pull_cable), loses=True),
    "switch dead, 8 s": Fault(_for(8, _cut_switch), loses=True),
    "switch dead, 60 s": Fault(_for(60, _cut_switch), loses=True),
    "server's address changed and back": Fault(_for(8, _change_address), loses=True),
    "card removed and made again": Fault(_for(8, _replace_card), loses=True),
    "5 % of packets lost, 60 s": Fault(_for(60, _lose_packets), loses=None, away=None),
    "100 Mbit/s, 60 s": Fault(_for(60, _slow_down), loses=None, away=None),
    "DHCP lease run out": Fault(_end_dhcp_lease, loses=False, away=False),
    "store full and healed": Fault(_for(20, _fill_store), loses=True),
    "store full under a mirror": Fault(_for(20, _fill_second), True, away=False, tells=COPIED),
    "first of two servers stopped, 60 s": Fault(
        _for(60, _stop_server), True, away=False, tells=COPIED
    ),
    "first of two servers replaced": Fault(_break_first, True, away=False, tells=COPIED),
    "second of two servers replaced": Fault(_break_second, True, away=False, tells=COPIED),
    "one of four servers drained": Fault(_drain_cell, True, away=False, tells=COPIED),
    "one of four servers broken": Fault(_break_cell, True, away=False, tells=COPIED),
}
SHORT = (
    *("server killed", "workers killed", "server stopped, 8 s", "server killed"),
    *("cable pulled, 8 s", "server upgraded", "switch dead, 8 s"),
)
LONG = (
    *("server killed",) * 20,
    *("workers killed",) * 10,
    *("server upgraded",) * 5,
    *("state file damaged",) * 5,
    *("server stopped, 60 s", "workers stopped, 15 s"),
    *("cable pulled, 60 s", "switch dead, 60 s"),
    *("server's address changed and back", "card removed and made again"),
    *("5 % of packets lost, 60 s", "100 Mbit/s, 60 s", "DHCP lease run out"),
    *("store full and healed",) * 2,
)
# A server breaks after the other one was replaced: does the new one have all pages?
MIRROR = ("second of two servers replaced", "first of two servers replaced")
# The second one may be the server that had taken the first one's part: two are left.
CELLS = ("one of four servers drained", "one of four servers broken")
LONG_MIRROR = ("store full under a mirror", "first of two servers stopped, 60 s", *MIRROR)
