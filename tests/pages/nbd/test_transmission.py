"""The readable transmission phase, and the workers' fast loop replaying every case of it.

Any bytes, split in any way, give the same replies, the same pages and the same end in both.
"""

from errno import EIO, ENOSPC
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netboot.pages.nbd.dialect import SIMPLE, Dialect, Headers
from netboot.pages.nbd.export import Export
from netboot.pages.nbd.transmission import CHUNK_BYTES, MAX_EXTENTS
from netboot.pages.worker.exchange import BUFFER_BYTES
from tests.support.two_ways import (
    BLOCK_STATUS,
    CACHE,
    DF,
    DIALECTS,
    DISC,
    EXTENDED,
    FAST_ZERO,
    FLUSH,
    FUA,
    NO_HOLE,
    PAYLOAD_LEN,
    READ,
    REQ_ONE,
    SIZE,
    STRUCTURED,
    TRIM,
    WRITE,
    WRITE_ZEROES,
    ArrayFile,
    answers,
    error_of,
    fast,
    request,
    run,
    specified,
)

BIG = 33 << 20
EPERM, EINVAL, ENOTSUP = 1, 22, 95
PAGE = bytes(range(256)) * 16
IN_CHUNKS = (STRUCTURED, EXTENDED)
each_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda each: each.headers.name)
each_in_chunks = pytest.mark.parametrize("dialect", IN_CHUNKS, ids=lambda each: each.headers.name)


def write(offset: int, data: bytes, flags: int = 0, dialect: Dialect = SIMPLE) -> bytes:
    return request(WRITE, offset, len(data), flags, dialect) + data


def read_back(data: bytes, dialect: Dialect, length: int) -> bytes:
    """Return the bytes of the one READ, ``length`` bytes long, from the replies in ``data``."""
    found = answers(data, length)
    if dialect is SIMPLE:
        return bytes(data[-length:])
    content = b""
    for reply in found:
        if reply.type == 1:
            content += reply.data
        elif reply.type == 2:
            content += bytes(reply.hole)
    assert [int(reply.flags) for reply in found if reply.magic != 0x67446698][-1] == 1
    return content


@each_dialect
@pytest.mark.parametrize("flags", [0, FUA])
def test_what_was_written_is_read(flags: int, dialect: Dialect) -> None:
    pages = ArrayFile()
    reply = run(write(4096, PAGE, flags, dialect), pages=pages, dialect=dialect)
    assert [error_of(each) for each in answers(reply)] == [0]
    assert pages.flushes == flags
    reply = run(
        request(READ, 4000, 4200, flags, dialect),
        dialect=dialect,
        pages=pages,
    )
    assert read_back(reply, dialect, 4200) == bytes(96) + PAGE + bytes(8)


@each_dialect
@pytest.mark.parametrize("command", [TRIM, WRITE_ZEROES])
@pytest.mark.parametrize("flags", [0, FUA])
def test_erased_pages_read_as_zeros(command: int, flags: int, dialect: Dialect) -> None:
    pages = ArrayFile()
    data = write(0, PAGE, 0, dialect) + request(command, 0, 4096, flags, dialect)
    run(data, pages=pages, dialect=dialect)
    assert pages.data == bytes(SIZE)
    assert pages.flushes == flags


def test_scapy_reads_each_reply() -> None:
    """An independent parser reads the replies to a READ, a WRITE and an error in each dialect."""
    data = [write(0, PAGE, 0, each) + request(READ, 1, 9, 0, each) for each in DIALECTS]
    data = [head + request(77, 5, 5, 0, each) for head, each in zip(data, DIALECTS, strict=True)]
    said = run(data[0])
    wrote, got, failed = *answers(said[:16]), *answers(said[16:41], 9), *answers(said[41:])
    assert said[32:41] == PAGE[1:10]
    assert [each.error for each in (wrote, got, failed)] == [0, 0, EINVAL]
    wrote, got, failed = answers(run(data[1], dialect=STRUCTURED))
    assert wrote.magic == 0x67446698  # a simple reply is allowed for all commands but READ
    assert got.sprintf("%type% %flags% %at%") == "OFFSET_DATA DONE 1"
    assert got.data == PAGE[1:10]
    assert failed.sprintf("%type% %flags% %error%") == "ERROR DONE EINVAL"
    wrote, got, failed = answers(run(data[2], dialect=EXTENDED))
    assert wrote.sprintf("%type% %flags% %offset% %length%") == "NONE DONE 0 0"
    assert got.sprintf("%type% %flags% %offset% %at%") == "OFFSET_DATA DONE 1 1"
    assert got.data == PAGE[1:10]
    assert failed.sprintf("%type% %flags% %error% %offset%") == "ERROR DONE EINVAL 5"


@each_dialect
@pytest.mark.parametrize(
    ("command", "offset", "length", "flags", "error"),
    [
        (READ, SIZE, 1, 0, EINVAL),
        (READ, SIZE - 1, 2, 0, EINVAL),
        (READ, 1 << 63, 4096, 0, EINVAL),
        (WRITE, SIZE - 1, 2, 0, ENOSPC),
        (WRITE, SIZE + 1, 0, 0, ENOSPC),
        (TRIM, SIZE, 1, 0, EINVAL),
        (CACHE, SIZE, 1, 0, EINVAL),
        (WRITE_ZEROES, SIZE, 1, 0, ENOSPC),
        (WRITE, 0, 4, NO_HOLE, EINVAL),
        (WRITE, 0, 4, DF, EINVAL),
        (TRIM, 0, 4, FAST_ZERO, EINVAL),
        (READ, 0, 4096, 1 << 15, EINVAL),
        (77, 0, 4096, 0, EINVAL),
        (FLUSH, 7, 7, 0, 0),
        (READ, SIZE, 0, 0, 0),
        (WRITE, 0, 0, 0, 0),
        (WRITE, 0, 0, FUA, 0),
        (TRIM, 0, 0, 0, 0),
        (CACHE, 0, SIZE, FUA, 0),
        (CACHE, 5, 0, 0, 0),
        (WRITE_ZEROES, 0, SIZE, FUA | NO_HOLE, 0),
        (WRITE_ZEROES, 0, SIZE, FAST_ZERO, 0),
        (WRITE_ZEROES, 0, SIZE, FAST_ZERO | NO_HOLE, ENOTSUP),
    ],
)
def test_error_of_each_mistake_and_the_stream_stays_in_step(
    command: int, offset: int, length: int, flags: int, error: int, dialect: Dialect
) -> None:
    data = request(command, offset, length, flags, dialect)
    if command == WRITE:
        data += bytes(length)
    first, last = answers(run(data + request(FLUSH, dialect=dialect), dialect=dialect))
    assert (error_of(first), error_of(last)) == (error, 0)


@pytest.mark.parametrize(
    ("data", "dialect"),
    [
        (request(READ, 0, 4096, flags=DF), SIMPLE),
        (request(BLOCK_STATUS, 0, 4096), SIMPLE),
        (request(BLOCK_STATUS, 0, 4096), Dialect(Headers.STRUCTURED)),  # no context was chosen
        (request(BLOCK_STATUS, 0, 0), STRUCTURED),
        (request(BLOCK_STATUS, SIZE, 1), STRUCTURED),
        (request(READ, 0, 4096, PAYLOAD_LEN), STRUCTURED),
        (request(READ, 0, 4, PAYLOAD_LEN, EXTENDED) + b"what", EXTENDED),
        (request(BLOCK_STATUS, 0, 4, PAYLOAD_LEN, EXTENDED) + b"what", EXTENDED),
        (request(77, 0, BUFFER_BYTES, PAYLOAD_LEN, EXTENDED) + bytes(BUFFER_BYTES), EXTENDED),
        (request(READ, 0, 1 << 40, 0, EXTENDED), EXTENDED),
        (request(TRIM, 1, (1 << 64) - 1, 0, EXTENDED), EXTENDED),
    ],
)
def test_what_was_not_negotiated_is_invalid(data: bytes, dialect: Dialect) -> None:
    first, last = answers(run(data + request(FLUSH, dialect=dialect), dialect=dialect))
    assert (error_of(first), error_of(last)) == (EINVAL, 0)


def test_extended_write_must_say_that_it_has_a_payload() -> None:
    header = bytearray(request(WRITE, 0, 4, 0, EXTENDED))
    header[4:6] = b"\0\0"
    first, last = answers(run(bytes(header) + request(FLUSH, dialect=EXTENDED), dialect=EXTENDED))
    assert (error_of(first), error_of(last)) == (EINVAL, 0)


@each_dialect
@pytest.mark.parametrize("command", [WRITE, TRIM, WRITE_ZEROES])
def test_read_only_exports_stay_as_they_are(command: int, dialect: Dialect) -> None:
    pages = ArrayFile()
    data = request(command, 0, 4, 0, dialect) + b"xxxx" * (command == WRITE)
    data += request(FLUSH, dialect=dialect)
    reply = run(data, Export("a", SIZE, read_only=True), pages, dialect)
    assert [error_of(each) for each in answers(reply)] == [EPERM, 0]
    assert pages.data == bytes(SIZE)


@each_dialect
def test_largest_requests_and_larger_ones(dialect: Dialect) -> None:
    export = Export("a", BIG)
    payload = PAGE * ((32 << 20) // 4096)
    largest = request(READ, 4096, 32 << 20, 0, dialect)
    reply = run(write(4096, payload, 0, dialect) + largest, export, dialect=dialect)
    wrote = 32 if dialect.extended else 16
    assert read_back(reply[wrote:], dialect, 32 << 20) == payload
    data = write(0, payload + b"x", 0, dialect) + request(READ, 0, (32 << 20) + 1, 0, dialect)
    refused = answers(run(data, export, dialect=dialect))
    assert [error_of(each) for each in refused] == [EINVAL] * 2


@each_dialect
@pytest.mark.parametrize("length", [64, 2 * BUFFER_BYTES])
@pytest.mark.parametrize("failure", [ENOSPC, EIO])
def test_failing_pages_give_their_error(length: int, failure: int, dialect: Dialect) -> None:
    pages = ArrayFile(broken=range(4096), failure=failure)
    data = write(0, bytes(length), 0, dialect)
    for command in (READ, TRIM, WRITE_ZEROES, CACHE):
        data += request(command, 0, length, 0, dialect)
    found = answers(run(data, pages=pages, dialect=dialect))
    assert [error_of(each) for each in found] == [failure] * 5


def test_failing_block_status_gives_its_error() -> None:
    pages = ArrayFile(broken=range(4096))
    (reply,) = answers(run(request(BLOCK_STATUS, 0, 1), pages=pages, dialect=STRUCTURED))
    assert error_of(reply) == EIO


def test_simple_read_that_fails_half_way_can_only_hang_up() -> None:
    export = Export("a", SIZE)
    for way in (specified, fast):
        with pytest.raises(OSError, match="broken"):
            way(export, ArrayFile(broken=range(SIZE - 1, SIZE)), [request(READ, 0, SIZE)])


@each_in_chunks
def test_read_in_chunks_says_where_it_failed(dialect: Dialect) -> None:
    pages = ArrayFile(broken=range(SIZE - 1, SIZE))
    pages.data[:] = b"x" * SIZE
    *chunks, failed = answers(run(request(READ, 0, SIZE, 0, dialect), pages=pages, dialect=dialect))
    assert len(chunks) == SIZE // CHUNK_BYTES - 1
    assert failed.sprintf("%type% %flags%") == "ERROR_OFFSET DONE"
    assert (failed.at, failed.error) == (SIZE - CHUNK_BYTES, EIO)
    # DF: the only chunk was announced, so it is sent, and the error follows.
    reply = run(request(READ, 0, SIZE, DF, dialect), pages=pages, dialect=dialect)
    whole, failed = answers(reply)
    assert whole.data == b"x" * (SIZE - CHUNK_BYTES) + bytes(CHUNK_BYTES)
    assert (failed.sprintf("%type% %flags%"), failed.error) == ("ERROR DONE", EIO)


@each_in_chunks
def test_zeros_are_sent_as_holes(dialect: Dialect) -> None:
    data = write(3 * CHUNK_BYTES + 5, b"x", 0, dialect) + request(READ, 0, SIZE, 0, dialect)
    _, *chunks = answers(run(data, dialect=dialect))
    kinds = ["OFFSET_HOLE"] * (SIZE // CHUNK_BYTES)
    kinds[3] = "OFFSET_DATA"
    assert [each.sprintf("%type%") for each in chunks] == kinds
    assert [each.at for each in chunks] == list(range(0, SIZE, CHUNK_BYTES))
    assert [int(each.flags) for each in chunks] == [0] * (len(chunks) - 1) + [1]
    for length in (4096, CHUNK_BYTES):
        (chunk,) = answers(run(request(READ, 0, length, 0, dialect), dialect=dialect))
        kind = "OFFSET_DATA" if length == 4096 else "OFFSET_HOLE"
        assert chunk.sprintf("%type% %flags%") == f"{kind} DONE"


@each_in_chunks
@pytest.mark.parametrize("length", [1, CHUNK_BYTES, CHUNK_BYTES + 1, SIZE])
def test_df_gives_one_piece(length: int, dialect: Dialect) -> None:
    data = write(0, PAGE, 0, dialect) + request(READ, 0, length, DF, dialect)
    _, chunk, *end = answers(run(data, dialect=dialect))
    assert chunk.sprintf("%type%") == "OFFSET_DATA"
    assert chunk.data == (PAGE + bytes(SIZE))[:length]
    assert [each.type for each in end] == [0] * (length > CHUNK_BYTES)


def test_block_status_tells_holes() -> None:
    setup = write(4096, PAGE, 0, STRUCTURED) + write(65536, b"x", 0, STRUCTURED)
    _, _, reply = answers(
        run(setup + request(BLOCK_STATUS, 512, SIZE - 512, 0, STRUCTURED), dialect=STRUCTURED)
    )
    assert reply.sprintf("%type% %flags% %context%") == "BLOCK_STATUS DONE 1"
    assert reply.extents == [3584, 3, 4096, 0, 57344, 3, 512, 0, SIZE - 66048, 3]
    _, _, reply = answers(
        run(setup + request(BLOCK_STATUS, 0, SIZE, REQ_ONE, STRUCTURED), dialect=STRUCTURED)
    )
    assert reply.extents == [4096, 3]
    setup = write(4096, PAGE, 0, EXTENDED)
    _, reply = answers(run(setup + request(BLOCK_STATUS, 0, SIZE, 0, EXTENDED), dialect=EXTENDED))
    assert reply.sprintf("%type% %flags% %context% %count%") == "BLOCK_STATUS_EXT DONE 1 3"
    assert reply.extents64 == [4096, 3, 4096, 0, SIZE - 8192, 3]


@each_in_chunks
def test_block_status_of_many_extents_is_cut_off(dialect: Dialect) -> None:
    size = 4 * MAX_EXTENTS * 512
    writes = [write(at * 1024, b"x", 0, dialect) for at in range(2 * MAX_EXTENTS)]
    data = b"".join(writes) + request(BLOCK_STATUS, 0, size, 0, dialect)
    reply = answers(run(data, Export("a", size), dialect=dialect))[-1]
    lengths = (reply.extents64 if dialect.extended else reply.extents)[::2]
    assert lengths == [512] * MAX_EXTENTS


@each_dialect
def test_disc_and_bad_magic_end_it_after_what_came_before(dialect: Dialect) -> None:
    export, flush = Export("a", SIZE), request(FLUSH, dialect=dialect)
    for end in (request(DISC, dialect=dialect), bytes(32)):
        for way in (specified, fast):
            replies, over = way(export, ArrayFile(), [flush + end + flush], dialect)
            assert (len(answers(replies)), over) == (1, True)


@each_dialect
def test_many_requests_fill_the_output_more_than_once(dialect: Dialect) -> None:
    setup, read = write(0, PAGE, 0, dialect), request(READ, 0, 4096, 0, dialect)
    reply = run(setup + read * 200, dialect=dialect)
    once = run(setup + read, dialect=dialect)
    wrote = 32 if dialect.extended else 16
    assert reply == once[:wrote] + once[wrote:] * 200


OFFSETS = st.one_of(st.integers(0, 9000), st.just((1 << 64) - 1))
LENGTHS = st.one_of(st.integers(0, 9000), st.integers(120_000, 140_000))
FLAGS = st.sampled_from([0, 0, 0, FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO, PAYLOAD_LEN])


def requests(dialect: Dialect) -> st.SearchStrategy[bytes]:
    headers = st.builds(
        lambda command, offset, length, flags: request(command, offset, length, flags, dialect),
        st.integers(0, 9),
        OFFSETS,
        LENGTHS,
        FLAGS,
    )
    writes = st.builds(
        lambda offset, data, flags: write(offset, data, flags, dialect),
        OFFSETS,
        st.binary(max_size=300),
        FLAGS,
    )
    return st.one_of(st.binary(max_size=34), headers, writes, writes)


@each_dialect
@settings(max_examples=60)
@given(st.data(), st.lists(st.integers(0, 3000), max_size=6), st.booleans())
def test_split_and_way_do_not_matter(
    dialect: Dialect, draw: st.DataObject, cuts: list[int], read_only: bool
) -> None:
    size = 150_000
    data = draw.draw(st.lists(requests(dialect), max_size=8).map(b"".join))
    export = Export("a", size, read_only=read_only)
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    pieces = [data[begin:end] for begin, end in pairwise(edges)]
    pages, split, split_fast = ArrayFile(size), ArrayFile(size), ArrayFile(size)
    expected = specified(export, pages, [data], dialect)
    assert specified(export, split, pieces, dialect) == expected
    assert fast(export, split_fast, pieces, dialect) == expected
    # The fast loop may have begun a write that was cut off; its reply was never sent.
    assert split.data == pages.data
    if not expected[1]:
        more = [data, request(READ, 0, size, 0, dialect)]
        again, again_fast = ArrayFile(size), ArrayFile(size)
        assert fast(export, again_fast, more, dialect) == specified(export, again, more, dialect)
