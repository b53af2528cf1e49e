"""Any bytes are parsed or raise ProtocolError; parse and serialize are inverse; scapy agrees."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netboot.errors import ProtocolError
from netboot.pages.nbd.wire import OptionHeader, OptionReply, Request, SimpleReply
from tests.support import scapy_nbd

U16, U32, U64 = (st.integers(0, (1 << bits) - 1) for bits in (16, 32, 64))
HEADERS = st.one_of(
    st.builds(OptionHeader, U32, U32),
    st.builds(OptionReply, U32, U32, U32),
    st.builds(Request, U16, U16, U64, U64, U32),
    st.builds(SimpleReply, U32, U64),
)
TYPES = (OptionHeader, OptionReply, Request, SimpleReply)


@given(HEADERS)
def test_parse_and_serialize_are_inverse(
    header: OptionHeader | OptionReply | Request | SimpleReply,
) -> None:
    assert type(header).parse(header.serialize()) == header


@pytest.mark.parametrize("kind", TYPES)
@given(data=st.binary(max_size=40))
def test_other_bytes_are_a_protocol_error(kind: Any, data: bytes) -> None:
    with pytest.raises(ProtocolError, match=r"bytes, expected|magic"):
        kind.parse(data)


@given(st.builds(Request, U16, st.integers(0, 6), U64, U64, U32))
def test_scapy_reads_our_request(request: Request) -> None:
    packet = scapy_nbd.Request(request.serialize())
    fields = (int(packet.flags), packet.type, packet.cookie, packet.offset, packet.length)
    assert Request(*fields) == request


@given(st.builds(Request, U16, st.integers(0, 7), U64, U64, U64))
def test_extended_requests_are_32_bytes_and_scapys(request: Request) -> None:
    data = request.serialize(extended=True)
    packet = scapy_nbd.ExtendedRequest(data)
    fields = (int(packet.flags), packet.type, packet.cookie, packet.offset, packet.length)
    assert Request(*fields) == request == Request.parse(data, extended=True)
    with pytest.raises(ProtocolError, match="32 bytes, expected 28"):
        Request.parse(data)


@given(st.builds(SimpleReply, U32, U64))
def test_scapy_writes_our_reply(reply: SimpleReply) -> None:
    packet = scapy_nbd.SimpleReply(error=reply.error, cookie=reply.cookie)
    assert SimpleReply.parse(bytes(packet)) == reply
