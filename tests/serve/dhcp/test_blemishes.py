"""A DISCOVER with a blemish is answered, if the options that decide can be read (boot 6, boot 10)."""

import struct
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netboot.errors import Ignored
from netboot.profile.profile import Profile
from netboot.serve.dhcp.answer import Reply
from netboot.serve.dhcp.packet import HEADER, MAGIC_COOKIE, parse, serialize
from netboot.serve.dhcp.responder import respond
from tests.serve.dhcp.test_responder import FULL, NOW, PROXY, context

MAC = bytes.fromhex("001122aabb01")
UUID = b"\0" + bytes(range(1, 17))
CLASS = b"PXEClient:Arch:00000:UNDI:002001"
DECIDING = [(53, b"\1"), (60, CLASS), (93, b"\0\0")]
MORE = [(55, bytes((1, 3, 6, 43, 60, 66, 67, 97))), (57, b"\5\xc0"), (97, UUID), (94, b"\1\2\1")]
modes = pytest.mark.parametrize("profile", [PROXY, FULL], ids=["proxy", "full"])
Options = list[tuple[int, bytes]]


def encode(options: Options) -> bytes:
    parts = (
        (code, value[at : at + 255])
        for code, value in options
        for at in range(0, len(value) or 1, 255)
    )
    return b"".join(bytes((code, len(part))) + part for code, part in parts)


def message(
    options: bytes, *, chaddr: bytes = MAC, htype: int = 1, hlen: int = 6, **fields: bytes
) -> bytes:
    zero = bytes(4)
    head = (1, htype, hlen, 0, 7, 0, 0x8000, zero, zero, zero, zero, chaddr)
    return (
        HEADER.pack(*head, fields.get("sname", b""), fields.get("file", b""))
        + MAGIC_COOKIE
        + options
    )


def answer(data: bytes, profile: Profile) -> Reply:
    result = respond(parse(data), context(profile), NOW)
    assert isinstance(result, Reply), result
    assert parse(serialize(result.packet)).chaddr == MAC.ljust(16, b"\0") or data[34:44].strip(
        b"\0"
    )
    return result


def with_option(code: int, value: bytes) -> bytes:
    """Return a right DISCOVER in which one option has another value."""
    return encode([*((c, v) for c, v in (*DECIDING, *MORE) if c != code), (code, value)])


RIGHT = encode([*DECIDING, *MORE])
BLEMISHES = {
    **{f"97 of {size} bytes": message(with_option(97, bytes(size))) for size in (0, 1, 16, 33, 255)},
    **{f"50 of {size} bytes": message(with_option(50, bytes(size))) for size in (0, 1, 3, 5, 8)},
    **{f"51 of {size} bytes": message(with_option(51, bytes(size))) for size in (0, 3, 5)},
    **{f"57 is {value!r}": message(with_option(57, value)) for value in (b"", b"\1", b"\0\x40", b"\0\0\0")},
    **{f"52 is {value!r}": message(with_option(52, value)) for value in (b"", b"\0", b"\4", b"\xff", b"\3\3")},
    **{
        f"{code} twice": message(RIGHT + encode([(code, value)]))
        for code, value in [*DECIDING, *MORE, (50, b"\x0a\0\0\x37")]
    },
    "97 twice, not the same": message(RIGHT + encode([(97, bytes(17))])),
    "50 twice": message(RIGHT + encode([(50, b"\x0a\0\0\x37"), (50, b"\x0a\0\0\x38")])),
    "no 55": message(encode([*DECIDING, (97, UUID)])),
    "55 empty": message(with_option(55, b"")),
    "61 empty": message(with_option(61, b"")),
    "61 of 400 bytes": message(with_option(61, bytes(400))),
    "82 of 600 bytes": message(with_option(82, bytes(600))),
    "82 and 61 of more than a frame": message(encode([*DECIDING, (61, bytes(450)), (82, bytes(600))])),
    "an iPXE whose 175 is cut off": message(encode([*DECIDING, (77, b"iPXE"), (175, b"\x13\1\1\x18\5\1")])),
    "77 whose lengths are wrong": message(with_option(77, b"\xffiPXE")),
    "a last option longer than the packet": message(RIGHT + bytes((128, 20, 1, 2))),
    "a last 60 longer than the packet": message(encode([(53, b"\1"), (93, b"\0\0")]) + b"\x3c\xff" + CLASS),
    "a last byte that begins an option": message(RIGHT + b"\x80"),
    "no END, zeros": message(RIGHT + bytes(60)),
    "END, then junk": message(RIGHT + b"\xff" + b"\x35\1\7" * 9),
    "zeros before the options": message(bytes(4) + RIGHT),
    "overload with junk": message(RIGHT + b"\x34\1\3", file=b"\xff", sname=b"\xff"),
    "overload without an END": message(RIGHT + b"\x34\1\1", file=b"undionly.kpxe"),
    "overload whose options are cut off": message(RIGHT + b"\x34\1\3", file=b"\x0c\xff", sname=b"\x0c"),
    "93 of 1 byte": message(with_option(93, b"\0")),
    "93 of 3 bytes": message(with_option(93, b"\0\0\0")),
    "93 empty": message(with_option(93, b"")),
    "no 93": message(encode([(53, b"\1"), (60, CLASS), *MORE])),
    "no 93, a class without a number": message(encode([(53, b"\1"), (60, b"PXEClient"), *MORE])),
    "a class that ends with NUL": message(with_option(60, CLASS + b"\0")),
    "htype of IEEE 802": message(RIGHT, htype=6),
    "htype 0": message(RIGHT, htype=0),
    "hlen 0": message(RIGHT, hlen=0),
    "hlen 16": message(RIGHT, hlen=16),
    "hlen 255": message(RIGHT, hlen=255),
    "junk behind chaddr": message(RIGHT, chaddr=MAC + b"\xab" * 10),
}  # fmt: skip


@modes
@pytest.mark.parametrize("data", BLEMISHES.values(), ids=BLEMISHES)
def test_a_discover_with_a_blemish_is_answered(profile: Profile, data: bytes) -> None:
    reply = answer(data, profile)
    file = "bios.ipxe" if b"iPXE" in data else "undionly.kpxe"
    assert reply.packet.file.decode() == file
    assert len(serialize(reply.packet)) <= 1472, "a frame"


@modes
@pytest.mark.parametrize("size", [1, 16, 17, 33])
def test_an_identifier_is_echoed_as_it_was_sent(profile: Profile, size: int) -> None:
    for code in (61, 97):
        value = bytes(range(1, size + 1))
        once, twice = encode([(code, value)]), encode([(code, value)] * 2)
        for sent in (once, twice):
            reply = answer(message(encode(DECIDING) + sent), profile)
            assert reply.packet.options[code] == value


@modes
def test_what_a_relay_added_comes_back_whole(profile: Profile) -> None:
    """RFC 3046 section 2.2, RFC 3396: also if it has more than one option can hold."""
    added = b"".join(struct.pack("!BB", 9, 200) + bytes(200) for _ in range(3))
    options = encode([*DECIDING, (97, UUID), (61, bytes(300)), (82, added)])
    echoed = parse(serialize(answer(message(options), profile).packet)).options
    assert (echoed[82], echoed[97], 61 in echoed) == (added, UUID, False)
    assert list(echoed)[-1] == 82


CODES = st.integers(1, 254).filter(lambda code: code not in (53, 60, 93))
FURTHER = st.lists(
    st.tuples(CODES | st.sampled_from((50, 51, 52, 55, 57, 61, 77, 82, 97, 175)), st.binary(max_size=300)),
    max_size=6,
)  # fmt: skip


@given(
    st.sampled_from((PROXY, FULL)), FURTHER, FURTHER, st.binary(max_size=40), st.binary(max_size=64)
)
def test_every_damage_of_what_does_not_decide_is_answered(
    profile: Profile, before: Options, after: Options, tail: bytes, field: bytes
) -> None:
    options = encode([*before, *DECIDING, *after])
    reply = answer(message(options + tail, file=field, sname=field), profile)
    assert parse(serialize(reply.packet)).xid == 7


@given(
    st.sampled_from((PROXY, FULL)), st.integers(0, 255), st.integers(0, 255), st.binary(max_size=80)
)
def test_any_type_of_hardware_is_answered_by_its_mac_address(
    profile: Profile, htype: int, hlen: int, tail: bytes
) -> None:
    answer(message(RIGHT + tail, htype=htype, hlen=hlen), profile)


@modes
@pytest.mark.parametrize("kind", [9, 10, 13, 18, 200])
def test_a_message_of_other_peoples_traffic_is_ignored_in_silence(
    profile: Profile, kind: int
) -> None:
    result = respond(parse(message(with_option(53, bytes((kind,))))), context(profile), NOW)
    assert isinstance(result, Ignored) and not result.serious


@modes
@pytest.mark.parametrize("value", [b"", b"\0"])
def test_a_boot_client_without_a_message_type_is_named(profile: Profile, value: bytes) -> None:
    result = respond(parse(message(with_option(53, value))), context(profile), NOW)
    assert isinstance(result, Ignored) and result.serious
    assert result.told.startswith("BOOTP without DHCP") and "PXE-E5" in result.shows


def test_the_first_of_two_wishes_counts() -> None:
    options = encode([*DECIDING, (50, b"\x0a\0\0\x37"), (50, b"\x0a\0\0\x38")])
    assert answer(message(options), FULL).packet.yiaddr == IPv4Address("10.0.0.55")


def test_a_request_that_does_not_repeat_its_address_accepts_our_offer() -> None:
    where = context(FULL)
    offer = respond(parse(message(RIGHT)), where, NOW)
    assert isinstance(offer, Reply)
    for wish in (b"", b"\x0a", b"\0\0\0"):
        request = with_option(53, b"\3") + encode([(54, where.server.packed), (50, wish)])
        ack = respond(parse(message(request)), where, NOW)
        assert isinstance(ack, Reply) and ack.answer.name == "DHCPACK"
        assert ack.packet.yiaddr == offer.packet.yiaddr
