"""Real sockets, in network namespaces of the tests, with scapy's clients on raw cables."""

import asyncio
import ctypes
import json
import logging
import os
import socket
import subprocess
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from netboot.boot.client import Client
from netboot.boot.events import Journal
from netboot.boot.plan import BootPlan, SeatKeys, boot_plan
from netboot.errors import OperatorError
from netboot.host.interfaces import Interface, find
from netboot.profile.fields import AddressRange
from netboot.profile.profile import Profile
from netboot.profile.sections import Boot, Dhcp
from netboot.serve.dhcp import answer
from netboot.serve.dhcp.packet import BOOTREPLY, MessageType, Packet, parse
from netboot.serve.dhcp.server import ANSWERED_AT_ONCE, DhcpServer
from netboot.serve.dhcp.sockets import BATCH
from tests.support.pxe_client import UEFI_X64, PxeClient

CLONE_NEWNET = 0x40000000  # linux/sched.h
ETH_P_IP = 0x0800
PATIENCE = 100  # seconds to wait for a reply; pytest's limit cannot end a thread

FIRST = IPv4Address("10.1.0.50")
PROXY = Profile(dhcp=Dhcp(mode="proxy"))
FULL = Profile(dhcp=Dhcp(mode="full", range=AddressRange(first=FIRST, last=FIRST + 99)))
ANN = PxeClient(mac="52:54:00:00:00:01", arch=UEFI_X64)
BOB = PxeClient(mac="52:54:00:00:00:02", xid=2)


def plan(client: Client, server: IPv4Address, *, privileged: bool = True) -> BootPlan:
    return boot_plan(PROXY, PROXY.seat_of(client.mac), client, SeatKeys("token"), server=server)


class Cable:
    """The client's end of a veth pair: frames in, frames out, without an IP stack."""

    def __init__(self, name: str, protocol: int = ETH_P_IP) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
        self._socket.bind((name, protocol))
        self._socket.setblocking(False)

    def close(self) -> None:
        self._socket.close()

    def send(self, data: bytes, source: str = "0.0.0.0", to: str = "255.255.255.255") -> None:
        """Send a UDP payload from the client's port 68, or from 4011 to 4011 with a ``source``."""
        port, target = (68, 67) if source == "0.0.0.0" else (4011, 4011)
        frame = Ether(src=ANN.mac, dst="ff:ff:ff:ff:ff:ff") / IP(src=source, dst=to)
        self._socket.send(bytes(frame / UDP(sport=port, dport=target) / Raw(data)))

    def put(self, frame: Any) -> None:
        self._socket.send(bytes(frame))

    async def reply(self) -> tuple[Any, Packet]:
        """Return a server's next frame: its IP layer by scapy, and its DHCP message by us."""
        while True:
            frame = Ether(await asyncio.get_running_loop().sock_recv(self._socket, 2048))
            if UDP in frame and frame[UDP].sport in (67, 4011) and frame[IP].src != "0.0.0.0":
                packet = parse(bytes(frame[UDP].payload))
                if packet.op == BOOTREPLY:  # not a question of our server to other servers
                    return frame[IP], packet


class Lan:
    """Three cables in a new namespace: s0-c0 and s1-c1 are served, s2-c2 is not."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.stack = stack
        self.leases = folder / "leases.json"
        self.journal = Journal()
        self.cables: list[Cable] = []
        self.servers: list[DhcpServer] = []
        self.processes: list[subprocess.Popen[str]] = []  # killed at the end
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        for number in range(3):
            commands = f"""\
                link add s{number} type veth peer name c{number}
                addr add 10.{number + 1}.0.1/24 broadcast + dev s{number}
                link set s{number} up
                link set c{number} up
                neigh add 10.{number + 1}.0.77 lladdr {ANN.mac} dev s{number} nud permanent"""
            subprocess.run(["ip", "-batch", "-"], input=commands, text=True, check=True)
            self.cables.append(Cable(f"c{number}"))
            stack.callback(self.cables[-1].close)

    async def serve(self, profile: Profile) -> DhcpServer:
        interfaces = find("s0") + find("s1")
        server = DhcpServer(profile, interfaces, plan, self.journal, self.leases)
        self.servers.append(server)
        await server.start()
        return server

    async def run(self, scenario: Callable[["Lan"], Coroutine[Any, Any, None]]) -> None:
        """Run ``scenario``, and stop the servers that it started also if it fails."""
        try:
            await asyncio.wait_for(scenario(self), PATIENCE)
        finally:
            for process in self.processes:
                process.kill()  # a thread may wait for it, and asyncio for that thread
            for server in self.servers:
                await server.stop()

    def unplug(self) -> None:
        """Take the server's first interface down."""
        subprocess.run(["ip", "link", "set", "s0", "down"], check=True)

    def join(self) -> None:
        """Connect all cables, and give the second interface an address in the network of the first."""
        commands = """\
            link add lan type bridge forward_delay 0
            link set lan up
            link set c0 master lan
            link set c1 master lan
            link set c2 master lan
            addr flush dev s1
            addr add 10.1.0.2/24 dev s1"""
        subprocess.run(["ip", "-batch", "-"], input=commands, text=True, check=True)

    def knows(self, address: str, device: str) -> None:
        """Have the kernel know ANN's card at ``address``."""
        words = ["ip", "neigh", "replace", address, "lladdr", ANN.mac, "dev", device]
        subprocess.run(words, check=True)

    def messages(self, client: PxeClient) -> list[str]:
        return [f"{event.stage}: {event.message}" for event in self.journal.history(client.mac)]


def on_lan(folder: Path, scenario: Callable[[Lan], Coroutine[Any, Any, None]]) -> None:
    """Run ``scenario`` in a thread whose network namespace ends with it."""

    def run() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET)")
        with ExitStack() as stack:
            asyncio.run(Lan(stack, folder).run(scenario))

    with ThreadPoolExecutor(max_workers=1) as threads:
        threads.submit(run).result()


root = pytest.mark.root


@root
def test_each_lan_is_answered_from_its_own_address(tmp_path: Path) -> None:
    async def scenario(lan: Lan) -> None:
        await lan.serve(PROXY)
        lan.cables[2].send(ANN.discover())  # not served: no reply and no event
        lan.cables[1].send(ANN.discover())
        old = PxeClient(mac="52:54:00:00:00:03", arch=2)
        lan.cables[0].send(old.discover())
        lan.cables[0].send(BOB.request())
        lan.cables[0].send(BOB.discover())
        for number, client in enumerate((BOB, ANN)):
            us = f"10.{number + 1}.0.1"
            ip, packet = await lan.cables[number].reply()
            assert (ip.src, ip.dst) == (us, "255.255.255.255")
            assert (ip[UDP].sport, ip[UDP].dport) == (67, 68)
            assert packet.mac == client.mac
            assert packet.message_type is MessageType.DHCPOFFER
            assert (str(packet.siaddr), packet.sname) == (us, us.encode())

        lan.cables[1].send(ANN.request(ciaddr="10.2.0.77"), source="10.2.0.77", to="10.2.0.1")
        ip, packet = await lan.cables[1].reply()
        assert (ip.src, ip.dst) == ("10.2.0.1", "10.2.0.77")
        assert (ip[UDP].sport, ip[UDP].dport) == (4011, 4011)
        assert packet.message_type is MessageType.DHCPACK
        assert packet.file == b"snponly.efi"
        (told,) = lan.messages(old)
        assert told.startswith(
            "dhcp: DISCOVER: no boot loader for PXEClient architecture 2; the PC"
        )
        assert lan.messages(BOB)[0] == "dhcp: REQUEST: left to the LAN's own DHCP server"
        assert lan.messages(ANN) == [
            "dhcp: DISCOVER from PXEClient uefi-x64",
            "dhcp: OFFER, boot file snponly.efi",
            "pxe: REQUEST from PXEClient uefi-x64",
            "pxe: ACK, boot file snponly.efi",
        ]
        assert not lan.leases.exists()

    on_lan(tmp_path, scenario)


@root
def test_an_old_raspberry_pi_waits_for_its_offer_and_nobody_else_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer, "SLOW_SECONDS", 0.3)
    profile = Profile(boot=Boot(raspberry_pi="/srv/pi"), dhcp=Dhcp(mode="proxy"))

    async def scenario(lan: Lan) -> None:
        await lan.serve(profile)
        pi = PxeClient(mac="b8:27:eb:00:00:01", arch=41)
        for client in (pi, BOB):
            lan.cables[0].send(client.discover())
        answered = [(await lan.cables[0].reply())[1].mac for _ in range(2)]
        assert answered == [BOB.mac, pi.mac]
        lan.cables[0].send(pi.discover())  # the server stops before this delayed offer is due

    on_lan(tmp_path, scenario)


@root
def test_hostile_packets_cost_a_line_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(lan: Lan) -> None:
        await lan.serve(PROXY)
        hostile = [b"", b"x", bytes(300), ANN.discover()[:239], ANN.discover(op=3), b"y" * 1400]
        for data in hostile * 5:
            lan.cables[0].send(data)
        lan.cables[0].send(PxeClient(ipxe=True, mac=BOB.mac).discover())
        _, packet = await lan.cables[0].reply()
        assert packet.mac == BOB.mac
        assert packet.file.decode() == "bios.ipxe"
        assert lan.messages(BOB) == [
            "dhcp: DISCOVER from iPXE bios",
            "dhcp: OFFER, boot file bios.ipxe",
        ]

    with caplog.at_level(logging.WARNING):
        on_lan(tmp_path, scenario)
    senders = [line.split("bad packet from ")[1].split(",")[0] for line in caplog.messages]
    named = [f"{mac} at 0.0.0.0" for mac in (ANN.mac, ":".join(["79"] * 6))]
    assert sorted(senders) == sorted(["0.0.0.0", *named])


@root
def test_leases_survive_a_restart(tmp_path: Path) -> None:
    async def scenario(lan: Lan) -> None:
        cable = lan.cables[0]
        server = await lan.serve(FULL)
        cable.send(ANN.discover())
        _, offer = await cable.reply()
        assert not lan.leases.exists()  # an offer is not a lease
        address = str(offer.yiaddr)
        chosen = [("server_id", "10.1.0.1"), ("requested_addr", address)]
        cable.send(ANN.request(*chosen))
        _, ack = await cable.reply()
        assert (ack.message_type, ack.yiaddr) == (MessageType.DHCPACK, offer.yiaddr)
        saved = json.loads(lan.leases.read_text())["leases"]
        assert [(row["client"], row["address"]) for row in saved] == [(ANN.mac, address)]
        assert lan.messages(ANN)[1] == f"dhcp: OFFER {address}, boot file snponly.efi"
        data = lan.journal.history(ANN.mac)[3].data
        assert (data["type"], data["address"], data["file"]) == ("ACK", address, "snponly.efi")
        assert data["ms"] > 0
        await server.stop()

        await lan.serve(FULL)
        cable.send(BOB.request(*chosen))
        _, refusal = await cable.reply()
        assert refusal.message_type is MessageType.DHCPNAK
        cable.send(ANN.plain("request", ("requested_addr", address)))
        _, again = await cable.reply()
        assert (again.message_type, again.yiaddr) == (MessageType.DHCPACK, offer.yiaddr)
        assert {path.name for path in tmp_path.iterdir()} == {"leases.json", ".leases.json.spare"}

    on_lan(tmp_path, scenario)


async def refused_by_the_disk(caplog: pytest.LogCaptureFixture) -> None:
    while "DHCP leases: cannot save" not in caplog.text:
        await asyncio.sleep(0.01)


async def saved(path: Path) -> None:
    while not path.exists():
        await asyncio.sleep(0.01)


@root
def test_no_lease_is_acknowledged_before_it_is_saved(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(lan: Lan) -> None:
        cable = lan.cables[0]
        (taken := tmp_path / "taken").touch()  # a file in place of the folder
        lan.leases = taken / "leases.json"
        await lan.serve(FULL)
        cable.send(ANN.plain("request", ("requested_addr", str(FIRST))))
        cable.send(ANN.request(("requested_addr", str(FIRST))))
        await refused_by_the_disk(caplog)
        taken.unlink()
        cable.send(BOB.discover())
        _, packet = await cable.reply()
        assert packet.mac == BOB.mac
        await saved(lan.leases)
        assert json.loads(lan.leases.read_text())["leases"][0]["address"] == str(FIRST)

    on_lan(tmp_path, scenario)


@root
def test_no_lease_is_acknowledged_before_the_disk_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fsync, failing = os.fsync, True

    def watched(descriptor: int) -> None:
        if failing:
            raise OSError(5, "Input/output error")
        fsync(descriptor)

    async def scenario(lan: Lan) -> None:
        nonlocal failing
        cable = lan.cables[0]
        await lan.serve(FULL)
        monkeypatch.setattr(os, "fsync", watched)
        cable.send(ANN.plain("request", ("requested_addr", str(FIRST))))
        await refused_by_the_disk(caplog)
        failing = False
        cable.send(BOB.discover())
        _, packet = await cable.reply()
        assert packet.mac == BOB.mac
        await saved(lan.leases)
        assert json.loads(lan.leases.read_text())["leases"][0]["address"] == str(FIRST)

    on_lan(tmp_path, scenario)


@root
def test_packets_that_wait_together_wait_for_the_disk_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk takes 8 ms and more for one write: PC by PC, a room would wait for minutes."""
    fsync, synced = os.fsync, 0

    def counted(descriptor: int) -> None:
        nonlocal synced
        synced += 1
        fsync(descriptor)

    async def scenario(lan: Lan) -> None:
        await lan.serve(FULL)
        monkeypatch.setattr(os, "fsync", counted)
        clients = {f"52:54:00:00:01:{number:02x}": FIRST + number for number in range(BATCH)}
        for mac, address in clients.items():  # all before the server runs: this does not await
            request = PxeClient(mac=mac).plain("request", ("requested_addr", str(address)))
            lan.cables[0].send(request)
        given: dict[str | None, IPv4Address] = {}
        while len(given) < len(clients):
            _, packet = await lan.cables[0].reply()
            given[packet.mac] = packet.yiaddr
        assert given == clients
        # The file and its folder, for the PCs of each turn: others wait for the next write.
        assert synced <= 2 * (BATCH // ANSWERED_AT_ONCE)

    on_lan(tmp_path, scenario)


@root
def test_a_storm_is_answered_to_the_last_client(tmp_path: Path) -> None:
    """500 at once: dnsmasq and Kea answer 166, and the rest overruns their receive buffers."""

    async def scenario(lan: Lan) -> None:
        await lan.serve(PROXY)
        clients = [f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}" for number in range(500)]
        for mac in clients:  # all before the server runs: this does not await
            lan.cables[0].send(PxeClient(mac=mac).discover())
        seen: set[str | None] = set()
        while len(seen) < len(clients):
            _, packet = await lan.cables[0].reply()
            seen.add(packet.mac)
        assert seen == set(clients)

    on_lan(tmp_path, scenario)


@root
def test_a_busy_port_is_the_operators_to_mend(tmp_path: Path) -> None:
    async def scenario(lan: Lan) -> None:
        for port, profile in ((67, FULL), (4011, PROXY)):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.bind(("0.0.0.0", port))
                server = DhcpServer(profile, find("s0"), plan, lan.journal)
                with pytest.raises(OperatorError, match=f"UDP port {port} ") as caught:
                    await server.start()
                await server.stop()
            assert "dnsmasq" in caught.value.hint
        await (again := DhcpServer(PROXY, find("s0"), plan, lan.journal)).start()
        await again.stop()

    on_lan(tmp_path, scenario)


@root
def test_unicast_on_a_card_that_is_not_served_is_left_to_a_server_there(tmp_path: Path) -> None:
    """Of two sockets for all cards the last one got it: renewals at the other server were lost."""
    renewal = BOB.plain("request", ciaddr="10.3.0.77")

    async def scenario(lan: Lan) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("0.0.0.0", 67))
            other.setblocking(False)
            await lan.serve(FULL)
            frame = Ether(src=ANN.mac, dst=find("s2")[0].mac.hex(":"))
            frame /= IP(src="10.3.0.77", dst="10.3.0.1") / UDP(sport=68, dport=67)
            lan.cables[2].put(frame / Raw(renewal))
            async with asyncio.timeout(PATIENCE):
                while await asyncio.get_running_loop().sock_recv(other, 2048) != renewal:
                    pass  # a question of our server to other servers
            lan.cables[0].send(ANN.discover())
            _, offer = await lan.cables[0].reply()
            assert offer.message_type is MessageType.DHCPOFFER

    on_lan(tmp_path, scenario)


@root
def test_interfaces_of_a_namespace(tmp_path: Path) -> None:
    async def scenario(lan: Lan) -> None:
        assert [interface.name for interface in find("auto")] == ["s0", "s1", "s2"]
        assert find("s1")[0].network == IPv4Network("10.2.0.0/24")
        with pytest.raises(OperatorError, match="'c0' has no IPv4 address"):
            find("c0")
        lan.unplug()
        with pytest.raises(OperatorError, match="'s0' is down"):
            find("s0")
        assert "s0" not in [interface.name for interface in find("auto")]

    on_lan(tmp_path, scenario)


LAN = Interface("s0", 7, IPv4Address("10.1.0.1"), IPv4Network("10.1.0.0/24"))


def test_addresses_of_no_interface_are_the_operators_to_mend() -> None:
    elsewhere = Interface("s0", 7, IPv4Address("10.9.0.1"), IPv4Network("10.9.0.0/24"))
    with pytest.raises(OperatorError, match=r"dhcp\.range"):
        asyncio.run(DhcpServer(FULL, [elsewhere], plan, Journal()).start())


@root
def test_two_cards_on_one_lan_are_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(lan: Lan) -> None:
        lan.join()
        await lan.serve(FULL)
        cable = Cable("s2")
        lan.stack.callback(cable.close)
        cable.send(ANN.discover())
        ip, offer = await cable.reply()
        server = ip.src
        cable.send(ANN.request(("server_id", server), ("requested_addr", str(offer.yiaddr))))
        ip, ack = await cable.reply()
        assert (ip.src, ack.message_type) == (server, MessageType.DHCPACK)
        kinds = [message.split()[1] for message in lan.messages(ANN)]
        assert kinds == ["DISCOVER", "OFFER", "REQUEST", "ACK"]

        # ARP of one card may have told the PC that the other one's address is there.
        other = "s1" if server == "10.1.0.1" else "s0"
        address, card = str(ack.yiaddr), find(other)[0].mac.hex(":")
        frame = Ether(src=ANN.mac, dst=card) / IP(src=address, dst=server)
        lan.knows(address, other)
        renewal = ANN.request(ciaddr=address)
        cable.put(frame / UDP(sport=68, dport=67) / Raw(renewal))
        ip, ack = await cable.reply()
        assert (ip.src, ack.message_type) == (server, MessageType.DHCPACK)

    with caplog.at_level(logging.WARNING):
        on_lan(tmp_path, scenario)
    (line,) = [line for line in caplog.messages if "are on one LAN" in line]
    assert line.startswith("s0 and s1 are on one LAN, 10.1.0.0/24")
