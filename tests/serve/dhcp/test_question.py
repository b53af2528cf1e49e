"""The questions of a played PC, read back by the code that reads those of real PCs."""

from ipaddress import IPv4Address

import pytest

from netboot.boot.arch import ARCHITECTURES, BY_NAME, Architecture, Firmware
from netboot.boot.client import Client, Stage
from netboot.serve.dhcp import packet as dhcp
from netboot.serve.dhcp.packet import BROADCAST_FLAG, MessageType, Option, Packet
from netboot.serve.dhcp.question import Asker
from netboot.serve.dhcp.sender import client_from_packet

MAC = "02:6e:62:73:00:07"
SERVER, ADDRESS = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.50")
OFFER = Packet(
    op=dhcp.BOOTREPLY,
    xid=7,
    chaddr=bytes(16),
    yiaddr=ADDRESS,
    options={Option.SERVER_IDENTIFIER: SERVER.packed},
)


def _on_the_wire(packet: Packet) -> Packet:
    return dhcp.parse(dhcp.serialize(packet))


@pytest.mark.parametrize("arch", ARCHITECTURES, ids=lambda row: row.name)
def test_firmware_and_ipxe_of_each_architecture_are_known(arch: Architecture) -> None:
    firmware = Asker(MAC, arch)
    asked = _on_the_wire(firmware.discover(1))
    assert asked.message_type is MessageType.DHCPDISCOVER and asked.flags == BROADCAST_FLAG
    assert client_from_packet(asked) == Client(MAC, arch, Stage.FIRMWARE)
    ipxe = client_from_packet(_on_the_wire(firmware.chained().discover(2)))
    assert isinstance(ipxe, Client) and ipxe.stage is Stage.IPXE
    assert ipxe.arch.loader == arch.loader and ipxe.arch.firmware is not Firmware.UEFI_HTTP


def test_only_ipxe_tells_its_network_card() -> None:
    firmware = Asker(MAC, BY_NAME["bios"], nic=(0x8086, 0x100E))
    for asker, nic in ((firmware, None), (firmware.chained(), (0x8086, 0x100E))):
        client = client_from_packet(_on_the_wire(asker.discover(1)))
        assert isinstance(client, Client) and client.nic == nic and client.able


def test_an_offer_is_accepted_and_given_back() -> None:
    asker = Asker(MAC, BY_NAME["bios"])
    request = _on_the_wire(asker.request(OFFER))
    assert (request.message_type, request.xid) == (MessageType.DHCPREQUEST, OFFER.xid)
    assert request.address(Option.REQUESTED_IP_ADDRESS) == ADDRESS
    assert request.address(Option.SERVER_IDENTIFIER) == SERVER
    released = _on_the_wire(asker.release(9, ADDRESS, SERVER))
    assert (released.message_type, released.ciaddr) == (MessageType.DHCPRELEASE, ADDRESS)
    assert released.address(Option.SERVER_IDENTIFIER) == SERVER


def test_a_boot_server_is_asked_from_an_address() -> None:
    asked = _on_the_wire(Asker(MAC, BY_NAME["uefi-x64"]).boot_server_request(3, ADDRESS))
    assert (asked.message_type, asked.ciaddr) == (MessageType.DHCPREQUEST, ADDRESS)
    assert asked.flags == 0
