"""The client's side of TFTP against our own sender, and against a server that lies."""

import pytest

from netboot.errors import AnswerError, ProtocolError
from netboot.serve.tftp import packet
from netboot.serve.tftp.download import Download
from netboot.serve.tftp.packet import ErrorCode, Request


def _data(block: int, payload: bytes) -> bytes:
    return b"\0\3" + (block & 0xFFFF).to_bytes(2, "big") + payload


def _blocks(content: bytes, blksize: int) -> list[bytes]:
    """Return all DATA packets of ``content``, the last one shorter than the others."""
    pieces = [content[at : at + blksize] for at in range(0, len(content) + 1, blksize)]
    return [_data(number, piece) for number, piece in enumerate(pieces, 1)]


def test_without_options_each_block_is_acknowledged() -> None:
    download, content = Download("a"), bytes(range(256)) * 5
    assert packet.parse(download.again) == Request("a", "octet", {})
    for number, block in enumerate(_blocks(content, 512), 1):
        assert download.receive(block) == packet.ack(number)
    assert download.done and download.content == content


def test_options_are_asked_for_and_the_last_of_a_window_is_acknowledged() -> None:
    download, content = Download("a", blksize=1468, windowsize=4), bytes(1468 * 5 + 7)
    assert packet.parse(download.again) == Request(
        "a", "octet", {"blksize": "1468", "windowsize": "4"}
    )
    assert download.receive(packet.oack({"blksize": 1468, "windowsize": 4})) == packet.ack(0)
    answers = [download.receive(block) for block in _blocks(content, 1468)]
    assert answers == [None, None, None, packet.ack(4), None, packet.ack(6)]
    assert download.content == content


def test_a_block_that_was_lost_is_asked_for_once() -> None:
    download = Download("a", blksize=8, windowsize=4)
    download.receive(packet.oack({"blksize": 8, "windowsize": 4}))
    first, second, third, fourth, *_ = _blocks(bytes(64), 8)
    assert download.receive(first) is None
    assert download.receive(third) == packet.ack(1)
    assert download.receive(fourth) is None
    assert download.receive(second) is None
    assert len(download.content) == 16


def test_block_numbers_begin_again() -> None:
    download = Download("a", blksize=8, windowsize=64)
    download.receive(packet.oack({"blksize": 8, "windowsize": 64}))
    content = bytes(8 * 65536 + 3)
    for block in _blocks(content, 8):
        download.receive(block)
    assert download.done and len(download.content) == len(content)


def test_a_refusal_is_told_in_one_line() -> None:
    with pytest.raises(AnswerError, match="TFTP error 1: no such file"):
        Download("a").receive(packet.error(ErrorCode.FILE_NOT_FOUND, "no such file"))


@pytest.mark.parametrize(
    "lie",
    [
        packet.oack({"blksize": 1469}),
        packet.oack({"windowsize": 5}),
        packet.oack({"tsize": 5}),
        _data(1, bytes(513)),
        b"\0\1a\0octet\0",
        b"",
    ],
)
def test_what_the_protocol_does_not_allow_is_refused(lie: bytes) -> None:
    with pytest.raises(ProtocolError):
        Download("a", blksize=1468, windowsize=4).receive(lie)
