"""`agent address` on a LAN of namespaces: against scripted and real DHCP servers, in real time."""

import contextlib
import ctypes
import json
import os
import re
import socket
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.dhcp import BOOTP, DHCP

from tests import ROOT
from tests.attack.wire import Machine
from tests.support.pxe_client import decode

pytestmark = pytest.mark.root

AGENT = ROOT / "initramfs/agent"
# All of the agent takes 20 s to compile with checks on a busy machine.
MODULES = (
    *("text", "say", "url", "report", "settle", "status"),
    *("dhcp", "frame", "renewal", "news", "cards", "port", "figures", "address"),
)
MAIN = """#include "address.h"
int main(int count, char **words) { return keep_address(words[2], words[3], count > 4 ? words[4] : 0, words[0]); }
"""
SERVER, ADDRESS, OTHER = "10.55.0.1", "10.55.0.50", "10.55.0.60"
ADDRESS_BYTES = socket.inet_aton(ADDRESS)
MAC, RIVAL_MAC = "52:54:00:55:00:50", "52:54:00:55:00:66"
IDENTIFIER = b"\x01" + bytes.fromhex(MAC.replace(":", ""))
CLONE_NEWNET = 0x40000000
WAIT_SECONDS = 60.0


def socket_in(pid: int, make: Callable[[], socket.socket]) -> socket.socket:
    """Return a socket that was made in the network namespace of ``pid``."""
    made: list[socket.socket] = []

    def inside() -> None:
        with open(f"/proc/{pid}/ns/net") as namespace:
            assert ctypes.CDLL(None).setns(namespace.fileno(), CLONE_NEWNET) == 0
        made.append(make())

    thread = threading.Thread(target=inside)  # the namespace ends with the thread
    thread.start()
    thread.join()
    return made[0]


def dhcp_port() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"br0")
    sock.bind(("", 67))
    return sock


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the agent with gcc's checks of addresses and undefined behaviour; each is fatal."""
    program = tmp_path_factory.mktemp("agent") / "agent"
    checks = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    command = ["gcc", "-std=gnu11", "-g", f"-I{AGENT}", *checks, "-o", str(program)]
    files = [str(AGENT / f"{name}.c") for name in MODULES]
    subprocess.run([*command, *files, "-x", "c", "-"], input=MAIN, text=True, check=True)
    return program


class Lan:
    """A server, a PC and a rival on a switch, and the agent of the PC; the server's program is the test."""

    def __init__(self, agent: Path, folder: Path) -> None:
        self.server, self.pc, self.rival = Machine(), Machine(), Machine()
        self._agent_program, self.folder = agent, folder
        self.address = ADDRESS
        self._agent: subprocess.Popen[bytes] | None = None
        self._sockets: list[socket.socket] = []
        self.server.script(
            f"ip link add br0 type bridge forward_delay 0; ip address add {SERVER}/24 dev br0; ip link set br0 up;"
            + "".join(
                f"ip link add p{number} type veth peer name eth0 netns {machine.pid};"
                f"ip link set p{number} master br0 up;"
                for number, machine in enumerate((self.pc, self.rival))
            )
        )
        self.pc.script(f"ip link set eth0 address {MAC} up; ip address add {ADDRESS}/24 dev eth0")
        self.rival.script(f"ip link set eth0 address {RIVAL_MAC} up")
        self._listener = self.open(self.server, self._listen)
        self.beacons: list[tuple[str, str]] = []
        threading.Thread(target=self._take_beacons, daemon=True).start()

    def _listen(self) -> socket.socket:
        return socket.create_server(("", 8080))

    def open(self, machine: Machine, make: Callable[[], socket.socket]) -> socket.socket:
        """Return a socket of ``machine``, which is closed at the end."""
        self._sockets.append(socket_in(machine.pid, make))
        return self._sockets[-1]

    def _take_beacons(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            with peer:
                head, _, body = peer.recv(4096).decode().partition("\r\n\r\n")
                if not head.startswith("POST /report/"):  # see test_figures.py
                    self.beacons.append((head.split("/")[3].partition("?")[0], body))
                peer.sendall(b"HTTP/1.0 200 OK\r\n\r\n")

    def hear_arp(self, machine: Machine, kind: int = 2) -> Callable[[], bytes]:
        """Return a function that waits for the next ARP answer to ``machine``; kind 1: ARP request."""

        def packets() -> socket.socket:
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0806))
            sock.bind(("eth0", 0x0806))
            sock.settimeout(WAIT_SECONDS)
            return sock

        sock = self.open(machine, packets)

        def answer() -> bytes:
            while (data := sock.recv(100))[7] != kind or data[14:18] != ADDRESS_BYTES:
                pass
            return data

        return answer

    def script_dhcp(self) -> "Script":
        """Have the test be the DHCP server."""
        return Script(self.open(self.server, dhcp_port))

    def take_address(self) -> None:
        """Have the PC get its address as the initramfs does."""
        script = self.folder / "udhcpc"
        script.write_text(
            '#!/bin/sh\n[ "$1" != bound ] || ip address add "$ip/24" dev eth0\n'
            f'[ "$1" != bound ] || echo "$ip" >{self.folder}/address\n'
        )
        script.chmod(0o755)
        words = (
            "busybox",
            "udhcpc",
            "-f",
            "-q",
            "-n",
            "-t",
            "8",
            "-T",
            "1",
            "-i",
            "eth0",
            "-s",
            script,
        )
        subprocess.run(self.pc.command(*words), check=True, timeout=60, capture_output=True)
        self.address = (self.folder / "address").read_text().strip()

    def until(self, done: Callable[[], bool], what: str, seconds: float = 40.0) -> None:
        """Wait for ``done``."""
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, f"{what}: {self.beacons}"
            time.sleep(0.02)

    def start(self, *words: str, card: str = "eth0") -> None:
        """Start the agent of the PC."""
        # A mount namespace, because settle() raises the guard of the OOM killer, and /dev/kmsg is this machine's.
        script = (
            "mount --bind /dev/null /dev/kmsg; mount -t tmpfs run /run;"
            "exec env - NETBOOT_BEACON=$1 $2 address $3 $4 $5"
        )
        beacon = f"http://{SERVER}:8080/beacon/ticket"
        command = self.pc.command(
            *("unshare", "--mount", "sh", "-c", script, "sh", beacon, self._agent_program),
            *(card, *(words or (ADDRESS,))),
        )
        self._agent = subprocess.Popen(command)

    def expect_beacon(self, stage: str, count: int = 1) -> str:
        """Return the body of the report of ``stage`` with this number."""

        def found() -> list[str]:
            return [body for name, body in self.beacons if name == stage]

        self.until(lambda: len(found()) >= count, f"no {stage}", WAIT_SECONDS)
        return found()[count - 1]

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()
        if self._agent is not None:
            self._agent.kill()
            self._agent.wait()
        for machine in (self.pc, self.rival, self.server):
            machine.end()


class Script:
    """The DHCP server that the test is."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.asked: tuple[Any, dict[Any, Any]]
        self.sender = ""
        self.arrived = 0.0

    def hear(self, seconds: float = WAIT_SECONDS) -> tuple[Any, dict[Any, Any]]:
        """Return the PC's next question: the BOOTP layer and the options."""
        self.sock.settimeout(seconds)
        data, (self.sender, port) = self.sock.recvfrom(1500)
        self.arrived = time.monotonic()
        assert port == 68 and len(data) >= 300
        self.asked = decode(data)
        return self.asked

    def say(
        self,
        kind: str,
        *options: Any,
        address: str = ADDRESS,
        to: str = "",
        server: tuple[Any, ...] = (("server_id", SERVER),),
    ) -> None:
        """Answer the question. ``server``: the option that names this server."""
        bootp = self.asked[0]
        reply = BOOTP(
            op=2,
            xid=bootp.xid,
            yiaddr=address,
            ciaddr=bootp.ciaddr,
            chaddr=bootp.chaddr,
            flags=bootp.flags,
        ) / DHCP(options=[("message-type", kind), *server, *options, "end"])
        if not to:
            to = "255.255.255.255" if bootp.ciaddr == "0.0.0.0" or kind == "nak" else bootp.ciaddr
        self.sock.sendto(bytes(reply), (to, 68))

    def lend(self, seconds: int, *options: Any) -> None:
        self.say("ack", ("lease_time", seconds), *options)


@pytest.fixture
def lan(agent: Path, tmp_path: Path) -> Iterator[Lan]:
    lan = Lan(agent, tmp_path)
    yield lan
    lan.close()


def test_a_lease_is_learnt_renewed_and_rebound(lan: Lan) -> None:
    script = lan.script_dhcp()
    lan.start()
    bootp, options = script.hear()
    assert (bootp.ciaddr, bootp.yiaddr, bootp.flags) == ("0.0.0.0", "0.0.0.0", "B")
    assert script.sender == "0.0.0.0"
    assert options["message-type"] == 3
    assert options["requested_addr"] == ADDRESS and "server_id" not in options
    assert options["client_id"] == IDENTIFIER and bytes(bootp.chaddr[:6]) == IDENTIFIER[1:]
    script.lend(60, ("renewal_time", 2), ("rebinding_time", 4))
    begin = script.arrived
    assert f"{ADDRESS} is lent by {SERVER} for 60 s" in lan.expect_beacon("address:held")
    for _ in range(2):
        bootp, options = script.hear()
        assert 1.8 < script.arrived - begin < 3.6, "T1"
        assert (script.sender, bootp.ciaddr, bootp.flags) == (ADDRESS, ADDRESS, "")
        assert not {"requested_addr", "server_id"} & set(options)
        script.lend(12, ("renewal_time", 2), ("rebinding_time", 4))
        begin = script.arrived
    script.hear()  # T1, without an answer
    bootp, options = script.hear()
    assert 3.7 < script.arrived - begin < 6, "T2"
    assert bootp.ciaddr == ADDRESS and not any("unanswered" in stage for stage, _ in lan.beacons)
    assert bootp.secs in (1, 2), "since T1"
    script.hear()
    said = lan.expect_beacon("address:unanswered")
    assert said.startswith(
        f"the DHCP server {SERVER} does not answer: {ADDRESS} is lent to this PC for "
    )
    script.lend(60)
    lan.expect_beacon("address:held", 2)
    assert [stage for stage, _ in lan.beacons] == [
        "address:held",
        "address:unanswered",
        "address:held",
    ]


def test_a_server_without_an_address_that_lends_for_ever(lan: Lan) -> None:
    """Its words were "is lent by  for ever"."""
    script = lan.script_dhcp()
    lan.start()
    script.hear()
    script.say("ack", ("lease_time", 0xFFFFFFFF), ("renewal_time", 1), server=())
    said = f"{ADDRESS} is lent by a DHCP server without an address for ever\naddress={ADDRESS}"
    assert lan.expect_beacon("address:held") == said
    bootp, _ = script.hear()
    assert bootp.ciaddr == ADDRESS, "it is asked all the same"


def test_after_the_end_the_address_stays_and_is_asked_for(lan: Lan) -> None:
    script = lan.script_dhcp()
    lan.start()
    script.hear()
    script.lend(4)
    begin = script.arrived
    while True:
        bootp, options = script.hear()
        if bootp.ciaddr != ADDRESS:
            break
        assert "requested_addr" not in options
    assert script.arrived - begin > 3.5
    assert (bootp.ciaddr, options["requested_addr"]) == ("0.0.0.0", ADDRESS)
    assert "it stays in use" in lan.expect_beacon("address:expired")
    addresses = subprocess.run(
        lan.pc.command("ip", "-brief", "address", "show", "eth0"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{ADDRESS}/24" in addresses.stdout
    script.lend(60)
    lan.expect_beacon("address:held", 2)


def test_a_refusal_is_told_and_the_same_address_is_asked_for(lan: Lan) -> None:
    script = lan.script_dhcp()
    lan.start()
    script.hear()
    script.lend(60, ("renewal_time", 2))
    script.hear()
    script.say("nak", address="0.0.0.0")
    said = lan.expect_beacon("address:refused")
    assert said == (
        f"the DHCP server {SERVER} says that {ADDRESS} is not for this PC; it stays in use\n"
        f"address={ADDRESS}\nserver={SERVER}"
    )
    _, options = script.hear()
    assert (options["message-type"], options["requested_addr"]) == (1, ADDRESS)
    script.say("offer", ("lease_time", 60), address=OTHER, to="255.255.255.255")
    script.say("offer", ("lease_time", 60))
    _, options = script.hear()
    assert (options["message-type"], options["server_id"]) == (3, SERVER)
    script.lend(60)
    lan.expect_beacon("address:held", 2)


def test_another_machine_with_the_address_is_told_and_the_address_defended(lan: Lan) -> None:
    """RFC 5227, 2.4 (c): the packets of swap would go to the other machine for minutes."""
    lan.script_dhcp()
    lan.rival.script(f"ip address add {ADDRESS}/24 dev eth0")
    announced = lan.hear_arp(lan.rival, kind=1)
    lan.start()
    begin = time.monotonic()
    data = announced()
    assert data[8:14] == bytes.fromhex(MAC.replace(":", "")) and data[24:28] == ADDRESS_BYTES
    assert time.monotonic() - begin < 30
    assert lan.expect_beacon("address:conflict") == (
        f"another machine has {ADDRESS}, too: {RIVAL_MAC}\naddress={ADDRESS}"
    )


def test_packets_of_another_vlan_are_not_heard(lan: Lan) -> None:
    """On a port with several VLANs the same address may be another room's, and its servers are strangers."""
    script = lan.script_dhcp()
    lan.start()
    script.hear()

    def packets() -> socket.socket:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        sock.bind(("eth0", 0))
        return sock

    rival = lan.open(lan.rival, packets)
    for source, tag in (("52:54:00:55:00:77", b"\x81\0\0\5"), (RIVAL_MAC, b"")):
        mac = bytes.fromhex(source.replace(":", ""))
        arp = b"\0\1\x08\0\6\4\0\1" + mac + ADDRESS_BYTES + bytes(6) + socket.inet_aton(OTHER)
        rival.send(b"\xff" * 6 + mac + tag + b"\x08\x06" + arp + bytes(18))
    assert RIVAL_MAC in lan.expect_beacon("address:conflict")


def test_another_card_of_the_pc_is_no_other_machine(lan: Lan) -> None:
    """Linux answers ARP on each card for the addresses of all. The numbers of cards grow without limit."""
    lan.pc.script(
        f"ip link add eth1 index 70000 type veth peer name p5 netns {lan.server.pid};"
        "for n in $(seq 9); do ip link add bridge$n type bridge; done; ip link set eth1 up"
    )
    lan.server.script("ip link set p5 master br0 up")
    heard = lan.hear_arp(lan.pc)
    script = lan.script_dhcp()
    lan.start()
    script.hear()
    assert heard(), "eth1 answers the probe"
    script.lend(60)
    lan.expect_beacon("address:held")
    assert [stage for stage, _ in lan.beacons] == ["address:held"]


def test_a_pc_known_by_another_cards_mac_address_stays_that_client(lan: Lan) -> None:
    script = lan.script_dhcp()
    lan.start(ADDRESS, "02:00:00:00:00:07")
    bootp, options = script.hear()
    assert bytes(bootp.chaddr[:6]) == bytes.fromhex("020000000007")
    assert options["client_id"] == b"\x01" + bytes.fromhex("020000000007")
    script.lend(60)
    lan.expect_beacon("address:held")


def test_a_mac_address_that_is_none_costs_the_pc_nothing(lan: Lan) -> None:
    """It came from a boot loader's BOOTIF, and the agent ended unnoticed."""
    script = lan.script_dhcp()
    lan.start(ADDRESS, "20:00:aa")
    bootp, _ = script.hear()
    assert bytes(bootp.chaddr[:6]) == bytes.fromhex(MAC.replace(":", ""))


def test_an_agent_that_cannot_begin_reports_why(lan: Lan) -> None:
    lan.start(card="eth9")
    said = lan.expect_beacon("address:unanswered")
    assert said == f"network card 'eth9': No such device\naddress={ADDRESS}"


def test_a_firewall_of_the_userland_stops_no_answer(lan: Lan) -> None:
    lan.pc.script(
        "nft 'table inet f { chain i { type filter hook input priority 0; policy drop; ct state established accept; };"
        " chain o { type filter hook output priority 0; udp dport 67 drop; }; }'"
    )
    script = lan.script_dhcp()
    lan.start()
    script.hear()
    script.lend(60, ("renewal_time", 2))
    lan.expect_beacon("address:held")
    bootp, _ = script.hear()
    assert bootp.ciaddr == ADDRESS


def test_other_clients_of_port_68_are_left_alone(lan: Lan) -> None:
    """A DHCP client of the userland on another card, which shares the port with nobody."""
    lan.pc.script("ip link add eth1 type veth peer name eth2; ip link set eth1 up")
    script = lan.script_dhcp()
    lan.start()
    script.hear()

    def other() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth1")
        sock.bind(("", 68))
        return sock

    socket_in(lan.pc.pid, other).close()
    script.lend(60)
    lan.expect_beacon("address:held")


def test_a_flood_of_nonsense_changes_nothing(lan: Lan) -> None:
    script = lan.script_dhcp()
    lan.start()
    script.hear()
    for number in range(2000):
        script.sock.sendto(os.urandom(number % 700), ("255.255.255.255", 68))
    script.asked[0].xid ^= 1
    script.say("nak", address="0.0.0.0")
    script.asked[0].xid ^= 1
    script.lend(60)
    while not lan.beacons:
        with contextlib.suppress(TimeoutError):  # the answer was lost where the flood was
            script.hear(2)
            script.lend(60)
    assert [stage for stage, _ in lan.beacons] == ["address:held"]


def test_a_card_that_is_made_anew_is_found_again(lan: Lan) -> None:
    script = lan.script_dhcp()
    lan.start()
    script.hear()
    script.lend(60, ("renewal_time", 2), ("rebinding_time", 40))
    lan.expect_beacon("address:held")
    lan.pc.script("ip link del eth0")
    lan.server.script(
        f"ip link add p0 type veth peer name eth0 netns {lan.pc.pid}; ip link set p0 master br0 up"
    )
    lan.pc.script(f"ip link set eth0 address {MAC} up; ip address add {ADDRESS}/24 dev eth0")
    bootp, _ = script.hear()
    assert bootp.ciaddr == ADDRESS and bootp.secs == 0, "the first question was not lost"
    script.lend(60, ("renewal_time", 2))
    bootp, _ = script.hear()
    assert bootp.ciaddr == ADDRESS, "the answer was heard"


class Server(ABC):
    """A DHCP server's program on the LAN, which writes its leases and a log."""

    def __init__(self, lan: Lan) -> None:
        self.lan, self.leases, self.log = lan, lan.folder / "leases", lan.folder / "log"
        self.start()

    @abstractmethod
    def words(self) -> list[str]:
        """Return its command."""

    @abstractmethod
    def acknowledged(self) -> int:
        """Return how often it has lent the PC's address."""

    def start(self) -> None:
        folder = str(self.lan.folder)  # of Kea; not /run
        env = {**os.environ, "KEA_LOCKFILE_DIR": folder, "KEA_PIDFILE_DIR": folder}
        self._process = subprocess.Popen(self.lan.server.command(*self.words()), env=env)

    def forget(self) -> None:
        """Restart the server without its leases."""
        self.stop()
        self.leases.unlink(missing_ok=True)
        self.start()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)

    def _logged(self) -> str:
        return self.log.read_text() if self.log.exists() else ""


class Dnsmasq(Server):
    """A dnsmasq, which looks by ping before it gives an address out. Its leases last 2 minutes at least."""

    def words(self) -> list[str]:
        return [
            *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file="),
            *("--user=root", "--port=0", "--interface=br0", "--bind-interfaces"),
            *(f"--dhcp-leasefile={self.leases}", "--log-dhcp", f"--log-facility={self.log}"),
            f"--dhcp-range={ADDRESS},{OTHER},255.255.255.0,2m",
            "--dhcp-option-force=option:T1,3",
        ]

    def acknowledged(self) -> int:
        return self._logged().count(f"DHCPACK(br0) {self.lan.address} {MAC}")


class Kea(Server):
    """A Kea, which has no idea whether an address is in use."""

    def words(self) -> list[str]:
        log = {
            "name": "kea-dhcp4",
            "output_options": [{"output": str(self.log)}],
            "severity": "DEBUG",
            "debuglevel": 40,
        }
        settings = {
            "interfaces-config": {"interfaces": ["br0"]},
            "lease-database": {"type": "memfile", "name": str(self.leases)},
            "valid-lifetime": 120,
            "renew-timer": 3,
            "rebind-timer": 8,
            "authoritative": True,
            "subnet4": [{"subnet": "10.55.0.0/24", "pools": [{"pool": f"{ADDRESS} - {OTHER}"}]}],
            "loggers": [log],
        }
        config = self.lan.folder / "kea.json"
        config.write_text(json.dumps({"Dhcp4": settings}))
        return ["kea-dhcp4", "-c", str(config)]

    def acknowledged(self) -> int:
        return len(re.findall(rf"DHCP4_LEASE_ALLOC .*lease {self.lan.address} ", self._logged()))


@pytest.mark.system
@pytest.mark.parametrize("serve", [Dnsmasq, Kea], ids=["dnsmasq", "kea"])
def test_a_strangers_server_lends_the_address_on_even_if_it_forgot(
    lan: Lan, serve: Callable[[Lan], Server]
) -> None:
    lan.pc.script("ip address flush dev eth0")
    server = serve(lan)
    try:
        lan.take_address()
        lan.start(lan.address)
        assert f"{lan.address} is lent by {SERVER} for 120 s" in lan.expect_beacon("address:held")
        lan.until(lambda: server.acknowledged() >= 3, "the loader's, the first and a renewal")
        server.forget()
        before = server.acknowledged()
        lan.until(lambda: server.acknowledged() > before, "lent again")
        lan.until(lambda: server.acknowledged() > before + 1, "renewed")
        assert {stage for stage, _ in lan.beacons} <= {"address:held", "address:refused"}
        assert lan.beacons[-1][0] == "address:held"
    finally:
        server.stop()
