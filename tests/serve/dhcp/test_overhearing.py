"""What PCs ask another DHCP server: told, and never answered."""

import asyncio
import logging
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from netboot.boot.client import PROBE_MAC, Client, Stage
from netboot.host.interfaces import find
from netboot.serve.dhcp.overhearing import Overhearing
from tests.serve.dhcp.test_server import ANN, BOB, Cable, Lan, on_lan
from tests.support.pxe_client import UEFI_X64, PxeClient

pytestmark = [pytest.mark.root, pytest.mark.timeout(60)]


def put(cable: Cable, data: bytes, port: int) -> None:
    frame = Ether(src=ANN.mac, dst="ff:ff:ff:ff:ff:ff") / IP(src="0.0.0.0", dst="255.255.255.255")
    cable.put(frame / UDP(sport=port, dport=67) / Raw(data))


def test_each_question_of_a_boot_client_is_told(tmp_path: Path) -> None:
    async def scenario(lan: Lan) -> None:
        heard: list[tuple[Client, bool]] = []
        overhearing = Overhearing(
            lambda client, privileged: heard.append((client, privileged)), lan.journal
        )
        try:
            await _ask(lan, overhearing, heard)
        finally:
            overhearing.stop()

    on_lan(tmp_path, scenario)


async def _ask(lan: Lan, overhearing: Overhearing, heard: list[tuple[Client, bool]]) -> None:
    overhearing.follow(find("s0"))
    cable = lan.cables[0]
    ipxe = PxeClient("52:54:00:00:00:07", UEFI_X64, ipxe=True)
    put(cable, b"damaged", 68)
    put(cable, ANN.plain("discover"), 68)  # it does not boot
    put(cable, ANN.request(), 68)  # an answer to an offer
    put(cable, PxeClient(PROBE_MAC).discover(), 68)
    put(lan.cables[1], BOB.discover(), 68)  # not served
    put(cable, ANN.discover(), 68)
    put(cable, ipxe.discover(), 1068)  # a program of a user
    while len(heard) < 2:
        await asyncio.sleep(0.01)
    assert [(each.mac, each.stage, privileged) for each, privileged in heard] == [
        (ANN.mac, Stage.FIRMWARE, True),
        (ipxe.mac, Stage.IPXE, False),
    ]
    told = "dhcp: DISCOVER from iPXE uefi-x64, left to the LAN's own DHCP server"
    assert lan.messages(ipxe) == [told]
    assert lan.messages(BOB) == []
    overhearing.follow(find("s1"))
    put(cable, ANN.discover(), 68)
    put(lan.cables[1], BOB.discover(), 68)
    while len(heard) < 3:
        await asyncio.sleep(0.01)
    assert heard[2][0].mac == BOB.mac


def test_a_card_that_cannot_be_heard_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("netboot.serve.dhcp.overhearing._open", refuse)

    async def scenario(lan: Lan) -> None:
        Overhearing(lambda client, privileged: None, lan.journal).follow(find("s0"))

    with caplog.at_level(logging.WARNING):
        on_lan(tmp_path, scenario)
    (line,) = caplog.messages
    assert line.startswith("s0: DHCP cannot be overheard: Operation not permitted; ")
