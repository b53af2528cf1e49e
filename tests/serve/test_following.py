"""``netboot serve`` while its network interfaces change: all of its servers follow."""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Self

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from netboot.serve.dhcp.packet import BOOTREPLY, Option, parse
from tests import ROOT
from tests.support.command import SERVE
from tests.support.images import write_manifest
from tests.support.pxe_client import UEFI_X64, PxeClient

pytestmark = pytest.mark.root

CLONE_NEWNET = 0x40000000  # linux/sched.h
ETH_P_ALL = 3
PATIENCE = 60.0  # seconds for what takes one or two on an idle machine
CARD = """\
link add lan0 type veth peer name end
link set end up
link set lan0 up
"""
PC = PxeClient(mac="52:54:00:00:00:01", arch=UEFI_X64)
PC_ADDRESS = "10.99.0.77"
RRQ = b"\0\1no-such-file\0octet\0"


def ip(batch: str) -> None:
    subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)


class Served:
    """A server in a network namespace, which the calling thread is in."""

    def __init__(self, folder: Path, *options: str, **environment: str) -> None:
        (folder / "room.yaml").write_text("swap: {capacity: 64MiB}\ninterface: lan0\n")
        write_manifest(folder)
        command = [
            sys.executable,
            "-P",
            "-m",
            *SERVE,
            *options,
        ]
        command += ["--images", str(folder), "--state", str(folder / "state")]
        self.process = subprocess.Popen(
            [*command, "--profile", str(folder / "room.yaml")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        )
        assert self.process.stdout is not None and self.process.stderr is not None
        self._errors: Queue[str] = Queue()
        self._reader = threading.Thread(target=self._read, args=(self.process.stderr,), daemon=True)
        self._reader.start()
        self.ready = json.loads(self.process.stdout.readline())["ready"]

    def _read(self, stream: Iterator[str]) -> None:
        for line in stream:
            self._errors.put(line.strip())

    def line(self, beginning: str) -> str:
        """Return the next line of the log that begins so."""
        while True:
            line = self._errors.get(timeout=PATIENCE)
            if line.startswith(beginning):
                return line

    def stop(self) -> None:
        with self.process:
            self.process.send_signal(signal.SIGTERM)
            self._reader.join()


def within(seconds: float, ask: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not (well := ask()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return well


def answers(address: str) -> bool:
    """Return True if HTTP, pages and TFTP answer at ``address``."""
    try:
        for port in (8080, 10809):
            socket.create_connection((address, port), 1).close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(0.5)
            sock.bind((address, 0))
            sock.sendto(RRQ, (address, 69))
            return sock.recv(600).startswith(b"\0\5")
    except OSError:
        return False


class Wire:
    """The other end of the server's cable."""

    def __init__(self) -> None:
        self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._sock.bind(("end", ETH_P_ALL))
        self._sock.settimeout(0.3)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def offer(self) -> str:
        """Return the address of the server whose OFFER answers a DISCOVER; empty if none comes."""
        frame = Ether(src=PC.mac, dst="ff:ff:ff:ff:ff:ff") / IP(
            src="0.0.0.0", dst="255.255.255.255"
        )
        self._sock.send(bytes(frame / UDP(sport=68, dport=67) / Raw(PC.discover())))
        for packet in self._frames():
            if UDP in packet and packet[UDP].sport == 67:
                answer = parse(bytes(packet[UDP].payload))
                if answer.op == BOOTREPLY:
                    named = socket.inet_ntoa(answer.options[Option.SERVER_IDENTIFIER])
                    assert packet[IP].src == named == str(answer.siaddr)
                    return named
        return ""

    def announced(self) -> str:
        """Return the next address that an ARP packet announces; empty if none comes."""
        for packet in self._frames():
            if packet.type == 0x0806 and packet.op == 1 and packet.psrc == packet.pdst:
                assert packet.hwsrc == packet.src
                return str(packet.psrc)
        return ""

    def _frames(self) -> Iterator[Ether]:
        while True:
            try:
                yield Ether(self._sock.recv(2048))
            except TimeoutError:
                return


def in_namespace(scenario: Callable[[], None]) -> None:
    """Run ``scenario`` in a thread whose network namespace ends with it."""

    def run() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET)")
        ip("link set lo up\n")
        scenario()

    with ThreadPoolExecutor(max_workers=1) as threads:
        threads.submit(run).result()


def test_addresses_and_cards_that_change_are_followed(tmp_path: Path) -> None:
    def scenario() -> None:
        ip(f"{CARD}addr add 10.99.0.1/24 dev lan0\n")
        served = Served(tmp_path, "--set", "dhcp.beside=yes")
        try:
            with Wire() as wire:
                assert within(PATIENCE, lambda: wire.announced() == "10.99.0.1"), "at the start"
                assert within(PATIENCE, lambda: wire.offer() == "10.99.0.1")

                ip("addr del 10.99.0.1/24 dev lan0\naddr add 10.99.0.2/24 dev lan0\n")
                line = served.line("lan0: the address is 10.99.0.2 now, no longer 10.99.0.1")
                assert "swap.patience" in line
                assert within(PATIENCE, lambda: answers("10.99.0.2"))
                assert within(PATIENCE, lambda: wire.offer() == "10.99.0.2")

                ip("addr add 10.98.0.1/24 dev lan0\n")
                served.line("lan0: 10.98.0.1 is served as well")
                assert within(PATIENCE, lambda: answers("10.98.0.1"))
                assert within(PATIENCE, lambda: answers("10.99.0.2"))
                assert within(PATIENCE, lambda: wire.offer() == "10.99.0.2")

                ip("link set lan0 mtu 1400\n")
                served.line("lan0: the MTU is 1400 now, no longer 1500")
                ip("link set end down\n")
                served.line("lan0: no link")
                ip("link set end up\n")
                served.line("lan0: the link is back")

            ip("link del lan0\n")
            served.line("lan0: 10.99.0.2 and 10.98.0.1 are not served any more: there is no")
            ip(f"{CARD}addr add 10.99.0.1/24 dev lan0\n")
            with Wire() as wire:
                served.line("lan0: 10.99.0.1 is served from now on")
                assert within(PATIENCE, lambda: answers("10.99.0.1"))
                assert within(PATIENCE, lambda: wire.offer() == "10.99.0.1")
                assert within(PATIENCE, lambda: wire.announced() == "10.99.0.1")
        finally:
            served.stop()

    in_namespace(scenario)


def test_a_service_waits_for_its_interface(tmp_path: Path) -> None:
    full = ("dhcp.mode=full", "dhcp.range=10.99.0.50-10.99.0.60", "dhcp.beside=yes")

    def scenario() -> None:
        options = (word for each in full for word in ("--set", each))
        served = Served(tmp_path, *options, INVOCATION_ID="of a unit")
        try:
            assert served.ready["interfaces"] == []
            served.line("there is no network interface 'lan0'")
            ip(f"{CARD}addr add 10.99.0.1/24 dev lan0 valid_lft 900 preferred_lft 900\n")
            assert "from DHCP?" in served.line("lan0: 10.99.0.1 is served from now on")
            with Wire() as wire:
                assert within(PATIENCE, lambda: wire.offer() == "10.99.0.1")
        finally:
            served.stop()

    in_namespace(scenario)
