"""Proxy mode beside a DHCP server on the same machine: it hears port 67 and takes nothing from it."""

import asyncio
import json
import logging
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP, IPOption_Router_Alert, fragment
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw

from netboot.host.interfaces import find
from netboot.profile.profile import Profile
from netboot.profile.sections import Dhcp, DhcpNetwork
from netboot.serve.dhcp import neighbourhood
from netboot.serve.dhcp.packet import BOOTREPLY, MessageType, Packet, parse
from tests.serve.dhcp.test_neighbourhood import Tap
from tests.serve.dhcp.test_server import ANN, BOB, PROXY, Lan, on_lan
from tests.support.pxe_client import PxeClient

pytestmark = pytest.mark.root

US, PC, RELAY = "10.1.0.1", "10.1.0.77", "10.8.0.1"
EVERYONE = "ff:ff:ff:ff:ff:ff"
BEHIND_A_RELAY = Profile(
    dhcp=Dhcp(mode="proxy", networks={IPv4Network("10.8.0.0/24"): DhcpNetwork()})
)
DISCOVER, REQUEST, RENEW = (PxeClient(mac=ANN.mac, xid=number) for number in (77, 78, 79))
QUIET = 0.3  # seconds in which an answer would have come

KEA = {
    "Dhcp4": {
        "interfaces-config": {"interfaces": ["s0"]},
        "lease-database": {"type": "memfile", "persist": False},
        "subnet4": [
            {
                "subnet": "10.1.0.0/24",
                "pools": [{"pool": "10.1.0.50 - 10.1.0.99"}],
                "reservations": [{"hw-address": ANN.mac, "ip-address": PC}],
            },
            {"subnet": "10.8.0.0/24", "pools": [{"pool": "10.8.0.50 - 10.8.0.99"}]},
        ],
    }
}
DNSMASQ = ("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root")
RANGES = (
    *("--no-ping", "--dhcp-range=10.1.0.50,10.1.0.99,1h", f"--dhcp-host={ANN.mac},{PC}"),
    *("--dhcp-range=10.8.0.50,10.8.0.99,255.255.255.0,1h", "--pid-file="),
)
SERVERS = {
    "one interface": ("--bind-interfaces", "--interface=s0"),
    "two interfaces": ("--bind-interfaces", "--interface=s0", "--interface=s2"),
    "all interfaces": ("--bind-interfaces",),
    "dynamic": ("--bind-dynamic",),
    "wildcard": (),
}


@contextmanager
def server_beside(name: str, folder: Path) -> Iterator[None]:
    """Run another DHCP server on our machine, for the network of s0 and one behind a relay."""
    command = [*DNSMASQ, *RANGES, f"--dhcp-leasefile={folder / 'leases'}", *SERVERS.get(name, ())]
    if name == "kea":
        (folder / "kea.json").write_text(json.dumps(KEA))
        command = ["kea-dhcp4", "-c", str(folder / "kea.json")]
    own = {name: str(folder) for name in ("KEA_PIDFILE_DIR", "KEA_LOCKFILE_DIR")}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, **own}) as process:
        try:
            yield
        finally:
            process.terminate()


class Pc:
    """The PC and the relay at the other end of the cable of s0."""

    def __init__(self, lan: Lan) -> None:
        subprocess.run(["ip", "route", "add", "10.8.0.0/24", "via", PC, "dev", "s0"], check=True)
        self._tap = Tap("c0", lan.stack)
        self._us = find("s0")[0].mac.hex(":")

    def unicast(self, payload: bytes, source: str, port: int) -> None:
        frame = Ether(src=ANN.mac, dst=self._us) / IP(src=source, dst=US)
        self._tap.put(frame / UDP(sport=port, dport=67) / Raw(payload))

    def broadcast(self, payload: bytes) -> None:
        self.put(IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) / Raw(payload))

    def put(self, packet: Any, to: str = EVERYONE) -> None:
        self._tap.put(Ether(src=ANN.mac, dst=to) / packet)

    async def answers(
        self, ask: Any, xid: int, count: int = 1, patience: float = 60.0
    ) -> list[Packet]:
        """Return the next answers from our machine to ``xid``. Ask again until they come."""
        found: list[Packet] = []
        async with asyncio.timeout(patience):
            while len(found) < count:
                ask()
                try:
                    async with asyncio.timeout(QUIET):
                        while len(found) < count:
                            found.append(await self._next(xid))
                except TimeoutError:  # the server beside us is not up yet
                    found.clear()
        return found

    async def _next(self, xid: int) -> Packet:
        while True:
            frame = await self._tap.next(UDP)
            if frame[UDP].sport == 67:
                packet = parse(bytes(frame[UDP].payload))
                if packet.op == BOOTREPLY and packet.xid == xid:
                    return packet


@pytest.mark.parametrize("name", [*SERVERS, "kea"])
def test_the_server_beside_us_keeps_renewals_and_relays(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbourhood, "SURVEY_SECONDS", (0.0, 0.3, 0.6))
    monkeypatch.setattr(neighbourhood, "SURVEY_PATIENCE", 1.2)

    async def scenario(lan: Lan) -> None:
        with server_beside(name, tmp_path):
            pc = Pc(lan)
            asked = DISCOVER.plain("discover")
            (lease,) = await pc.answers(lambda: pc.broadcast(asked), DISCOVER.xid)
            await lan.serve(PROXY)
            assert str(lease.yiaddr) == PC
            wanted = (("server_id", US), ("requested_addr", PC))
            chosen = REQUEST.plain("request", *wanted)
            (ack,) = await pc.answers(lambda: pc.broadcast(chosen), REQUEST.xid)
            assert ack.message_type is MessageType.DHCPACK

            renewal = RENEW.plain("request", ciaddr=PC)
            (ack,) = await pc.answers(lambda: pc.unicast(renewal, PC, 68), RENEW.xid)
            assert (ack.message_type, str(ack.yiaddr)) == (MessageType.DHCPACK, PC)

            relayed = BOB.plain("discover", giaddr=RELAY, hops=1)
            (offer,) = await pc.answers(lambda: pc.unicast(relayed, RELAY, 67), BOB.xid)
            assert offer.yiaddr in IPv4Network("10.8.0.0/24")

            both = await pc.answers(lambda: pc.broadcast(ANN.discover()), ANN.xid, 2)
            assert sorted(int(each.yiaddr) > 0 for each in both) == [False, True]
            survey = next(iter(lan.servers[0]._neighbourhood._surveys), None)  # type: ignore[union-attr]
            if survey is not None:
                await survey

    with caplog.at_level(logging.WARNING):
        on_lan(tmp_path, scenario)
    (line,) = [line for line in caplog.messages if "no DHCP server answers" in line]
    assert "on s1" in line, "the one on s0 is on our own machine, and answers"


@pytest.mark.parametrize("name", ["wildcard", "kea"])
def test_it_does_not_keep_another_server_from_starting(name: str, tmp_path: Path) -> None:
    """Kea does not share its port, so ours must not be bound at all."""

    async def scenario(lan: Lan) -> None:
        await lan.serve(PROXY)
        with server_beside(name, tmp_path):
            pc = Pc(lan)
            asked = DISCOVER.plain("discover")
            (lease,) = await pc.answers(lambda: pc.broadcast(asked), DISCOVER.xid)
            assert str(lease.yiaddr) == PC

    on_lan(tmp_path, scenario)


def test_odd_frames_are_heard(tmp_path: Path) -> None:
    def head(**fields: Any) -> Any:
        return IP(src="0.0.0.0", dst="255.255.255.255", **fields) / UDP(sport=68, dport=67)

    async def scenario(lan: Lan) -> None:
        await lan.serve(BEHIND_A_RELAY)
        pc, asked = Pc(lan), ANN.discover()
        wrong = head() / Raw(asked)
        wrong[UDP].chksum = 0x1234
        packets = {
            "checksum that no card filled in": [wrong],
            "priority tag": [Dot1Q(vlan=0, prio=5) / head() / Raw(asked)],
            "IP options": [head(options=[IPOption_Router_Alert()]) / Raw(asked)],
            "fragments": fragment(head(id=7) / Raw(asked), 200),
        }
        for name, parts in packets.items():

            def ask(parts: Sequence[Any] = parts) -> None:
                for part in parts:
                    pc.put(part)

            (offer,) = await pc.answers(ask, ANN.xid)
            assert offer.message_type is MessageType.DHCPOFFER, name
        with pytest.raises(TimeoutError):
            await pc.answers(
                lambda: pc.put(Dot1Q(vlan=5) / head() / Raw(asked)), ANN.xid, patience=QUIET
            )

    on_lan(tmp_path, scenario)


def test_a_relay_is_answered(tmp_path: Path) -> None:
    async def scenario(lan: Lan) -> None:
        await lan.serve(BEHIND_A_RELAY)
        pc = Pc(lan)
        asked = ANN.discover(giaddr=RELAY, hops=1)
        (offer,) = await pc.answers(lambda: pc.unicast(asked, RELAY, 67), ANN.xid)
        assert (offer.giaddr, offer.siaddr) == (IPv4Address(RELAY), IPv4Address(US))

    on_lan(tmp_path, scenario)
