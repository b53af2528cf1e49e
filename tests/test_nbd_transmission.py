"""The readable transmission phase, and the workers' fast loop replaying every case of it.

Any bytes, however they are split, give the same replies, the same pages and the same end in both.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from errno import EIO, ENOSPC
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netboot.errors import ProtocolError
from netboot.nbd.export import Export
from netboot.nbd.transmission import Transmission
from netboot.pages.exchange import BUFFER_BYTES, Area, Buffers, Exchange
from tests.support import scapy_nbd as nbd

SIZE = 1 << 20
BIG = 33 << 20
READ, WRITE, DISC, FLUSH, TRIM, CACHE, WRITE_ZEROES = range(7)
EPERM, EINVAL = 1, 22


@dataclass
class ArrayFile:
    """A page file in a bytearray. ``broken`` bytes from the start fail with ``failure``."""

    size_bytes: int = SIZE
    broken: range = range(0)
    failure: int = EIO
    data: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self.data = bytearray(self.size_bytes)

    def _check(self, offset: int, length: int) -> None:
        assert 0 <= offset <= offset + length <= self.size_bytes
        if max(offset, self.broken.start) < min(offset + length, self.broken.stop):
            raise OSError(self.failure, "broken")

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self._check(offset, len(buffer))
        buffer[:] = self.data[offset : offset + len(buffer)]

    def write(self, offset: int, data: memoryview) -> None:
        self._check(offset, len(data))
        self.data[offset : offset + len(data)] = data

    def trim(self, offset: int, length: int) -> None:
        self._check(offset, length)
        self.data[offset : offset + length] = bytes(length)

    def zero(self, offset: int, length: int, *, allocate: bool) -> None:
        self.trim(offset, length)

    def flush(self) -> None:
        pass

    def descriptors(self) -> Sequence[int]:
        return ()

    def close(self) -> None:
        pass


def specified(export: Export, pages: ArrayFile, pieces: list[bytes]) -> tuple[bytes, bool]:
    """Replies, and whether the connection is over, as nbd/transmission.py has it."""
    transmission = Transmission(export, pages)
    for piece in pieces:
        transmission.receive_data(piece)
    return transmission.data_to_send(), transmission.outcome is not None


def fast(export: Export, pages: ArrayFile, pieces: list[bytes]) -> tuple[bytes, bool]:
    """The same by the workers' loop, driven as a worker drives it."""
    exchange, buffers = Exchange(Area("lease", export, pages)), Buffers()
    out, unparsed = bytearray(), b""
    for piece in pieces:
        for begin in range(0, len(piece), BUFFER_BYTES - 28):
            data = unparsed + piece[begin : begin + BUFFER_BYTES - 28]
            buffers.input[: len(data)] = data
            buffers.position, buffers.end = 0, len(data)
            while True:
                buffers.filled = 0
                try:
                    exchange.answer(buffers)
                except ProtocolError:
                    return bytes(out + buffers.output[: buffers.filled]), True
                out += buffers.output[: buffers.filled]
                if exchange.closed:
                    return bytes(out), True
                if exchange.hungry:
                    break
            unparsed = bytes(buffers.input[buffers.position : buffers.end])
            assert len(unparsed) < 28
    return bytes(out), False


def run(data: bytes, export: Export | None = None, pages: ArrayFile | None = None) -> bytes:
    """Both; they must agree on replies and pages. Returns the replies."""
    export = export or Export("a", SIZE)
    pages = pages or ArrayFile(export.size_bytes)
    again = ArrayFile(pages.size_bytes, pages.broken, pages.failure)
    replies = specified(export, pages, [data])
    assert fast(export, again, [data]) == replies
    assert again.data == pages.data
    return replies[0]


def request(command: int, offset: int = 0, length: int = 0, flags: int = 0) -> bytes:
    return bytes(nbd.Request(type=command, offset=offset, length=length, flags=flags, cookie=0xC0))


def error_in(reply: bytes) -> int:
    packet = nbd.SimpleReply(reply)
    assert (packet.magic, packet.cookie) == (0x67446698, 0xC0)
    return int(packet.error)


PAGE = bytes(range(256)) * 16


@pytest.mark.parametrize("flags", [0, 1])
def test_what_was_written_is_read(flags: int) -> None:
    reply = run(request(WRITE, 4096, 4096, flags) + PAGE + request(READ, 4000, 4200, flags))
    assert reply[:16] == reply[16:32]
    assert error_in(reply) == 0
    assert reply[32:] == bytes(96) + PAGE + bytes(8)


@pytest.mark.parametrize("command", [TRIM, WRITE_ZEROES])
@pytest.mark.parametrize("flags", [0, 1])
def test_erased_pages_read_as_zeros(command: int, flags: int) -> None:
    reply = run(
        request(WRITE, 0, 4096) + PAGE + request(command, 0, 4096, flags) + request(READ, 0, 4096)
    )
    assert reply[-4096:] == bytes(4096)
    assert len(reply) == 3 * 16 + 4096


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (request(READ, SIZE, 1), EINVAL),
        (request(READ, SIZE - 1, 2), EINVAL),
        (request(READ, 1 << 63, 4096), EINVAL),
        (request(WRITE, SIZE - 1, 2) + b"xx", ENOSPC),
        (request(WRITE, SIZE + 1, 0), ENOSPC),
        (request(TRIM, SIZE, 1), EINVAL),
        (request(WRITE_ZEROES, SIZE, 1), ENOSPC),
        (request(READ, 0, 4096, flags=4), EINVAL),  # DF is for structured replies
        (request(WRITE, 0, 4, flags=2) + b"xxxx", EINVAL),  # NO_HOLE is for WRITE_ZEROES
        (request(WRITE_ZEROES, 0, 4096, flags=16), EINVAL),  # FAST_ZERO was not offered
        (request(READ, 0, 4096, flags=1 << 15), EINVAL),
        (request(CACHE, 0, 4096), EINVAL),
        (request(77, 0, 4096), EINVAL),
        (request(FLUSH, 7, 7), 0),
        (request(READ, SIZE, 0), 0),
        (request(WRITE, 0, 0), 0),
        (request(WRITE, 0, 0, flags=1), 0),
        (request(TRIM, 0, 0), 0),
        (request(WRITE_ZEROES, 0, SIZE, flags=3), 0),
    ],
)
def test_error_of_each_mistake_and_the_stream_stays_in_step(data: bytes, error: int) -> None:
    reply = run(data + request(READ, 0, 16))
    assert error_in(reply) == error
    assert error_in(reply[16:]) == 0
    assert len(reply) == 48


@pytest.mark.parametrize("data", [request(WRITE, 0, 4) + b"xxxx", request(TRIM, 0, 4)])
def test_read_only_exports_stay_as_they_are(data: bytes) -> None:
    pages = ArrayFile()
    reply = run(data + request(READ, 0, 4), Export("a", SIZE, read_only=True), pages)
    assert error_in(reply) == EPERM
    assert reply[-4:] == bytes(4)


def test_largest_requests_and_larger_ones() -> None:
    export = Export("a", BIG)
    payload = PAGE * ((32 << 20) // 4096)
    reply = run(request(WRITE, 4096, 32 << 20) + payload + request(READ, 4096, 32 << 20), export)
    assert error_in(reply) == 0
    assert reply[32:] == payload
    reply = run(request(WRITE, 0, (32 << 20) + 1) + payload + b"x" + request(READ, 0, 1), export)
    assert error_in(reply) == EINVAL
    assert len(reply) == 33
    assert error_in(run(request(READ, 0, (32 << 20) + 1), export)) == EINVAL


@pytest.mark.parametrize("length", [64, 2 * BUFFER_BYTES])
@pytest.mark.parametrize("failure", [ENOSPC, EIO])
def test_failing_pages_give_their_error(length: int, failure: int) -> None:
    pages = ArrayFile(broken=range(4096), failure=failure)
    payload = bytes(length)
    data = request(WRITE, 0, length) + payload + request(READ, 0, length) + request(TRIM, 0, 1)
    reply = run(data, pages=pages)
    assert [error_in(reply[at : at + 16]) for at in (0, 16, 32)] == [failure] * 3
    assert len(reply) == 48


def test_read_that_fails_half_way_can_only_hang_up() -> None:
    export = Export("a", SIZE)
    with pytest.raises(OSError, match="broken"):
        fast(export, ArrayFile(broken=range(SIZE - 1, SIZE)), [request(READ, 0, SIZE)])


def test_disc_and_bad_magic_end_it_after_what_came_before() -> None:
    export = Export("a", SIZE)
    for end in (request(DISC), bytes(28)):
        data = request(FLUSH) + end + request(FLUSH)
        for way in (specified, fast):
            replies, over = way(export, ArrayFile(), [data])
            assert (len(replies), over) == (16, True)


def test_many_requests_fill_the_output_more_than_once() -> None:
    data = request(WRITE, 0, 4096) + PAGE + request(READ, 0, 4096) * 200
    assert run(data) == run(request(FLUSH)) + (run(request(FLUSH)) + PAGE) * 200


OFFSETS = st.one_of(st.integers(0, 9000), st.just((1 << 64) - 1))
REQUESTS = st.one_of(
    st.binary(max_size=30),
    st.builds(
        lambda command, offset, length, flags: request(command, offset, length, flags),
        st.integers(0, 9),
        OFFSETS,
        st.integers(0, 9000),
        st.sampled_from([0, 0, 1, 2, 4]),
    ),
    st.builds(
        lambda offset, data, flags: request(WRITE, offset, len(data), flags) + data,
        OFFSETS,
        st.binary(max_size=300),
        st.sampled_from([0, 0, 1, 2]),
    ),
)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(REQUESTS, max_size=8).map(b"".join),
    st.lists(st.integers(0, 3000), max_size=6),
    st.booleans(),
)
def test_split_and_way_do_not_matter(data: bytes, cuts: list[int], read_only: bool) -> None:
    export = Export("a", 8192, read_only=read_only)
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    pieces = [data[begin:end] for begin, end in pairwise(edges)]
    pages, split, split_fast = ArrayFile(8192), ArrayFile(8192), ArrayFile(8192)
    expected = specified(export, pages, [data])
    assert specified(export, split, pieces) == expected
    assert fast(export, split_fast, pieces) == expected
    # A write that was cut off may have begun in the fast loop: its reply was never sent.
    assert split.data == pages.data
    if not expected[1]:
        tail = request(READ, 0, 8192)
        assert fast(export, ArrayFile(8192), [data, tail]) == specified(
            export, ArrayFile(8192), [data, tail]
        )
