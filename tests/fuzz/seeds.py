"""The seed corpus: whole dialogues from scapy, in every dialect, with every command."""

from collections.abc import Iterator

from netboot.pages.nbd.dialect import Dialect, Headers
from tests.support import scapy_nbd as nbd
from tests.support.two_ways import (
    BLOCK_STATUS,
    CACHE,
    DF,
    DISC,
    FAST_ZERO,
    FLUSH,
    FUA,
    NO_HOLE,
    PAYLOAD_LEN,
    READ,
    REQ_ONE,
    TRIM,
    WRITE,
    WRITE_ZEROES,
    request,
)

FLAGS = bytes(nbd.ClientFlags())
ALLOCATION = b"base:allocation"
GREETINGS = {
    Headers.SIMPLE: FLAGS,
    Headers.STRUCTURED: FLAGS + bytes(nbd.Option(option=8)),
    Headers.EXTENDED: FLAGS + bytes(nbd.Option(option=11)),
}


def seeds() -> Iterator[bytes]:
    """Yield inputs for nbd_target.py."""
    for split in (b"\0", b"\x09"):
        for dialogue in (*_handshakes(), *_transmissions()):
            yield split + dialogue


def _handshakes() -> Iterator[bytes]:
    yield FLAGS + bytes(nbd.Option(option=3)) + bytes(nbd.Option(option=2))
    yield FLAGS + nbd.go(b"a", 0, 1, 2, 3, option=6) + nbd.go(b"nothing") + nbd.go(b"a")
    yield FLAGS + bytes(nbd.Option(option=5)) + bytes(nbd.Option(option=1, data=b"a"))
    yield bytes(nbd.ClientFlags(flags=1)) + bytes(nbd.Option(option=1, data=b"r"))
    for headers in GREETINGS.values():
        yield headers + nbd.meta_context(b"a", option=9) + nbd.meta_context(b"a", b"base:", b"x:y")


def _transmissions() -> Iterator[bytes]:
    for headers, greeting in GREETINGS.items():
        dialect = Dialect(headers, allocation=True)
        for export in (b"a", b"r"):
            hello = greeting + nbd.meta_context(export, ALLOCATION) + nbd.go(export)
            yield hello + b"".join(_requests(dialect)) + request(DISC, dialect=dialect)
            for each in _requests(dialect):
                yield hello + each


def _requests(dialect: Dialect) -> Iterator[bytes]:
    for flags in (0, FUA):
        yield request(WRITE, 4000, 200, flags, dialect) + b"pages" * 40
        yield request(TRIM, 4096, 512, flags, dialect)
    for flags in (0, DF, FUA):
        yield request(READ, 3990, 300, flags, dialect)
        yield request(READ, 0, 60 << 10, flags, dialect)
    for flags in (0, NO_HOLE, FAST_ZERO, FAST_ZERO | NO_HOLE):
        yield request(WRITE_ZEROES, 4050, 20, flags, dialect)
    for flags in (0, REQ_ONE):
        yield request(BLOCK_STATUS, 0, 8192, flags, dialect)
    yield request(CACHE, 0, 8192, 0, dialect)
    yield request(FLUSH, dialect=dialect)
    yield request(READ, 1 << 62, 1 << 31, 0, dialect)
    yield request(BLOCK_STATUS, 0, 4, PAYLOAD_LEN, dialect) + b"four"
    yield request(99, 0, 4, 0, dialect)
