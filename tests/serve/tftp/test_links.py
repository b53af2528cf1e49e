"""TFTP and TCP over links that are narrower than Ethernet, or that lose packets (boot 5)."""

import contextlib
import json
import logging
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.networks import Machine, connect, machines

log = logging.getLogger(__name__)
pytestmark = [pytest.mark.root, pytest.mark.system]

FILE, CONTENT = "loader.efi", os.urandom(30_000)
NO_FRAGMENTS = (
    "chain whole { type filter hook prerouting priority -500; ip frag-off & 0x3fff != 0 drop; }"
)
NO_ICMP = "chain silence { type filter hook output priority 0; ip protocol icmp drop; }"
# Where they come in: a chain on the way out would tell the sender (EPERM).
LOSSY = "chain heard { type filter hook input priority 0; numgen random mod 100 < 2 drop; }"


@dataclass
class Got:
    """What a boot ROM has at the end: its ``tries`` and the last ``blksize``."""

    content: bytes
    tries: int
    blksize: int


def boot_rom(server: str, wait: float, most: int = 4) -> Got:
    """Read the file as a boot ROM does: one port, lock step, the request again after a silence."""
    request = b"\0\1" + FILE.encode() + b"\0octet\0tsize\0" + b"0\0blksize\0" + b"1468\0"
    blksize = 512
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(wait)
        for tries in range(1, most + 1):
            sock.sendto(request, (server, 69))
            content, block, blksize = b"", 0, 512
            with contextlib.suppress(TimeoutError):
                while True:
                    data, peer = sock.recvfrom(65536)
                    opcode, number = struct.unpack_from("!HH", data)
                    if opcode == 6:
                        words = data[2:].split(b"\0")
                        blksize = int(dict(zip(words[::2], words[1::2], strict=False))[b"blksize"])
                    elif opcode == 3 and number == block + 1:
                        block, content = number, content + data[4:]
                    sock.sendto(struct.pack("!HH", 4, block), peer)
                    if opcode == 3 and len(data) - 4 < blksize:
                        return Got(content, tries, blksize)
    return Got(b"", most, blksize)


class Room:
    """Our server on a machine, with what it told about transfers."""

    def __init__(self, stack: ExitStack, machine: Machine, address: str, folder: Path) -> None:
        (folder / FILE).write_bytes(CONTENT)
        program = (sys.executable, "-P", "-m", "tests.support.serve_tftp")
        self.process = subprocess.Popen(
            machine.command(*program, address, folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        stack.enter_context(self.process)
        stack.callback(self.process.kill)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def stop(self) -> tuple[list[str], str]:
        """Stop it. Return the reasons of all transfers, and its log."""
        self.process.kill()
        out, err = self.process.communicate()
        return [json.loads(line)["reason"] for line in out.splitlines()], err


@contextlib.contextmanager
def near(folder: Path, mtu: int = 1500) -> Iterator[tuple[Room, Machine]]:
    """Yield our server, 10.9.0.1, and a PC on one link."""
    with machines(2) as (ours, pc), ExitStack() as stack:
        connect(ours, pc, {ours: "10.9.0.1/24", pc: "10.9.0.2/24"}, mtu)
        yield Room(stack, ours, "10.9.0.1", folder), pc


@contextlib.contextmanager
def behind_a_router(*, icmp: bool) -> Iterator[tuple[Machine, Machine]]:
    """Yield our machine and a PC behind a router, whose link to the PC has an MTU of 1400."""
    with machines(3) as (ours, router, pc):
        connect(ours, router, {ours: "10.9.0.1/24", router: "10.9.0.254/24"})
        connect(router, pc, {router: "10.8.0.254/24", pc: "10.8.0.2/24"}, 1400)
        ours.configure("route add default via 10.9.0.254")
        pc.configure("route add default via 10.8.0.254")
        router.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        if not icmp:
            router.filter(NO_ICMP)
        yield ours, pc


@contextlib.contextmanager
def far(folder: Path, *, icmp: bool) -> Iterator[tuple[Room, Machine]]:
    """Yield our TFTP server and a PC behind such a router."""
    with behind_a_router(icmp=icmp) as (ours, pc), ExitStack() as stack:
        yield Room(stack, ours, "10.9.0.1", folder), pc


def test_blocks_fit_into_the_mtu_of_the_servers_interface(tmp_path: Path) -> None:
    """A PC that puts no fragments together got nothing, for ever."""
    with near(tmp_path, mtu=1400) as (_, pc):
        pc.filter(NO_FRAGMENTS)
        assert pc.call(lambda: boot_rom("10.9.0.1", 20.0)) == Got(CONTENT, 1, 1368)


@pytest.mark.parametrize("icmp", [True, False])
def test_a_narrow_link_behind_a_router_costs_no_try(tmp_path: Path, icmp: bool) -> None:
    """The router fragments, because no datagram forbids it. The PC puts fragments together."""
    with far(tmp_path, icmp=icmp) as (_, pc):
        assert pc.call(lambda: boot_rom("10.9.0.1", 20.0)) == Got(CONTENT, 1, 1468)


def test_a_pc_that_gets_no_fragments_gets_small_blocks_at_its_second_try(tmp_path: Path) -> None:
    with far(tmp_path, icmp=False) as (room, pc):
        pc.filter(NO_FRAGMENTS)
        assert pc.call(lambda: boot_rom("10.9.0.1", 1.8)) == Got(CONTENT, 2, 512)
        assert pc.call(lambda: boot_rom("10.9.0.1", 20.0)) == Got(CONTENT, 1, 512)
        reasons, log = room.stop()
    assert reasons[0] == "no answer to the first packet, with blocks of 1468 bytes"
    assert log.count("blocks of 512 bytes") == 1


SENT_BYTES = 400_000
SEND = f"""import asyncio
from ipaddress import IPv4Address
from netboot.serve.http.doorkeeper import Doorkeeper
class Sender(asyncio.Protocol):
    def connection_made(self, transport):
        transport.write(bytes({SENT_BYTES}))
        transport.close()
async def main():
    Doorkeeper(Sender).follow([IPv4Address("10.9.0.1")], 8080)
    print("ready", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def received() -> int:
    """Return the number of bytes that the server sends us, or that came until it was silent."""
    count = 0
    with (
        socket.create_connection(("10.9.0.1", 8080), 30) as sock,
        contextlib.suppress(TimeoutError),
    ):
        while data := sock.recv(65536):
            count += len(data)
    return count


def test_a_router_that_swallows_what_it_may_not_fragment_lets_a_connection_pass() -> None:
    """HTTP and pages stood still for ever: no byte came."""
    with behind_a_router(icmp=False) as (ours, pc):
        # A tunnel between them is what is narrow: the PC knows nothing of it, and announces 1460.
        pc.configure("link set c1080254 mtu 1500")
        words = ours.command(sys.executable, "-P", "-c", SEND)
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None and server.stdout.readline() == "ready\n"
            count = pc.call(received)
            server.kill()
    assert count == SENT_BYTES


LOSSY_BYTES = 80_000
PATIENCE = 150.0
CLIENTS = {
    "curl": "curl -s -m {patience:.0f} -o {to} tftp://{server}/{file}",
    "curl, 1468": "curl -s -m {patience:.0f} --tftp-blksize 1468 -o {to} tftp://{server}/{file}",
    "busybox": "busybox tftp -g -l {to} -r {file} {server}",
    "tftp-hpa": "tftp -m binary {server} -c get {file} {to}",
    "atftp": "atftp --get -r {file} -l {to} {server}",
}


@pytest.mark.nightly
def test_real_clients_finish_over_a_lossy_link_wherever_dnsmasq_does(tmp_path: Path) -> None:
    """2 % loss each way. All clients at the same time, of ours and of dnsmasq."""
    content = os.urandom(LOSSY_BYTES)
    with machines(2) as (ours, pc), ExitStack() as stack:
        connect(ours, pc, {ours: "10.9.0.1/24", pc: "10.9.0.2/24"})
        ours.configure("addr add 10.9.0.3/24 dev c10901")
        Room(stack, ours, "10.9.0.1", tmp_path)
        (tmp_path / FILE).write_bytes(content)
        words = (
            "dnsmasq -k -p 0 -C /dev/null --bind-interfaces --listen-address=10.9.0.3 --enable-tftp"
        )
        peer = subprocess.Popen(
            ours.command(
                *words.split(), "--user=root", f"--tftp-root={tmp_path}", "--log-facility=-"
            ),
            stderr=subprocess.DEVNULL,
        )
        stack.enter_context(peer)
        stack.callback(peer.kill)
        pc.filter(LOSSY)
        ours.filter(LOSSY)
        running, begin = {}, time.monotonic()
        for name, words in CLIENTS.items():
            if shutil.which(words.split()[0]) is None:
                continue
            for server in ("10.9.0.1", "10.9.0.3"):
                to = tmp_path / f"{name} {server}".replace(" ", "_").replace(",", "")
                text = words.format(server=server, to=to, file=FILE, patience=PATIENCE)
                running[name, server, to] = subprocess.Popen(pc.command(*text.split()))
        seconds: dict[tuple[str, str], float | None] = {}
        while running and time.monotonic() - begin < PATIENCE:
            for key in [key for key, process in running.items() if process.poll() is not None]:
                name, server, to = key
                del running[key]
                good = to.exists() and to.read_bytes() == content
                seconds[name, server] = time.monotonic() - begin if good else None
            time.sleep(0.1)
        for (name, server, _), process in running.items():
            seconds[name, server] = None
            process.kill()
            process.wait()
    log.info("seconds to the end: %s", seconds)
    lost = [
        name for (name, server), took in seconds.items() if took is None and server == "10.9.0.1"
    ]
    assert [name for name in lost if seconds[name, "10.9.0.3"] is not None] == []
