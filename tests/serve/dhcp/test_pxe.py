"""The options of PXE and iPXE, in the forms that occur in the field."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netboot.serve.dhcp import pxe
from netboot.serve.dhcp.packet import Packet


def packet(**options: bytes) -> Packet:
    """``o43=b"..."`` is option 43."""
    return Packet(
        op=1, xid=0, chaddr=bytes(16), options={int(k[1:]): v for k, v in options.items()}
    )


@given(st.dictionaries(st.integers(1, 254), st.binary(max_size=255), max_size=5))
def test_suboptions_are_read_as_written(suboptions: dict[int, bytes]) -> None:
    assert pxe.parse_suboptions(pxe.serialize_suboptions(suboptions)) == suboptions


@given(st.binary(max_size=255))
def test_any_suboptions_are_read(data: bytes) -> None:
    pxe.parse_suboptions(data)
    pxe.ipxe_features(packet(o175=data))
    pxe.nic(packet(o175=data))


def test_suboptions_of_a_bios_reply() -> None:
    data = pxe.serialize_suboptions({pxe.DISCOVERY_CONTROL: bytes((pxe.USE_BOOT_FILE,))})
    assert data == bytes.fromhex("060108ff")


@pytest.mark.parametrize("data", [b"\x06", b"\x06\x02\x08", b"\x00\x06\xff\x08"])
def test_a_suboption_that_is_cut_off_is_left_out(data: bytes) -> None:
    assert pxe.parse_suboptions(b"\x09\x01a" + data) == {9: b"a"}


def test_features_that_are_cut_off_say_nothing() -> None:
    assert pxe.ipxe_features(packet(o175=b"\x13\x01\x01\x18\x01\x01")) == {0x13, 0x18}
    assert pxe.ipxe_features(packet(o175=b"\x13\x01\x01\x18\x05\x01")) == set()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"iPXE", True),
        (b"\x04iPXE", True),  # RFC 3004
        (b"\x03abc\x04iPXE", True),
        (b"netboot", True),  # a medium's
        (b"", False),
        (b"iPXE\0", True),
        (b"iPXEs", False),
        (b"gPXE", False),
        (b"\x00\x04iPX", False),
    ],
)
def test_ipxe_is_known_by_its_user_class(value: bytes, expected: bool) -> None:
    assert pxe.is_ipxe(packet(o77=value)) is expected


@given(st.binary(max_size=64))
def test_any_user_class_is_read(value: bytes) -> None:
    pxe.is_ipxe(packet(o77=value))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"PXEClient", pxe.PXE_CLIENT),
        (b"PXEClient:Arch:00007", pxe.PXE_CLIENT),
        (b"HTTPClient:Arch:00016", pxe.HTTP_CLIENT),
        (b"MSFT 5.0", None),
        (b"", None),
    ],
)
def test_a_boot_client_is_known_by_its_vendor_class(value: bytes, expected: bytes | None) -> None:
    assert pxe.vendor_class(packet(o60=value)) == expected


def test_architectures_are_a_list() -> None:
    assert pxe.architectures(packet()) == ()
    assert pxe.architectures(packet(o93=b"\0\x07")) == (7,)
    assert pxe.architectures(packet(o93=b"\0\x07\0\x10")) == (7, 16)


@pytest.mark.parametrize(
    ("value", "codes"), [(b"", ()), (b"\x07", (7,)), (b"\0\x07\0", (7,)), (b"\0\0\0", (0,))]
)
def test_half_an_architecture_is_read_as_far_as_it_goes(value: bytes, codes: object) -> None:
    assert pxe.architectures(packet(o93=value)) == codes


def test_the_first_copy_of_an_option_counts() -> None:
    twice = replace(packet(o93=b"\7\0\7", o77=b"iPXEiPXE"), firsts={93: b"\7", 77: b"iPXE"})
    assert pxe.architectures(twice) == (7,)
    assert pxe.is_ipxe(twice)


@pytest.mark.parametrize(
    ("vendor_class", "codes"),
    [
        (b"PXEClient:Arch:00000:UNDI:002001", (0,)),
        (b"PXEClient:Arch:00007:UNDI:003016\0", (7,)),
        (b"HTTPClient:Arch:00016:UNDI:003001", (16,)),
        (b"PXEClient:Arch:", ()),
        (b"PXEClient:Arch:x", ()),
        (b"PXEClient", ()),
    ],
)
def test_without_option_93_option_60_names_the_architecture(
    vendor_class: bytes, codes: object
) -> None:
    assert pxe.architectures(packet(o60=vendor_class)) == codes
    assert pxe.architectures(packet(o60=vendor_class, o93=b"\0\x09")) == (9,)


@pytest.mark.parametrize("identifier", [None, b"", b"\xff" + bytes(16), bytes(17)])
def test_the_machine_identifier_may_be_absent_or_empty(identifier: bytes | None) -> None:
    assert pxe.machine(packet() if identifier is None else packet(o97=identifier)) == ""


@pytest.mark.parametrize(
    "number",
    [
        "03000200-0400-0500-0006-000700080009",
        "12345678-1234-5678-90ab-cddeefaabbcc",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
    ],
)
def test_a_uuid_that_many_boards_have_tells_no_machine(number: str) -> None:
    for each in (UUID(number).bytes, UUID(number).bytes_le):
        assert pxe.machine(packet(o97=b"\0" + each)) == ""


def test_a_machine_has_one_uuid_in_either_byte_order() -> None:
    number = UUID("bbbbbbbb-1111-4222-8333-000000000002")
    orders = {pxe.machine(packet(o97=b"\0" + each)) for each in (number.bytes, number.bytes_le)}
    assert len(orders) == 1 and "" not in orders


def test_a_machine_identifier_of_another_length_counts_if_it_has_all_of_a_uuid() -> None:
    identifier = b"\0" + bytes(range(1, 17))
    assert pxe.machine(packet(o97=identifier[:16])) == pxe.machine(packet(o97=b"\1")) == ""
    assert pxe.machine(packet(o97=identifier + b"more")) == pxe.machine(packet(o97=identifier))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (bytes.fromhex("b105 01 8086 100e"), (0x8086, 0x100E)),
        (bytes.fromhex("130101 b105 01 1af4 1000 ff"), (0x1AF4, 0x1000)),
        (bytes.fromhex("b105 02 8086 100e"), None),  # not PCI
        (bytes.fromhex("b103 01 8086"), None),
        (b"", None),
    ],
)
def test_ipxe_tells_which_nic_it_drives(value: bytes, expected: tuple[int, int] | None) -> None:
    assert pxe.nic(packet(o175=value)) == expected


@pytest.mark.parametrize(
    ("numbers", "text"),
    [((6,), "6"), ((6, 9), "6, 9"), (range(127), "0, 1, 2, 3, 4, 5, 6, 7 and more")],
)
def test_a_list_of_architectures_in_a_message_is_short(numbers: Sequence[int], text: str) -> None:
    assert pxe.listed(numbers) == text
