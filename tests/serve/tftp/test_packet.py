"""TFTP's codec against scapy's layer and against any bytes; the terms that a server accepts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.tftp import TFTP, TFTP_ACK, TFTP_ERROR, TFTP_OACK, TFTP_RRQ, TFTP_WRQ
from scapy.layers.tftp import TFTP_Option as Option
from scapy.layers.tftp import TFTP_Options as Options

from netboot.errors import ProtocolError
from netboot.serve.tftp import packet
from netboot.serve.tftp.packet import Ack, Error, ErrorCode, Request
from netboot.serve.tftp.transfer import MAX_WINDOWSIZE, agree

text = st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1)


@given(text, st.sampled_from(["octet", "netascii", "OCTET"]), st.dictionaries(text, text))
def test_scapys_requests_are_read(name: str, mode: str, asked: dict[str, str]) -> None:
    words = [Option(oname=key, value=value) for key, value in asked.items()]
    body = Options(options=words)
    got = packet.parse(bytes(TFTP() / TFTP_RRQ(filename=name, mode=mode) / body))
    assert isinstance(got, Request)
    assert (got.filename, got.mode, got.upload) == (name, mode.lower(), False)
    assert set(got.options) == {key.lower() for key in asked}
    assert set(got.options.values()) <= set(asked.values())


def test_the_other_packets_of_a_client_are_read() -> None:
    assert packet.parse(bytes(TFTP() / TFTP_ACK(block=7))) == Ack(7)
    refused = bytes(TFTP() / TFTP_ERROR(errorcode=8, errormsg="User aborted\x1b["))
    assert packet.parse(refused) == Error(8, "User aborted?[")
    upload = packet.parse(bytes(TFTP() / TFTP_WRQ(filename="a", mode="octet")))
    assert isinstance(upload, Request) and upload.upload


def test_scapy_reads_ours() -> None:
    assert TFTP(packet.ack(65536 + 3))[TFTP_ACK].block == 3
    error = TFTP(packet.error(ErrorCode.FILE_NOT_FOUND, "no such file"))[TFTP_ERROR]
    assert (error.errorcode, error.errormsg) == (1, b"no such file")
    options = TFTP(packet.oack({"tsize": 9, "blksize": 1468}))[TFTP_OACK].payload.options
    assert [(bytes(each.oname), bytes(each.value)) for each in options] == [
        (b"tsize", b"9"),
        (b"blksize", b"1468"),
    ]


@given(st.binary() | st.binary().map(lambda body: b"\0\1" + body))
def test_any_bytes_are_read_or_refused(datagram: bytes) -> None:
    try:
        message = packet.parse(datagram)
    except ProtocolError:
        return
    if isinstance(message, Request):
        agree(message.options, 100, 1500)
    elif isinstance(message, Error):
        assert message.message.isprintable()


@pytest.mark.parametrize("end", [b"", b"\0", b"\0\0\0\0", b"\0tsize\x000", b"\0tsize\0"])
def test_the_end_of_a_request_may_be_missing_or_padded(end: bytes) -> None:
    request = packet.parse(b"\0\1loader.efi\0octet" + end)
    assert isinstance(request, Request)
    assert (request.filename, request.mode) == ("loader.efi", "octet")


def test_an_option_given_twice_counts_once() -> None:
    got = packet.parse(b"\0\1a\0octet\0blksize\x001024\0BLKSIZE\x00512\0lonely\0")
    assert got == Request("a", "octet", {"blksize": "1024"})


@pytest.mark.parametrize(
    ("asked", "agreed"),
    [
        ({"blksize": "1024"}, {"blksize": 1024}),
        ({"blksize": "65464"}, {"blksize": 1468}),
        ({"blksize": "7"}, {}),
        ({"blksize": "many"}, {}),
        ({"blksize": "-8"}, {}),
        ({"blksize": "9" * 5000}, {}),
        ({"windowsize": "16"}, {"windowsize": 16}),
        ({"windowsize": "65535"}, {"windowsize": MAX_WINDOWSIZE}),
        ({"windowsize": "0"}, {}),
        ({"timeout": "3"}, {"timeout": 3}),
        ({"timeout": "0"}, {}),
        ({"timeout": "255"}, {}),
        ({"tsize": "0"}, {"tsize": 5000}),
        ({"multicast": ""}, {}),
        ({"windowsize": "4", "x": "1", "blksize": "512"}, {"windowsize": 4, "blksize": 512}),
    ],
)
def test_what_is_agreed_on(asked: dict[str, str], agreed: dict[str, int]) -> None:
    terms = agree(asked, 5000, 1500)
    assert terms.oack == agreed
    assert terms.blksize == agreed.get("blksize", 512)
    assert terms.windowsize == agreed.get("windowsize", 1)


def test_netascii_ends_lines_with_cr_lf() -> None:
    assert packet.to_netascii(b"a\nb\r\nc\r") == b"a\r\nb\r\0\r\nc\r\0"
