"""Any bytes parse or raise ProtocolError, also with split options; serialize is the inverse."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netboot.errors import ProtocolError
from netboot.serve.dhcp.packet import (
    END,
    HEADER,
    MAGIC_COOKIE,
    MIN_BYTES,
    OVERLOAD,
    MessageType,
    Option,
    Packet,
    dotted,
    packed,
    parse,
    serialize,
)
from tests.support.pxe_client import PxeClient, decode

ADDRESSES = st.integers(0, 2**32 - 1).map(IPv4Address)
CODES = st.integers(1, 254).filter(lambda code: code != OVERLOAD)


@given(ADDRESSES)
def test_an_address_is_written_as_python_does(address: IPv4Address) -> None:
    assert dotted(address) == str(address)
    assert packed(address) == address.packed


def test_a_type_has_a_word_for_a_person() -> None:
    assert {MessageType.DHCPOFFER.word, MessageType.DHCPINFORM.word} == {"OFFER", "INFORM"}


def names(longest: int) -> st.SearchStrategy[bytes]:
    return st.binary(max_size=longest).map(lambda name: name.replace(b"\0", b""))


PACKETS = st.builds(
    Packet,
    op=st.sampled_from((1, 2)),
    xid=st.integers(0, 2**32 - 1),
    chaddr=st.binary(min_size=16, max_size=16),
    htype=st.integers(0, 255),
    hlen=st.integers(0, 16),
    hops=st.integers(0, 255),
    secs=st.integers(0, 65535),
    flags=st.integers(0, 65535),
    ciaddr=ADDRESSES,
    yiaddr=ADDRESSES,
    siaddr=ADDRESSES,
    giaddr=ADDRESSES,
    sname=names(63),
    file=names(127),
    options=st.dictionaries(CODES, st.binary(max_size=600), max_size=8),
)
FRAGMENTS = st.lists(st.tuples(CODES, st.binary(max_size=20)), max_size=6)


def wire(options: bytes, *, sname: bytes = b"", file: bytes = b"", op: int = 1) -> bytes:
    zero = bytes(4)
    head = HEADER.pack(op, 1, 6, 0, 7, 0, 0, zero, zero, zero, zero, b"\x52\x54", sname, file)
    return head + MAGIC_COOKIE + options


def encode(fragments: list[tuple[int, bytes]]) -> bytes:
    return b"".join(bytes((code, len(value))) + value for code, value in fragments)


@given(PACKETS)
def test_parse_is_the_inverse_of_serialize(packet: Packet) -> None:
    data = serialize(packet)
    assert parse(data) == packet
    assert len(data) >= MIN_BYTES
    if Option.DHCP_MESSAGE_TYPE in packet.options:
        assert data[HEADER.size + len(MAGIC_COOKIE)] == Option.DHCP_MESSAGE_TYPE


@given(st.binary(max_size=600) | st.binary(max_size=300).map(wire))
def test_any_bytes_parse_or_are_refused(data: bytes) -> None:
    try:
        packet = parse(data)
        assert packet.message_type is None or packet.message_type in MessageType
    except ProtocolError:
        pass


@given(PACKETS, st.integers(0, 1200), st.integers(0, 255), st.integers(0, 1200))
def test_a_damaged_packet_parses_or_is_refused(
    packet: Packet, where: int, byte: int, length: int
) -> None:
    data = bytearray(serialize(packet))
    data[where % len(data)] = byte
    try:
        parse(bytes(data[:length]))
    except ProtocolError:
        pass


@given(FRAGMENTS, st.lists(st.tuples(CODES, st.binary(max_size=9)), max_size=5), st.booleans())
def test_options_are_joined_over_fields_and_pads(
    first: list[tuple[int, bytes]], second: list[tuple[int, bytes]], in_sname: bool
) -> None:
    overload = bytes((OVERLOAD, 1, 2 if in_sname else 1))
    rest = b"\0" + encode(second) + bytes((END,))
    data = wire(
        encode(first[:2]) + b"\0\0" + overload + encode(first[2:]) + bytes((END,)),
        sname=rest if in_sname else b"name",
        file=b"name" if in_sname else rest,
    )
    expected: dict[int, bytes] = {}
    for code, value in first + second:
        expected[code] = expected.get(code, b"") + value
    packet = parse(data)
    assert packet.options == expected
    assert (packet.sname, packet.file) == ((b"", b"name") if in_sname else (b"name", b""))


def test_overload_of_both_fields_reads_file_before_sname() -> None:
    """RFC 3396 section 5."""
    data = wire(b"\x34\x01\x03\xff", sname=b"\x2b\x01b\xff", file=b"\x2b\x01a\xff")
    assert parse(data).options == {43: b"ab"}


def test_bytes_of_a_discover() -> None:
    data = wire(bytes.fromhex("3501013c09") + b"PXEClient" + b"\xff").ljust(MIN_BYTES, b"\0")
    packet = Packet(
        op=1,
        xid=7,
        chaddr=b"\x52\x54".ljust(16, b"\0"),
        options={Option.VENDOR_CLASS_IDENTIFIER: b"PXEClient", Option.DHCP_MESSAGE_TYPE: b"\x01"},
    )
    assert serialize(packet) == data
    assert parse(data) == packet
    assert packet.mac == "52:54:00:00:00:00"
    assert packet.message_type is MessageType.DHCPDISCOVER


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "0 bytes, expected at least 240 of a DHCP message"),
        (wire(b"")[:239], "239 bytes, expected at least 240 of a DHCP message"),
        (wire(b"", op=3), "op is 3"),
        (wire(b"").replace(MAGIC_COOKIE, b"\1\2\3\4"), "magic cookie is 01020304"),
    ],
)
def test_what_is_refused_and_how_it_is_said(data: bytes, complaint: str) -> None:
    with pytest.raises(ProtocolError, match=complaint):
        parse(data)


def test_a_packet_without_options_end_or_padding_is_accepted() -> None:
    assert parse(wire(b"")).options == {}
    assert parse(wire(b"\x35\x01\x01")).options == {53: b"\x01"}


@pytest.mark.parametrize(
    ("value", "kind"),
    [(b"", None), (b"\x00", None), (b"\x09", None), (b"\xff", None), (b"\x01\x03", 1)],
)
def test_the_first_byte_is_the_message_type(value: bytes, kind: int | None) -> None:
    packet = Packet(op=1, xid=0, chaddr=bytes(16), options={53: value})
    assert packet.message_type == kind


@pytest.mark.parametrize(
    ("options", "read"),
    [
        (b"\x0c\x01a\x35", {12: b"a", 53: b""}),  # the last byte begins an option
        (b"\x0c\x01a\x35\x02\x01", {12: b"a", 53: b"\x01"}),  # what decides counts
        (b"\x0c\x01a\x3d\x09\x01", {12: b"a"}),  # what informs is left out
        (b"\x3c\xffPXEClient", {60: b"PXEClient"}),
        (b"\x34\x01\x04\x0c\x01a", {12: b"a"}),  # no such overload
        (b"\x34\x00\x0c\x01a", {12: b"a"}),
        (b"\x0c\x00\x35\x01\x01", {12: b"", 53: b"\x01"}),
    ],
)
def test_what_can_be_read_of_damaged_options_is_read(
    options: bytes, read: dict[int, bytes]
) -> None:
    assert parse(wire(options)).options == read


def test_an_overloaded_field_that_is_cut_off_is_read_up_to_there() -> None:
    data = wire(b"\x34\x02\x01\x07", file=b"\x0c\x01a" + b"\0" * 124 + b"\x2b", sname=b"name")
    packet = parse(data)
    assert (packet.options, packet.sname) == ({12: b"a"}, b"name")


def test_the_first_copy_of_an_option_is_known() -> None:
    packet = parse(wire(b"\x32\x04\x0a\0\0\x05" * 2 + b"\x0c\x01a\x0c\x01b"))
    assert packet.address(Option.REQUESTED_IP_ADDRESS) == IPv4Address("10.0.0.5")
    assert (packet.options[12], packet.first(12)) == (b"ab", b"a")
    assert packet.first(Option.CLIENT_IDENTIFIER) == b""


@pytest.mark.parametrize("value", [b"", b"\x0a", b"\x0a\0\0"])
def test_an_address_that_is_too_short_is_as_good_as_none(value: bytes) -> None:
    packet = Packet(op=1, xid=0, chaddr=bytes(16), options={50: value})
    assert packet.address(Option.REQUESTED_IP_ADDRESS) is None


@pytest.mark.parametrize(("htype", "hlen"), [(1, 6), (6, 6), (1, 0), (1, 16), (0, 255), (32, 6)])
def test_six_bytes_are_a_mac_address_whatever_the_header_calls_them(htype: int, hlen: int) -> None:
    packet = Packet(op=1, xid=0, chaddr=b"\2abcde".ljust(16, b"\0"), htype=htype, hlen=hlen)
    assert packet.mac == "02:61:62:63:64:65"


def test_hardware_that_is_not_ethernet_has_no_mac() -> None:
    """EDK2 can send the machine's GUID as its hardware address (SendGUID)."""
    assert Packet(op=1, xid=0, chaddr=bytes(range(16)), hlen=16).mac is None


@pytest.mark.parametrize(
    "packet",
    [
        Packet(op=2, xid=0, chaddr=bytes(16), file=b"f" * 128),
        Packet(op=2, xid=0, chaddr=bytes(16), sname=b"s" * 64),
        Packet(op=2, xid=0, chaddr=bytes(16), options={OVERLOAD: b"\1"}),
        Packet(op=2, xid=0, chaddr=bytes(16), options={END: b""}),
    ],
)
def test_what_has_no_encoding_is_our_bug(packet: Packet) -> None:
    with pytest.raises(ValueError, match="bytes, expected at most|must not be sent"):
        serialize(packet)


def test_padding_comes_after_end_and_nowhere_else() -> None:
    data = serialize(Packet(op=2, xid=0, chaddr=bytes(16), options={54: b"\1\1\1\1", 53: b"\2"}))
    assert data[240:] == bytes.fromhex("350102 360401010101 ff").ljust(60, b"\0")


@given(PACKETS)
def test_scapy_reads_the_header_that_we_write(packet: Packet) -> None:
    bootp, _ = decode(serialize(replace(packet, options={53: b"\2"})))
    assert (bootp.op, bootp.xid, bootp.secs) == (packet.op, packet.xid, packet.secs)
    assert (bootp.ciaddr, bootp.giaddr) == (str(packet.ciaddr), str(packet.giaddr))
    assert (bootp.yiaddr, bootp.siaddr) == (str(packet.yiaddr), str(packet.siaddr))
    assert bootp.sname.rstrip(b"\0") == packet.sname
    assert bootp.file.rstrip(b"\0") == packet.file


def test_we_read_what_scapy_writes() -> None:
    packet = parse(PxeClient(arch=7).discover(giaddr="10.9.0.1", hops=2))
    assert packet.mac == "52:54:00:12:34:56"
    assert (packet.giaddr, packet.hops) == (IPv4Address("10.9.0.1"), 2)
    assert packet.options[Option.CLIENT_SYSTEM_ARCHITECTURE] == b"\0\x07"
