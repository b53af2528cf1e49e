"""Any bytes, split in any way, leave a handshake undecided, Ready or Closed."""

from itertools import pairwise
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netboot.pages.nbd.dialect import Dialect, Headers
from netboot.pages.nbd.export import Export, Refusal, Refused
from netboot.pages.nbd.handshake import (
    MAX_OPTION_BYTES,
    MAX_OPTIONS,
    MAX_SKIPPED_BYTES,
    Handshake,
    Ready,
)
from netboot.pages.nbd.name import WireName
from netboot.pages.nbd.stream import Closed
from tests.support import scapy_nbd as nbd

FLAGS = bytes(nbd.ClientFlags())
SECRET = WireName.parse("swap@secret")
EXPORT = Export("swap", 1 << 30, "swap of a seat")
ALLOCATION = b"base:allocation"
WRITABLE = (
    "HAS_FLAGS+SEND_FLUSH+SEND_FUA+SEND_TRIM+SEND_WRITE_ZEROES"
    "+CAN_MULTI_CONN+SEND_CACHE+SEND_FAST_ZERO"
)


def lookup(name: WireName) -> Export | Refused:
    if name == SECRET:
        return EXPORT
    if name.export.startswith("swap"):
        return Refused("wrong token for export swap")
    return Refused("no such export", Refusal.UNKNOWN)


def shake(data: bytes, listed: tuple[str, ...] | None = None) -> tuple[Handshake, bytes]:
    """Return a handshake that has received ``data``, and its output since the greeting."""
    handshake = Handshake(lookup, listed)
    assert len(handshake.data_to_send()) == 18
    handshake.receive_data(data)
    return handshake, handshake.data_to_send()


def test_greeting_as_scapy_reads_it() -> None:
    greeting = nbd.Greeting(Handshake(lookup).data_to_send())
    assert greeting.magic == int.from_bytes(b"NBDMAGIC", "big")
    assert greeting.option_magic == int.from_bytes(b"IHAVEOPT", "big")
    assert str(greeting.flags) == "FIXED_NEWSTYLE+NO_ZEROES"


def test_go_tells_all_that_was_asked_and_keeps_what_follows() -> None:
    handshake, said = shake(FLAGS + nbd.go(b"swap@secret", 1, 2, 3) + b"first request")
    *infos, ack = nbd.option_replies(said)
    assert (ack.option, ack.type) == (7, 1)
    export, name, description, block_size = (nbd.InfoReply(reply.data) for reply in infos)
    assert (export.size, str(export.flags)) == (1 << 30, WRITABLE)
    assert (name.info, bytes(name.payload)) == (1, b"swap@secret")
    assert (description.info, bytes(description.payload)) == (2, b"swap of a seat")
    sizes = (block_size.minimum, block_size.preferred, block_size.maximum)
    assert sizes == (1, 4096, 32 << 20)
    assert handshake.outcome == Ready(SECRET, EXPORT, b"first request")


def test_go_without_questions_tells_the_export_only() -> None:
    _, said = shake(FLAGS + nbd.go(b"swap@secret"))
    assert [reply.type for reply in nbd.option_replies(said)] == [3, 1]


def test_info_chooses_nothing() -> None:
    handshake, said = shake(FLAGS + nbd.go(b"swap@secret", option=6))
    assert [reply.type for reply in nbd.option_replies(said)] == [3, 1]
    assert handshake.outcome is None


def test_read_only_export_cannot_be_written() -> None:
    said = Export("a", 1, read_only=True).transmission_flags(structured=True)
    flags = nbd.InfoReply(pack(">HQH", 0, 1, said))
    readable = "HAS_FLAGS+READ_ONLY+SEND_FLUSH+SEND_FUA+SEND_DF+CAN_MULTI_CONN+SEND_CACHE"
    assert str(flags.flags) == readable


@pytest.mark.parametrize(
    ("options", "headers"), [([], 0), ([8], 1), ([11], 2), ([8, 11], 2), ([11, 8], 2), ([8, 8], 1)]
)
def test_headers_are_negotiated(options: list[int], headers: int) -> None:
    data = b"".join(bytes(nbd.Option(option=option)) for option in options)
    handshake, said = shake(FLAGS + data + nbd.go(b"swap@secret"))
    replies = nbd.option_replies(said)
    expected = [
        "ERR_EXT_HEADER_REQD" if options[:at] == [11] else "ACK" for at in range(len(options))
    ]
    assert [reply.sprintf("%type%") for reply in replies[: len(options)]] == expected
    assert ("SEND_DF" in str(nbd.InfoReply(replies[-2].data).flags)) == (headers > 0)
    assert isinstance(handshake.outcome, Ready)
    assert handshake.outcome.dialect == Dialect(Headers(headers))


@pytest.mark.parametrize("option", [8, 11])
def test_header_options_have_no_data(option: int) -> None:
    handshake, said = shake(
        FLAGS + bytes(nbd.Option(option=option, data=b"?")) + nbd.go(b"swap@secret")
    )
    assert nbd.option_replies(said)[0].sprintf("%type%") == "ERR_INVALID"
    assert isinstance(handshake.outcome, Ready)
    assert handshake.outcome.dialect == Dialect()


def test_export_name_cannot_follow_extended_headers() -> None:
    option = bytes(nbd.Option(option=11)) + bytes(nbd.Option(option=1, data=b"swap@secret"))
    assert isinstance(shake(FLAGS + option)[0].outcome, Closed)


STRUCTURED = FLAGS + bytes(nbd.Option(option=8))


@pytest.mark.parametrize(
    ("queries", "listed", "chosen"),
    [
        ([], True, False),
        ([b"base:"], True, False),
        ([ALLOCATION], True, True),
        ([b"qemu:dirty", ALLOCATION, ALLOCATION], True, True),
        ([b"base:other"], False, False),
        ([b"\xff"], False, False),
    ],
)
def test_meta_contexts(queries: list[bytes], listed: bool, chosen: bool) -> None:
    query = STRUCTURED + nbd.meta_context(b"swap@secret", *queries, option=9)
    _, *replies, end = nbd.option_replies(shake(query)[1])
    assert [reply.data for reply in replies] == [bytes(4) + ALLOCATION] * listed
    assert (end.option, end.type) == (9, 1)
    query = STRUCTURED + nbd.meta_context(b"swap@secret", *queries) + nbd.go(b"swap@secret")
    handshake, said = shake(query)
    found = [reply for reply in nbd.option_replies(said) if reply.type == 4]
    assert [reply.data for reply in found] == [b"\0\0\0\1" + ALLOCATION] * chosen
    assert isinstance(handshake.outcome, Ready)
    assert handshake.outcome.dialect == Dialect(Headers.STRUCTURED, chosen)


def test_meta_context_of_another_export_or_forgotten_is_not_in_use() -> None:
    def find(name: WireName) -> Export:
        return Export(name.text, 1)

    choose = nbd.meta_context(b"a", ALLOCATION)
    for options in (
        choose + nbd.go(b"b"),
        choose + nbd.meta_context(b"a") + nbd.go(b"a"),
        choose + bytes(nbd.Option(option=10, data=b"?")) + nbd.go(b"a"),
    ):
        handshake = Handshake(find)
        handshake.receive_data(STRUCTURED + options)
        assert isinstance(handshake.outcome, Ready)
        assert not handshake.outcome.dialect.allocation


@pytest.mark.parametrize(
    ("query", "type_"),
    [
        (FLAGS + nbd.meta_context(b"swap@secret"), "ERR_INVALID"),  # no structured replies
        (STRUCTURED + nbd.meta_context(b"swap@guess"), "ERR_POLICY"),
        (STRUCTURED + nbd.meta_context(b"nothing", option=9), "ERR_UNKNOWN"),
        (STRUCTURED + nbd.meta_context(b"swap@secret", b"x" * 4097), "ERR_INVALID"),
        (STRUCTURED + nbd.meta_context(b"\xff", ALLOCATION), "ERR_INVALID"),
        *(
            (STRUCTURED + bytes(nbd.Option(option=10, data=data)), "ERR_INVALID")
            for data in (
                b"",
                b"\0\0\0\1a",
                b"\0\0\0\1a\0\0\0\1",
                b"\0\0\0\1a\0\0\0\0\0",
                b"\0\0\0\1a\xff\xff\xff\xff",
                b"\0\0\0\1a\0\0\0\1\xff\xff\xff\xffa",
            )
        ),
    ],
)
def test_meta_context_mistakes_keep_step(query: bytes, type_: str) -> None:
    handshake, said = shake(query + nbd.go(b"swap@secret"))
    assert type_ in [reply.sprintf("%type%") for reply in nbd.option_replies(said)]
    assert isinstance(handshake.outcome, Ready)


@pytest.mark.parametrize(
    ("name", "type_", "reason"),
    [
        (b"swap@guess", "ERR_POLICY", b"wrong token for export swap"),
        (b"nothing", "ERR_UNKNOWN", b"no such export"),
        (b"\xff", "ERR_INVALID", b"name or information types are malformed"),
        (b"x" * 4097, "ERR_INVALID", b"name or information types are malformed"),
    ],
)
def test_refusals_have_their_type_and_reason(name: bytes, type_: str, reason: bytes) -> None:
    handshake, said = shake(FLAGS + nbd.go(name))
    (reply,) = nbd.option_replies(said)
    assert (reply.sprintf("%type%"), reply.data) == (type_, reason)
    assert handshake.outcome is None  # the client may try another name


@pytest.mark.parametrize("data", [b"", b"\0\0\0\1a", b"\0\0\0\1a\0\1", b"\0\0\0\1a\0\0x"])
def test_go_with_lengths_that_disagree_is_invalid(data: bytes) -> None:
    _, said = shake(FLAGS + bytes(nbd.Option(option=7, data=data)))
    assert nbd.option_replies(said)[0].sprintf("%type%") == "ERR_INVALID"


@pytest.mark.parametrize("option", [4, 5, 12, 99, 0xFFFFFFFF])
def test_unknown_options_are_unsupported_and_keep_step(option: int) -> None:
    query = bytes(nbd.Option(option=option, data=b"some data")) + nbd.go(b"swap@secret")
    handshake, said = shake(FLAGS + query)
    first, *_ = nbd.option_replies(said)
    assert (first.option, first.sprintf("%type%")) == (option, "ERR_UNSUP")
    assert isinstance(handshake.outcome, Ready)


def test_list_is_secret_unless_there_is_a_list() -> None:
    query = FLAGS + bytes(nbd.Option(option=3))
    assert nbd.option_replies(shake(query)[1])[0].sprintf("%type%") == "ERR_POLICY"
    *servers, ack = nbd.option_replies(shake(query, ("a", "bc"))[1])
    assert [reply.data for reply in servers] == [b"\0\0\0\1a", b"\0\0\0\2bc"]
    assert ack.type == 1
    query = FLAGS + bytes(nbd.Option(option=3, data=b"?"))
    assert nbd.option_replies(shake(query, ())[1])[0].sprintf("%type%") == "ERR_INVALID"


@pytest.mark.parametrize(("flags", "length"), [(1, 134), (3, 10)])
def test_export_name_has_its_old_answer(flags: int, length: int) -> None:
    query = bytes(nbd.ClientFlags(flags=flags)) + bytes(nbd.Option(option=1, data=b"swap@secret"))
    handshake, said = shake(query)
    assert (len(said), nbd.ExportNameReply(said).size) == (length, 1 << 30)
    assert isinstance(handshake.outcome, Ready)


@pytest.mark.parametrize("name", [b"swap@guess", b"\xff", b"x" * 5000])
def test_refused_export_name_hangs_up_without_a_word(name: bytes) -> None:
    handshake, said = shake(FLAGS + bytes(nbd.Option(option=1, data=name)))
    assert said == b""
    assert isinstance(handshake.outcome, Closed)


def test_abort_is_acknowledged() -> None:
    handshake, said = shake(FLAGS + bytes(nbd.Option(option=2)))
    assert [reply.type for reply in nbd.option_replies(said)] == [1]
    assert handshake.outcome == Closed("aborted by the client")


def test_too_long_an_option_is_skipped_and_a_huge_one_ends_it() -> None:
    long = bytes(nbd.Option(option=7, data=bytes(MAX_OPTION_BYTES + 1)))
    handshake, said = shake(FLAGS + long + nbd.go(b"swap@secret"))
    assert nbd.option_replies(said)[0].sprintf("%type%") == "ERR_TOO_BIG"
    assert isinstance(handshake.outcome, Ready)
    huge = bytes(nbd.Option(option=7, length=MAX_SKIPPED_BYTES + 1))
    assert isinstance(shake(FLAGS + huge)[0].outcome, Closed)


@pytest.mark.parametrize(
    "data",
    [
        pack(">I", 4),  # an unknown client flag
        FLAGS + bytes(16),  # no IHAVEOPT
        FLAGS + bytes(nbd.Option(option=99)) * MAX_OPTIONS,
    ],
)
def test_hopeless_clients_are_hung_up_on(data: bytes) -> None:
    handshake, _ = shake(data)
    assert isinstance(handshake.outcome, Closed)
    handshake.receive_data(nbd.go(b"swap@secret"))
    assert handshake.data_to_send() == b""


NAMES = st.sampled_from([b"swap@secret", b"swap@x", b"y", b"\xff"])
OPTIONS = st.one_of(
    st.binary(max_size=40),
    st.builds(lambda name, infos: nbd.go(name, *infos), NAMES, st.lists(st.integers(0, 4))),
    st.builds(
        lambda name, queries, option: nbd.meta_context(name, *queries, option=option),
        NAMES,
        st.lists(st.sampled_from([ALLOCATION, b"base:", b"x"]), max_size=3),
        st.sampled_from([9, 10]),
    ),
    st.sampled_from([bytes(nbd.Option(option=option)) for option in (8, 11)]),
    st.builds(
        lambda option, data: bytes(nbd.Option(option=option, data=data)),
        st.integers(0, 12),
        st.one_of(st.binary(max_size=20), NAMES),
    ),
)
CONVERSATIONS = st.builds(
    lambda flags, options: flags + b"".join(options),
    st.one_of(st.just(FLAGS), st.binary(max_size=6)),
    st.lists(OPTIONS, max_size=4),
)


@settings(max_examples=100)
@given(CONVERSATIONS, st.lists(st.integers(0, 200)))
def test_the_split_does_not_matter(data: bytes, cuts: list[int]) -> None:
    whole, said = shake(data)
    pieces = Handshake(lookup)
    pieces.data_to_send()
    heard = b""
    for begin, end in pairwise(sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})):
        pieces.receive_data(data[begin:end])
        heard += pieces.data_to_send()
    assert (pieces.outcome, heard) == (whole.outcome, said)


def test_a_key_is_told_to_info_alone() -> None:
    export = Export("swap", 1, "swap of a seat", key="0123")
    assert "0123" not in repr(export)
    described = []
    for option in (6, 7):
        handshake = Handshake(lambda _: export)
        handshake.data_to_send()
        handshake.receive_data(FLAGS + nbd.go(b"swap@token", 2, option=option))
        _, description, _ = nbd.option_replies(handshake.data_to_send())
        described.append(bytes(nbd.InfoReply(description.data).payload))
    assert described == [b"swap of a seat, key 0123", b"swap of a seat"]
