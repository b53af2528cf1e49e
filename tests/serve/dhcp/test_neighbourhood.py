"""Others on the link: machines that use an address, other DHCP servers (dnsmasq), waiting iPXE."""

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import ICMPv6ND_RA, ICMPv6ND_RS, IPv6
from scapy.layers.l2 import ARP, Ether

from netboot.boot.arch import ARCHITECTURES, RASPBERRY_PI, Firmware, is_grub
from netboot.boot.plan import SeatKeys, boot_plan
from netboot.host.interfaces import find
from netboot.profile.processors import BY_NAME as PROCESSORS
from netboot.profile.profile import Profile
from netboot.profile.sections import Boot as BootSection
from netboot.serve.dhcp.neighbourhood import Neighbourhood
from netboot.serve.dhcp.packet import MessageType, parse
from netboot.serve.dhcp.server import DhcpServer
from tests.serve.dhcp.test_offers import MODELS
from tests.serve.dhcp.test_server import ANN, BOB, FULL, PATIENCE, PROXY, Cable, Lan, on_lan, plan
from tests.support import offers
from tests.support.command import SERVE, patient, plain
from tests.support.images import write_manifest
from tests.support.offers import Ask, Boot, Offer
from tests.support.pxe_client import PxeClient

ETH_P_ALL = 0x0003
STRANGER = "52:54:00:00:00:99"
LINK_LOCAL = "fe80::5054:ff:fe00:1"
QUIET = 0.3  # seconds in which an answer would have come

root = pytest.mark.root


class Tap(Cable):
    """A cable that receives every kind of frame."""

    def __init__(self, name: str, stack: ExitStack) -> None:
        super().__init__(name, ETH_P_ALL)
        stack.callback(self.close)

    def put(self, frame: Any) -> None:
        self._socket.send(bytes(frame))

    async def next(self, kind: Any) -> Any:
        """Return the next frame from the server that has a layer of ``kind``."""
        while True:
            data = await asyncio.get_running_loop().sock_recvfrom(self._socket, 2048)
            frame = Ether(data[0])
            if kind in frame and data[1][2] != socket.PACKET_OUTGOING:
                return frame

    async def is_quiet(self, kind: Any) -> bool:
        try:
            await asyncio.wait_for(self.next(kind), QUIET)
        except TimeoutError:
            return True
        return False


@root
def test_an_address_in_use_is_taken_back_and_no_offer_waits_for_the_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(lan: Lan) -> None:
        await lan.serve(FULL)
        tap, cable = Tap("c0", lan.stack), lan.cables[0]
        cable.send(ANN.discover())
        probe = (await tap.next(ARP))[ARP]
        _, offer = await cable.reply()  # although no machine answered the probe
        address = str(offer.yiaddr)
        assert (probe.psrc, probe.pdst) == ("0.0.0.0", address)
        cable.send(BOB.discover())
        _, other = await cable.reply()
        assert other.yiaddr != offer.yiaddr

        tap.put(Ether(dst=probe.hwsrc) / ARP(op=2, hwsrc=ANN.mac, psrc=str(other.yiaddr)))
        tap.put(Ether(dst=probe.hwsrc) / ARP(op=2, hwsrc=STRANGER, psrc=address))
        await _until(lambda: IPv4Address(address) not in _watch(lan)._probes)
        cable.send(ANN.request(("server_id", "10.1.0.1"), ("requested_addr", address)))
        _, refusal = await cable.reply()
        assert refusal.message_type is MessageType.DHCPNAK
        cable.send(ANN.discover())
        _, again = await cable.reply()
        assert again.yiaddr != offer.yiaddr

    with caplog.at_level(logging.WARNING):
        on_lan(tmp_path, scenario)
    text = "in use by 52:54:00:00:00:99: the PC gets another address"
    assert [text in line for line in caplog.messages].count(True) == 1


async def _leased(cable: Cable, client: PxeClient) -> str:
    cable.send(client.discover())
    _, offer = await cable.reply()
    address = str(offer.yiaddr)
    cable.send(client.request(("server_id", "10.1.0.1"), ("requested_addr", address)))
    _, ack = await cable.reply()
    assert ack.message_type is MessageType.DHCPACK
    return address


async def _probed(tap: Tap, address: str) -> Any:
    """Return the next probe for ``address``."""
    while True:
        probe = (await tap.next(ARP))[ARP]
        if (probe.psrc, probe.pdst) == ("0.0.0.0", address):
            return probe


def _watch(lan: Lan) -> Neighbourhood:
    """Return what watches the link of the first server."""
    watch = lan.servers[0]._neighbourhood
    assert watch is not None
    return watch


async def _until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        await asyncio.sleep(0.01)


def _holders(lan: Lan) -> set[str]:
    """Return the owners of leases that run."""
    (scope,) = lan.servers[0]._scopes
    leases = scope.pool.as_json()["leases"]
    return {row["client"] for row in leases if row["expires"] > time.time()}


@root
def test_a_decline_is_believed_if_another_machine_answers(tmp_path: Path) -> None:
    async def scenario(lan: Lan) -> None:
        await lan.serve(FULL)
        tap, cable = Tap("c0", lan.stack), lan.cables[0]
        address = await _leased(cable, ANN)
        await _probed(tap, address)  # the one of the offer
        for mac in (ANN.mac, STRANGER):
            cable.send(ANN.plain("decline", ("requested_addr", address)))
            probe = await _probed(tap, address)
            tap.put(Ether(dst=probe.hwsrc) / ARP(op=2, hwsrc=mac, psrc=address))
            await _until(lambda: not _watch(lan)._claims)
            assert _holders(lan) == ({ANN.mac} if mac == ANN.mac else set())
        asking = [("requested_addr", address)]
        cable.send(BOB.plain("discover", *asking))
        _, other = await cable.reply()
        assert str(other.yiaddr) != address, "it rests"

    on_lan(tmp_path, scenario)


@root
def test_a_release_is_believed_if_the_address_falls_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netboot.serve.dhcp.neighbourhood.LEAVE_SECONDS", 0.1)

    async def scenario(lan: Lan) -> None:
        await lan.serve(FULL)
        tap, cable = Tap("c0", lan.stack), lan.cables[0]
        address = await _leased(cable, ANN)
        await _probed(tap, address)
        for silent in (False, True):
            patience = 0.3 if silent else PATIENCE
            monkeypatch.setattr("netboot.serve.dhcp.neighbourhood.PROBE_PATIENCE", patience)
            cable.send(ANN.plain("release", ciaddr=address))
            probe = await _probed(tap, address)
            if not silent:
                tap.put(Ether(dst=probe.hwsrc) / ARP(op=2, hwsrc=ANN.mac, psrc=address))
            await _until(lambda: not _watch(lan)._claims)
            assert _holders(lan) == (set() if silent else {ANN.mac})

    on_lan(tmp_path, scenario)


@root
def test_ipxe_alone_with_us_need_not_wait_for_a_router(tmp_path: Path) -> None:
    async def scenario(lan: Lan) -> None:
        await lan.serve(FULL)
        tap, cable = Tap("c0", lan.stack), lan.cables[0]
        asks = IPv6(src=LINK_LOCAL, dst="ff02::2", hlim=255) / ICMPv6ND_RS()
        solicitation = Ether(src=ANN.mac, dst="33:33:00:00:00:02") / asks
        tap.put(solicitation)
        assert await tap.is_quiet(ICMPv6ND_RA)  # not yet known as a PC that we boot
        cable.send(PxeClient(mac=ANN.mac, arch=7, ipxe=True).discover())
        frame = await tap.next(ICMPv6ND_RA)  # the answer to the earlier solicitation
        assert frame.dst == ANN.mac
        tap.put(solicitation)
        frame = await tap.next(ICMPv6ND_RA)
        assert (frame.dst, frame[IPv6].dst) == (ANN.mac, LINK_LOCAL)
        assert frame[ICMPv6ND_RA].routerlifetime == 0
        router = IPv6(src="fe80::9", dst="ff02::1", hlim=255) / ICMPv6ND_RA()
        tap.put(Ether(src=STRANGER, dst="33:33:00:00:00:01") / router)
        tap.put(solicitation)
        assert await tap.is_quiet(ICMPv6ND_RA)

    on_lan(tmp_path, scenario)


@root
@pytest.mark.parametrize("mode", ["proxy", "router"])
def test_a_network_that_is_not_ours_alone_gets_no_advertisement(tmp_path: Path, mode: str) -> None:
    with_router = FULL.dhcp.model_copy(update={"router": IPv4Address("10.1.0.254")})
    profile = PROXY if mode == "proxy" else Profile(dhcp=with_router)

    async def scenario(lan: Lan) -> None:
        await lan.serve(profile)
        tap, cable = Tap("c0", lan.stack), lan.cables[0]
        cable.send(PxeClient(mac=ANN.mac, arch=7, ipxe=True).discover())
        await cable.reply()
        asks = IPv6(src=LINK_LOCAL, dst="ff02::2", hlim=255) / ICMPv6ND_RS()
        tap.put(Ether(src=ANN.mac, dst="33:33:00:00:00:02") / asks)
        assert await tap.is_quiet(ICMPv6ND_RA)

    on_lan(tmp_path, scenario)


@root
def test_a_second_proxy_is_an_event_for_each_seat_and_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(lan: Lan) -> None:
        await lan.serve(PROXY)
        tap = Tap("c0", lan.stack)
        for client in (ANN, BOB):
            options = [("message-type", "offer"), ("vendor_class_id", b"PXEClient"), "end"]
            head = BOOTP(op=2, chaddr=bytes.fromhex(client.mac.replace(":", "")))
            packet = IP(src="10.1.0.9", dst="255.255.255.255") / UDP(sport=67, dport=68)
            tap.put(Ether(dst="ff:ff:ff:ff:ff:ff") / packet / head / DHCP(options=options))
            while not lan.messages(client):
                await asyncio.sleep(0.01)
            assert "second proxyDHCP server, 10.1.0.9" in lan.messages(client)[0]

    with caplog.at_level(logging.WARNING):
        on_lan(tmp_path, scenario)
    (line,) = [line for line in caplog.messages if "10.1.0.9" in line]
    assert "a second proxyDHCP server, 10.1.0.9, answers PXE clients on s0" in line


# dnsmasq as the LAN's own server, and our proxy beside it.

SITE = "10.4.0.9"
OURS = "10.4.0.1"


@contextmanager
def site(*server: str | Path) -> Iterator[None]:
    """Make a LAN b0 with us, a PC's cable c9, and the site's server in its own namespace."""
    commands = f"""\
        link add b0 type bridge forward_delay 0
        addr add {OURS}/24 broadcast + dev b0
        link set b0 up
        link add s9 type veth peer name c9
        link set s9 master b0 up
        link set c9 up
        link add s8 type veth peer name site
        link set s8 master b0 up
        neigh add 10.4.0.77 lladdr {ANN.mac} dev b0 nud permanent"""
    subprocess.run(["ip", "-batch", "-"], input=commands, text=True, check=True)
    wait = "until ip link show site >/dev/null 2>&1; do sleep 0.02; done"
    address = f"ip link set lo up; ip address add {SITE}/24 broadcast + dev site"
    address += "; ip link set site up"
    script = f'{wait}; {address}; exec "$@"'
    with subprocess.Popen(["unshare", "--net", "sh", "-c", script, "sh", *server]) as process:
        try:
            while (
                Path(f"/proc/{process.pid}/ns/net").readlink()
                == Path("/proc/thread-self/ns/net").readlink()
            ):
                pass
            subprocess.run(["ip", "link", "set", "site", "netns", str(process.pid)], check=True)
            yield
        finally:
            process.terminate()


def dnsmasq(folder: Path, *words: str, pool: str = "10.4.0.50,10.4.0.99,1h") -> list[str]:
    server = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root"]
    server += ["--interface=site", "--bind-interfaces", f"--dhcp-range={pool}", "--no-ping"]
    return [*server, "--pid-file=", f"--dhcp-leasefile={folder / 'site.leases'}", *words]


async def _offers(cable: Cable, client: PxeClient) -> list[Offer]:
    """Return the offers of both servers."""
    seen: dict[str, Offer] = {}
    while len(seen) < 2:
        cable.send(client.discover())
        try:
            async with asyncio.timeout(0.5):
                while len(seen) < 2:
                    ip, _ = await cable.reply()
                    data = bytes(ip[UDP].payload)
                    if parse(data).mac == client.mac:
                        seen.setdefault(ip.src, Offer(data, ip.src))
        except TimeoutError:  # dnsmasq is not up yet
            continue
    return list(seen.values())


@root
def test_two_servers_on_one_lan(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(lan: Lan) -> None:
        with site(*dnsmasq(tmp_path)):
            every = Profile(boot=BootSection(architectures=tuple(PROCESSORS)))
            keys = SeatKeys("token")
            server = DhcpServer(
                every,
                find("b0"),
                lambda client, us, privileged: boot_plan(
                    every, every.seat_of(client.mac), client, keys, server=us
                ),
                lan.journal,
            )
            lan.servers.append(server)
            await server.start()
            cable = Cable("c9")
            lan.stack.callback(cable.close)
            number = 0
            # A Pi gets no file unless the operator has a folder with its files.
            for row in (row for row in ARCHITECTURES if row is not RASPBERRY_PI):
                for model in MODELS[row.firmware]:
                    ipxe, number = model is offers.ipxe, number + 1
                    client = PxeClient(f"52:54:00:00:01:{number:02x}", row.code, ipxe)
                    seen = await _offers(cable, client)
                    assert {offer.source for offer in seen} == {OURS, SITE}
                    choice = model(seen)
                    if isinstance(choice, Ask):
                        assert choice == Ask(OURS)
                        request = client.request(ciaddr="10.4.0.77", flags=0)
                        cable.send(request, source="10.4.0.77", to=OURS)
                        ip, _ = await cable.reply()
                        ack = Offer(bytes(ip[UDP].payload), ip.src, ip[UDP].sport)
                        choice = offers.acknowledged(choice, ack)
                    loader = row.loader
                    if row.firmware is Firmware.UEFI_HTTP:
                        loader = f"http://{OURS}:8080/boot/{loader}"
                    elif is_grub(loader):
                        loader = f"boot/{loader}"
                    file = f"{row.name}.ipxe" if ipxe else loader
                    assert choice == Boot(OURS, file)

    with caplog.at_level(logging.WARNING):
        on_lan(tmp_path, scenario)
    assert caplog.messages == []


@root
def test_the_trap_of_option_60_is_noticed_before_any_pc_boots(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netboot.serve.dhcp.neighbourhood.SURVEY_SECONDS", (0.0, 0.5, 1.0, 2.0))

    async def scenario(lan: Lan) -> None:
        with site(*dnsmasq(tmp_path, "--dhcp-option-force=60,PXEClient")):
            server = DhcpServer(PROXY, find("b0"), plan, lan.journal)
            lan.servers.append(server)
            await server.start()
            while not caplog.messages:
                await asyncio.sleep(0.05)

    with caplog.at_level(logging.WARNING):
        on_lan(tmp_path, scenario)
    assert f"the DHCP server {SITE} sends option 60 'PXEClient' on b0" in caplog.messages[0]


@root
def test_a_lan_without_a_dhcp_server_is_said_to_be_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netboot.serve.dhcp.neighbourhood.SURVEY_SECONDS", (0.0,))
    monkeypatch.setattr("netboot.serve.dhcp.neighbourhood.SURVEY_PATIENCE", 0.1)

    async def scenario(lan: Lan) -> None:
        await lan.serve(PROXY)
        while not caplog.messages:
            await asyncio.sleep(0.01)

    with caplog.at_level(logging.WARNING):
        on_lan(tmp_path, scenario)
    assert "no DHCP server answers on s0" in caplog.messages[0]


# A second server like ours: `netboot serve` as its user starts it.

FULL_WORDS = ("--set", "dhcp.mode=full", "--set", "dhcp.range=10.4.0.50-10.4.0.99")
SERVICE_VARIABLES = ("NOTIFY_SOCKET", "INVOCATION_ID")
PXE_MENU = ("--pxe-service=x86PC,boot,undionly", "--dhcp-no-override")


def netboot_serve(folder: Path, interface: str, *words: str) -> list[str | Path]:
    (folder / interface).mkdir(exist_ok=True)
    write_manifest(folder)
    (folder / "room.yaml").write_text("swap: {capacity: 64MiB}\n")
    command: list[str | Path] = [
        sys.executable,
        "-m",
        *SERVE,
    ]
    command += ["--images", folder, "--profile", folder / "room.yaml"]
    command += ["--state", folder / interface, "--set", f"interface={interface}"]
    return [*command, *words]


def _start(
    lan: Lan, folder: Path, *words: str, refused: bool = False, unit: str = ""
) -> "subprocess.Popen[str]":
    command = netboot_serve(folder, "b0", *words)
    if refused:
        command = patient(command)
    by_hand = {name: value for name, value in os.environ.items() if name not in SERVICE_VARIABLES}
    server = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=by_hand | ({"INVOCATION_ID": unit} if unit else {}),
    )
    lan.processes.append(server)
    return server


async def _ready(server: "subprocess.Popen[str]") -> None:
    assert server.stdout is not None
    assert "ready" in json.loads(await asyncio.to_thread(server.stdout.readline))


async def _warns_once(server: "subprocess.Popen[str]") -> None:
    """Stop a server after its warning of a rival, which may answer as late as the last question."""
    assert server.stderr is not None
    while "second proxyDHCP" not in (line := await asyncio.to_thread(server.stderr.readline)):
        assert line, "it has ended"
    server.terminate()
    _, complaints = await asyncio.to_thread(server.communicate)
    assert server.returncode == 0 and "second proxyDHCP" not in complaints


async def _answers(cable: Cable) -> None:
    """Wait until a server answers on the LAN."""
    while True:
        cable.send(ANN.discover())
        try:
            await asyncio.wait_for(cable.reply(), 0.3)
        except TimeoutError:
            continue
        return


@root
@pytest.mark.parametrize(
    ("rival", "ours", "complaint"),
    [
        ("dnsmasq", (), f"a second proxyDHCP server, {SITE}, answers PXE clients on b0"),
        ("netboot", (), f"a second proxyDHCP server, {SITE}, answers PXE clients on b0"),
        ("netboot", FULL_WORDS, f"a second proxyDHCP server, {SITE}, answers PXE clients on b0"),
        ("full", FULL_WORDS, f"a second DHCP server, {SITE}, gives out addresses on b0"),
    ],
)
def test_it_does_not_start_as_the_second_of_its_kind(
    tmp_path: Path, rival: str, ours: tuple[str, ...], complaint: str
) -> None:
    servers: dict[str, list[str | Path]] = {
        "dnsmasq": [*dnsmasq(tmp_path, *PXE_MENU, pool="10.4.0.0,proxy")],
        "netboot": netboot_serve(tmp_path, "site"),
        "full": [*dnsmasq(tmp_path)],
    }

    async def scenario(lan: Lan) -> None:
        with site(*servers[rival]):
            cable = Cable("c9")
            lan.stack.callback(cable.close)
            await _answers(cable)
            server = _start(lan, tmp_path, *ours, refused=True)
            said, complained = await asyncio.to_thread(server.communicate)
            assert (server.returncode, said) == (2, "")
            first, second = plain(complained).splitlines()
            assert first.startswith(complaint)
            assert second.startswith("  hint: ") and "dhcp.beside=yes" in second

    on_lan(tmp_path, scenario)


@root
def test_the_other_boot_server_of_the_profile_is_no_rival(tmp_path: Path) -> None:
    both = ("--set", f"boot.servers={SITE},{OURS}")

    async def scenario(lan: Lan) -> None:
        with site(*netboot_serve(tmp_path, "site", *both)):
            cable = Cable("c9")
            lan.stack.callback(cable.close)
            await _answers(cable)
            server = _start(lan, tmp_path, *both)
            await _ready(server)
            await asyncio.sleep(0.5)  # it has asked for other servers meanwhile
            server.terminate()
            _, complaints = await asyncio.to_thread(server.communicate)
            assert "proxyDHCP" not in complaints

    on_lan(tmp_path, scenario)


@root
def test_told_to_serve_beside_another_it_does_and_so_does_who_has_seats_waiting(
    tmp_path: Path,
) -> None:
    async def scenario(lan: Lan) -> None:
        with site(*netboot_serve(tmp_path, "site")):
            cable = Cable("c9")
            lan.stack.callback(cable.close)
            await _answers(cable)
            first = _start(lan, tmp_path, "--set", "dhcp.beside=yes")
            await _ready(first)
            first.kill()  # its workers go on serving
            first.communicate()
            second = _start(lan, tmp_path)
            await _ready(second)
            await _warns_once(second)

    on_lan(tmp_path, scenario)


@root
def test_a_start_without_a_person_is_not_refused_and_one_at_a_terminal_is(tmp_path: Path) -> None:
    async def scenario(lan: Lan) -> None:
        with site(*netboot_serve(tmp_path, "site")):
            cable = Cable("c9")
            lan.stack.callback(cable.close)
            await _answers(cable)
            for unit in ("0123", ""):  # systemd; a start after a good one
                server = _start(lan, tmp_path, unit=unit)
                await _ready(server)
                await _warns_once(server)
            ours, theirs = os.openpty()
            command = patient(netboot_serve(tmp_path, "b0"))
            by_hand = await asyncio.to_thread(
                subprocess.run,
                command,
                stdin=theirs,
                capture_output=True,
                check=False,
                timeout=PATIENCE,
            )
            os.close(ours)
            os.close(theirs)
            assert by_hand.returncode == 2 and b"second proxyDHCP server" in by_hand.stderr

    on_lan(tmp_path, scenario)
