"""The sender of a packet, read from packets that scapy made."""

import pytest

from netboot.boot.arch import BY_CODE
from netboot.boot.client import Client, Stage
from netboot.errors import Ignored
from netboot.serve.dhcp.packet import parse
from netboot.serve.dhcp.sender import client_from_packet
from tests.support.pxe_client import BIOS, UEFI_X64, PxeClient

MAC = "52:54:00:12:34:56"

MACHINE = "12345678-9abc-def0-1234-56789abcdef0"  # of PxeClient


@pytest.mark.parametrize("arch", BY_CODE)
def test_firmware_of_each_architecture(arch: int) -> None:
    client = client_from_packet(parse(PxeClient(arch=arch).discover()))
    assert client == Client(MAC, BY_CODE[arch], Stage.FIRMWARE, machine=MACHINE)


@pytest.mark.parametrize("arch", [BIOS, UEFI_X64])
def test_ipxe_and_the_nic_it_drives(arch: int) -> None:
    client = client_from_packet(parse(PxeClient(arch=arch, ipxe=True).discover()))
    assert client == Client(MAC, BY_CODE[arch], Stage.IPXE, (0x8086, 0x100E), machine=MACHINE)


@pytest.mark.parametrize(
    ("arch", "features", "able"),
    [
        (BIOS, "130101180101", True),
        (BIOS, "130101", False),  # loads no Linux
        (BIOS, "180101", False),  # fetches by TFTP only
        (UEFI_X64, "130101", True),
        (UEFI_X64, "190101", False),
        (BIOS, "b105018086100e", True),  # sends no features
    ],
)
def test_an_ipxe_that_cannot_run_our_script_says_so(arch: int, features: str, able: bool) -> None:
    marks = ((93, arch.to_bytes(2, "big")), (77, b"iPXE"), (175, bytes.fromhex(features)))
    data = PxeClient().plain("discover", ("vendor_class_id", b"PXEClient"), *marks)
    client = client_from_packet(parse(data))
    assert isinstance(client, Client)
    assert (client.stage, client.able) == (Stage.IPXE, able)


def test_the_first_architecture_that_we_know_counts() -> None:
    """A client lists all architectures that it can run (RFC 4578 section 2.1)."""
    data = PxeClient().plain("discover", ("vendor_class_id", b"PXEClient"), (93, b"\0\x02\0\x07"))
    client = client_from_packet(parse(data))
    assert isinstance(client, Client)
    assert client.arch.code == 7


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        ([b"\7", b"\0\7"], 7),  # sent twice: read joined they are 1792
        ([b"\7\0\7"], 7),
        ([b"\7\0"], 7),  # little-endian
        ([b"\0\6"], 6),  # option 93 comes first
        ([b"\0\2"], 7),  # a number without a boot loader
    ],
)
def test_an_architecture_that_makes_no_sense_is_that_of_option_60(
    codes: list[bytes], code: int
) -> None:
    vendor = ("vendor_class_id", b"PXEClient:Arch:00007:UNDI:003016")
    data = PxeClient().plain("discover", vendor, *((93, each) for each in codes))
    client = client_from_packet(parse(data))
    assert isinstance(client, Client)
    assert client.arch.code == code


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (PxeClient().plain("discover"), "not a boot client"),
        (PxeClient().plain("discover", ("vendor_class_id", b"MSFT 5.0")), "not a boot client"),
        (PxeClient().plain("discover", ("vendor_class_id", b"HTTPClient")), "names no archi"),
        (PxeClient(arch=2).discover(), "PXEClient architecture 2"),
        (PxeClient(arch=65535).discover(), "PXEClient architecture 65535"),
        (PxeClient().discover(hlen=16, chaddr=bytes(range(16))), "type 1 with 16 bytes"),
        (PxeClient().discover(htype=32, hlen=0, chaddr=b""), "hardware type 32 with 0 bytes"),
    ],
)
def test_who_is_not_a_client_and_why(data: bytes, reason: str) -> None:
    result = client_from_packet(parse(data))
    assert isinstance(result, Ignored)
    assert reason in result.reason


@pytest.mark.parametrize(
    ("vendor_class", "code"),
    [
        (b"PXEClient:Arch:00000:UNDI:002001", 0),
        (b"PXEClient:Arch:00007:UNDI:003016", 7),
        (b"PXEClient", 0),
    ],
)
def test_an_old_rom_without_option_93_is_known_by_option_60_or_a_bios(
    vendor_class: bytes, code: int
) -> None:
    """As iPXE's maintainer advises (ipxe#1527)."""
    client = client_from_packet(
        parse(PxeClient().plain("discover", ("vendor_class_id", vendor_class)))
    )
    assert isinstance(client, Client)
    assert client.arch.code == code


def test_two_pcs_of_one_kind_keep_their_own_names() -> None:
    """The kind of a PC is remembered by its options, and nothing else of it."""
    for number in (1, 2):
        pc = PxeClient(mac=f"52:54:00:12:34:0{number}", ipxe=True)
        assert client_from_packet(parse(pc.discover())) == Client(
            pc.mac, BY_CODE[pc.arch], Stage.IPXE, (0x8086, 0x100E), machine=MACHINE
        )


def test_the_same_options_of_a_raspberry_pi_are_another_kind() -> None:
    data = PxeClient(mac="52:54:00:12:34:01", arch=BIOS).discover()
    pi = bytes.fromhex("dca632000001")
    found = [client_from_packet(parse(each)) for each in (data, data[:28] + pi + data[34:])]
    names = [each.arch.name for each in found if isinstance(each, Client)]
    assert len(set(names)) == 2
