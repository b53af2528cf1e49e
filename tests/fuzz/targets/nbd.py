"""NBD: the handshake of the page server and the transmission after it.

For any bytes of a client, split in any way: a handshake is undecided, Ready or Closed; the fast
loop and its specification have the same output, the same pages and the same end. The first byte of
an input selects the places of the splits. The rest are the client's bytes after the greeting.
"""

from netboot.pages.nbd.export import Export, Refusal, Refused
from netboot.pages.nbd.handshake import Handshake, Ready
from netboot.pages.nbd.name import WireName
from netboot.pages.nbd.stream import Closed
from tests.support.two_ways import ArrayFile, fast, specified

SIZE = 64 << 10
EXPORTS = {
    "a": Export("a", SIZE, "an export"),
    "r": Export("r", SIZE, read_only=True),
}


def lookup(name: WireName) -> Export | Refused:
    return EXPORTS.get(name.text) or Refused("no such export", Refusal.UNKNOWN)


def shake(pieces: list[bytes]) -> tuple[Ready | Closed | None, bytes]:
    """Return the outcome of a handshake, and its output."""
    handshake, said = Handshake(lookup), b""
    for piece in pieces:
        handshake.receive_data(piece)
        said += handshake.data_to_send()
    return handshake.outcome, said


def one_input(data: bytes) -> None:
    """Run one input. Raises AssertionError, or an exception that the code must not raise."""
    at, data = data[0] if data else 0, data[1:]
    cuts = [data[:at], data[at : at * at], data[at * at :]] if at else [data]
    outcome, said = shake(cuts)
    assert (outcome, said) == shake([data])
    # A reply to an option is 20 bytes and a text, or there are up to four replies about an export.
    assert len(said) <= 18 + 8 * len(data) + 256
    if isinstance(outcome, Ready):
        sent = outcome.leftover
        pieces = [sent[:at], sent[at:]]
        wanted = ArrayFile(SIZE)
        expected = specified(outcome.export, wanted, [sent], outcome.dialect)
        for mapped in (False, True):
            got = ArrayFile(SIZE, mapped=mapped)
            assert fast(outcome.export, got, pieces, outcome.dialect) == expected
