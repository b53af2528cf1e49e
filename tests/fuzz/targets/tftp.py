"""TFTP: a request's file, its terms, and the transfer while a client says anything.

The first two bytes of an input are the size of a file. The rest are datagrams: each begins with a
byte for the time since the one before, and two for its length.
"""

import struct
from collections.abc import Iterator
from ipaddress import IPv4Address

from netboot.boot.events import Journal
from netboot.errors import DeniedError, Ignored, ProtocolError
from netboot.pages.lease import LeaseTable
from netboot.profile.profile import Profile
from netboot.serve.boot_files import BootFiles
from netboot.serve.room import Room
from netboot.serve.tftp import packet
from netboot.serve.tftp.packet import MAX_REASON_CHARACTERS, Error, Request
from netboot.serve.tftp.transfer import AMPLIFICATION, FRAME_HEADERS, Sender, agree
from netboot.serve.tftp_files import TftpFiles

SERVER, CLIENT = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.9")
MTU = 1500
MOST_DATAGRAMS = 64
LEAST_FRAME = 60  # Ethernet fills up shorter ones
PROFILE = Profile()


def one_input(data: bytes) -> None:
    """Run one input."""
    if len(data) < 2:
        return
    size, pieces = struct.unpack_from(">H", data)[0], list(_datagrams(data[2:]))
    for _, datagram in pieces:
        _parse(datagram)
    if not pieces:
        return
    request = _parse(pieces[0][1])
    if isinstance(request, Request):
        _look_up(request)
        _transfer(request, size, pieces)


def _datagrams(data: bytes) -> Iterator[tuple[float, bytes]]:
    for _ in range(MOST_DATAGRAMS):
        if len(data) < 3:
            return
        wait, length = data[0] / 16, int.from_bytes(data[1:3], "big")
        yield wait, data[3 : 3 + length]
        data = data[3 + length :]


def _parse(datagram: bytes) -> object:
    try:
        message = packet.parse(datagram)
    except ProtocolError as error:
        assert str(error).isprintable()
        return None
    if isinstance(message, Error):
        assert message.message.isprintable() and len(message.message) <= MAX_REASON_CHARACTERS
    return message


def _look_up(request: Request) -> None:
    """Without images and without a ticket of ours there is nothing but GRUB's first file."""
    room = Room(PROFILE, BootFiles(None, PROFILE), b"s" * 32, Journal(), LeaseTable(1 << 30))
    try:
        found = TftpFiles(room).file(request.filename, SERVER, CLIENT)
    except DeniedError as error:
        assert str(error).isprintable()
        return
    assert found is None or isinstance(found, bytes | Ignored)


def _transfer(request: Request, size: int, pieces: list[tuple[float, bytes]]) -> None:
    content = bytes(size)
    terms = agree(request.options, size, MTU)
    asked = len(pieces[0][1])
    sender = Sender(lambda at, length: content[at : at + length], size, terms, asked)
    now, unproven = 0.0, 0
    budget = AMPLIFICATION * max(asked + FRAME_HEADERS, LEAST_FRAME)
    sent = sender.start(now)
    for wait, datagram in [*pieces[1:], (60.0, b""), (60.0, b"")]:
        assert all(len(each) <= MTU - 28 for each in sent)
        assert len(sent) <= terms.windowsize or len(sent) == 1
        if not sender.heard:
            unproven += sum(len(each) + FRAME_HEADERS for each in sent)
            assert unproven <= budget, f"{unproven} bytes for {asked}"
        if sender.outcome is not None:
            assert sender.reason.isprintable() and len(sender.reason) <= 200
            return
        now += wait
        sent = sender.tick(now) if now >= sender.deadline else sender.receive(datagram, now)
    assert sender.outcome is not None, "a silent client ends"
