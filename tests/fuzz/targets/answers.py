"""Answers that our own programs read: of servers, of the kernel, of the link.

The first byte of an input selects the parser.
"""

from collections.abc import Callable

from netboot.errors import AnswerError, ProtocolError
from netboot.host import neighbours
from netboot.host.text import printable, printable_lines
from netboot.serve import leases
from netboot.serve.dhcp import frames, pxe
from netboot.serve.tftp import packet as tftp


def one_input(data: bytes) -> None:
    """Run one input."""
    if data:
        PARSERS[data[0] % len(PARSERS)](data[1:])


def _lease(data: bytes) -> None:
    try:
        answer = leases.parse(data.decode("utf-8", "replace"))
    except AnswerError as error:
        assert len(str(error)) <= 500 and str(error).isprintable()
        return
    assert leases.parse(leases.serialize(answer)) == answer


def _neighbour(data: bytes) -> None:
    mac = neighbours.parse(data, int.from_bytes(data[8:12], "little"))
    assert mac is None or len(mac) == 17


def _tftp(data: bytes) -> None:
    try:
        answer = tftp.parse_answer(data)
    except ProtocolError:
        return
    if isinstance(answer, tftp.Error):
        assert answer.message.isprintable()
    elif isinstance(answer, tftp.Data):
        assert len(answer.payload) == len(data) - 4


def _frame(data: bytes) -> None:
    frames.arp_sender(data)
    frames.udp(data)
    found = frames.router_discovery(data)
    if found is not None:
        answer = frames.no_router(b"\x52\x54\0\x12\x34\x56", found.source)
        read = frames.router_discovery(answer)
        assert read is not None and read.is_router


def _suboptions(data: bytes) -> None:
    try:
        found = pxe.parse_suboptions(data)
    except ProtocolError:
        return
    assert pxe.parse_suboptions(pxe.serialize_suboptions(found)) == found


def _text(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    assert printable(text, 40).isprintable() and len(printable(text, 40)) <= 40
    assert printable_lines(text).count("\n") == text.count("\n")


PARSERS: tuple[Callable[[bytes], None], ...] = (
    *(_lease, _neighbour, _tftp, _frame, _suboptions, _text),
)
