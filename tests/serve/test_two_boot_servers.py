"""Two boot servers, each a machine on one LAN: the second one boots PCs while the first one is off."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from netboot.boot.arch import BY_NAME
from netboot.boot.ticket import SECRET_BYTES
from netboot.errors import AnswerError
from netboot.host.interfaces import find
from netboot.lab.storm.pc import Pc
from netboot.serve.dhcp.client import Asking
from netboot.serve.dhcp.packet import MessageType, Option, Packet, parse
from netboot.serve.dhcp.question import Asker
from netboot.serve.http.status import fetch_status
from tests import ROOT
from tests.support.command import SERVE
from tests.support.images import write_images
from tests.support.kept import forget_pages
from tests.support.networks import Machine
from tests.support.pxe_client import PxeClient

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

A, B, PC = (IPv4Address(f"10.3.0.{last}") for last in (1, 2, 77))
MAC, BIOS = "52:54:00:00:00:01", BY_NAME["bios"]
PROXY = f"boot: {{servers: [{A}, {B}]}}\nswap: {{capacity: 64MiB}}\n"
FILES = ("amd64/vmlinuz", "amd64/initramfs.img", "undionly.kpxe")
FULL = f"{PROXY}dhcp: {{mode: full, range: 10.3.0.50-10.3.0.99}}\n"
ASKER = Asker(MAC, BIOS)
PATIENCE = 60.0  # seconds for what takes one or two on an idle machine
PC_WAITS = (4.0, 8.0)  # PXE 2.1 section 2.2.5
HOOKS = "/usr/lib/x86_64-linux-gnu/kea/hooks"
OFFER = [MessageType.DHCPOFFER]


def kea(address: IPv4Address) -> dict[str, Any]:
    """Return the settings of a Kea in hot standby. It leaves the boot files to netboot."""
    roles = {A: "primary", B: "standby"}
    peers = [
        {"name": str(each), "url": f"http://{each}:8000/", "role": role, "auto-failover": True}
        for each, role in roles.items()
    ]
    threads = {"http-listener-threads": 1, "http-client-threads": 1}
    pair = {
        "this-server-name": str(address),
        "mode": "hot-standby",
        "heartbeat-delay": 500,
        "max-response-delay": 1500,
        "max-unacked-clients": 0,
        "multi-threading": {
            "enable-multi-threading": True,
            "http-dedicated-listener": True,
            **threads,
        },
        "peers": peers,
    }
    ha = {"library": f"{HOOKS}/libdhcp_ha.so", "parameters": {"high-availability": [pair]}}
    return {
        "Dhcp4": {
            "interfaces-config": {"interfaces": ["eth0"]},
            "lease-database": {"type": "memfile", "persist": False},
            "multi-threading": {"enable-multi-threading": True},
            "hooks-libraries": [{"library": f"{HOOKS}/libdhcp_lease_cmds.so"}, ha],
            # A played PC takes the first offer. A real one would put both together.
            "client-classes": [
                {"name": "DROP", "test": "substring(option[60].hex,0,9) == 'PXEClient'"}
            ],
            "subnet4": [{"subnet": "10.3.0.0/24", "pools": [{"pool": "10.3.0.50 - 10.3.0.99"}]}],
        }
    }


class Room:
    """A switch, the machines of both servers, and a PC."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self._switch = Machine(stack)
        self._switch.configure("link add br0 type bridge forward_delay 0", "link set br0 up")
        self._servers = {each: self._machine(each) for each in (A, B)}
        self.pc = self._machine(PC, MAC)
        self.running: dict[IPv4Address, subprocess.Popen[bytes]] = {}
        self.lending: dict[IPv4Address, subprocess.Popen[bytes]] = {}
        write_images(folder / "images", dict.fromkeys(FILES, 1000))

    def _machine(self, address: IPv4Address, mac: str = "") -> Machine:
        machine, port = Machine(self._stack), f"p{address.packed[3]}"
        own = f" address {mac}" if mac else ""
        peer = f"name eth0{own} netns {machine.pid}"
        self._switch.configure(
            f"link add {port} type veth peer {peer}", f"link set {port} master br0 up"
        )
        machine.configure(f"addr add {address}/24 broadcast + dev eth0", "link set eth0 up")
        return machine

    def serve(self, address: IPv4Address, profile: str) -> None:
        """Start a server with the secret of both, in a process group of its own."""
        state = self._folder / str(address)
        state.mkdir(exist_ok=True)
        secret = os.open(state / "secret", os.O_CREAT | os.O_WRONLY, 0o600)
        os.write(secret, bytes(range(SECRET_BYTES)))
        os.close(secret)
        (room := state / "room.yaml").write_text(profile)
        words = [sys.executable, "-m", *SERVE, "--set", "interface=eth0"]
        images = self._folder / "images"
        command = self._servers[address].command(
            *words, "--profile", room, "--state", state, "--images", images
        )
        with (state / "log").open("a") as log:
            server = subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )
        self.running[address] = server
        self._stack.callback(forget_pages, state)
        self._stack.callback(self.kill, address)
        assert server.stdout is not None
        assert b"ready" in server.stdout.readline()

    def wait_until_told(self, address: IPv4Address, message: str) -> None:
        """Wait until a server has logged a message."""
        end = time.monotonic() + PATIENCE
        while message not in (text := (self._folder / str(address) / "log").read_text()):
            assert time.monotonic() < end, text
            time.sleep(0.05)

    def lend(self, address: IPv4Address) -> None:
        """Start Kea on a server's machine, as one of a pair that shares its leases."""
        folder = self._folder / f"kea-{address}"
        folder.mkdir()
        (folder / "kea.json").write_text(json.dumps(kea(address)))
        own = {name: str(folder) for name in ("KEA_PIDFILE_DIR", "KEA_LOCKFILE_DIR")}
        command = self._servers[address].command("kea-dhcp4", "-c", folder / "kea.json")
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **own}
        )
        self.lending[address] = process
        self._stack.enter_context(process)
        self._stack.callback(process.kill)

    def kill(self, address: IPv4Address) -> None:
        """Take a server's power away: all its processes end at once."""
        server = self.running.pop(address, None)
        if server is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.communicate()

    def seats(self, address: IPv4Address) -> list[str]:
        """Return the MAC addresses of the seats that a server knows."""
        seats = self._servers[address].call(lambda: fetch_status("127.0.0.1:8080"))["seats"]
        return [seat["mac"] for seat in seats]

    def address_of_pc(self, address: IPv4Address) -> None:
        """Let the PC have another address."""
        self.pc.configure("addr flush dev eth0", f"addr add {address}/24 broadcast + dev eth0")

    def play(self, scenario: Callable[[Asking], Coroutine[Any, Any, None]]) -> None:
        """Run ``scenario`` on the PC."""

        async def run() -> None:
            asking = Asking(find("eth0")[0])
            try:
                await scenario(asking)
            finally:
                asking.close()

        self.pc.call(lambda: asyncio.run(run()))


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with ExitStack() as stack:
        yield Room(stack, tmp_path)


async def boots(asking: Asking, server: IPv4Address) -> None:
    """Boot the PC from ``server``, up to a page of swap."""
    pc = Pc(ASKER, asking, server, PC)
    try:
        await pc.boot()
    finally:
        await pc.end()


async def is_silent(asking: Asking, server: IPv4Address, question: Packet) -> bool:
    """Ask twice, as firmware does that never counts ``secs`` up."""
    try:
        await asking.ask(question, server, OFFER, (0.7, 0.7))
    except AnswerError:
        return True
    return False


def test_the_second_proxy_boots_pcs_while_the_first_one_is_off(room: Room) -> None:
    room.serve(A, PROXY)
    room.serve(B, PROXY)

    async def with_both(asking: Asking) -> None:
        assert await is_silent(asking, B, ASKER.discover(1))
        await boots(asking, A)

    room.play(with_both)
    assert room.seats(A) == [MAC], "and not the second server, which has looked for others"
    assert room.seats(B) == [], "it has told nothing of a PC that it left to the first one"
    room.kill(A)

    async def with_the_second(asking: Asking) -> None:
        # 3 s until the first one counts as lost; the PC asks again after 4 s and 8 s (PXE 2.1).
        await boots(asking, B)

    room.play(with_the_second)
    room.serve(A, PROXY)
    room.wait_until_told(B, "the first boot server answers again")

    async def with_both_again(asking: Asking) -> None:
        assert await is_silent(asking, B, ASKER.discover(2))
        await boots(asking, A)

    room.play(with_both_again)


def test_the_second_server_gives_the_same_addresses_in_full_mode(room: Room) -> None:
    for server in (A, B):
        room.serve(server, FULL)
    addresses: list[IPv4Address] = []

    async def offer(asking: Asking, server: IPv4Address) -> Packet:
        return await asking.ask(ASKER.discover(len(addresses)), server, OFFER, PC_WAITS)

    async def with_both(asking: Asking) -> None:
        assert await is_silent(asking, B, ASKER.discover(9))
        addresses.append((await offer(asking, A)).yiaddr)
        await boots(asking, A)

    room.play(with_both)
    room.address_of_pc(addresses[0])
    room.kill(A)

    async def with_the_second(asking: Asking) -> None:
        # The PC is on with an address of A, and renews it as one that has rebooted.
        held = dict(ASKER.request(await offer(asking, B)).options)
        del held[Option.SERVER_IDENTIFIER]
        question = replace(ASKER.discover(5), options=held)
        ack = await asking.ask(question, B, [MessageType.DHCPACK], (4.0, 4.0))
        addresses.append(ack.yiaddr)
        await boots(asking, B)
        addresses.append((await offer(asking, B)).yiaddr)

    room.play(with_the_second)
    room.serve(A, FULL)
    room.wait_until_told(B, "the first boot server answers again")

    async def with_both_again(asking: Asking) -> None:
        assert await is_silent(asking, B, ASKER.discover(10))
        addresses.append((await offer(asking, A)).yiaddr)
        await boots(asking, A)

    room.play(with_both_again)
    assert len(set(addresses)) == 1, addresses


@pytest.mark.nightly
@pytest.mark.timeout(120)
@pytest.mark.skipif(not Path(HOOKS).exists(), reason="Kea's hook for hot standby is not installed")
def test_proxies_on_the_machines_of_a_pair_of_keas(room: Room) -> None:
    for server in (A, B):
        room.lend(server)
        room.serve(server, PROXY)
    addresses: list[IPv4Address] = []

    async def lease(asking: Asking, server: IPv4Address) -> None:
        number = 20 + len(addresses)
        pc = PxeClient(mac=MAC, xid=number)
        offer = await asking.ask(parse(pc.plain("discover")), server, OFFER, [1.0] * 30)
        wanted = (("server_id", str(server)), ("requested_addr", str(offer.yiaddr)))
        request = parse(PxeClient(mac=MAC, xid=number + 9).plain("request", *wanted))
        ack = await asking.ask(request, server, [MessageType.DHCPACK], [1.0] * 5)
        addresses.append(ack.yiaddr)

    async def with_both(asking: Asking) -> None:
        await lease(asking, A)
        assert await is_silent(asking, B, ASKER.discover(1))
        await boots(asking, A)

    room.play(with_both)
    room.lending[A].kill()
    room.kill(A)

    async def with_the_second(asking: Asking) -> None:
        await lease(asking, B)
        await boots(asking, B)

    room.play(with_the_second)
    assert len(set(addresses)) == 1, addresses
