"""A transfer without a network: the rules for each packet, sent, lost, doubled or late."""

import heapq
import itertools
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netboot.serve.tftp import packet
from netboot.serve.tftp.packet import ErrorCode
from netboot.serve.tftp.transfer import (
    AMPLIFICATION,
    CHUNK_BYTES,
    FIRST_WAIT_SECONDS,
    FRAME_HEADERS,
    HURRY_SECONDS,
    PATIENCE_SECONDS,
    UNPROVEN_SECONDS,
    Outcome,
    Sender,
    agree,
)

STEP = 0.01  # seconds from one side to the other
ASKED = len(b"\0\1undionly.kpxe\0octet\0")  # bytes of a request


def sender(content: bytes, mtu: int = 1500, **options: int) -> Sender:
    terms = agree({name: str(value) for name, value in options.items()}, len(content), mtu)
    return Sender(
        lambda offset, length: content[offset : offset + length], len(content), terms, ASKED
    )


def blocks(datagrams: list[bytes]) -> list[int]:
    """Return the block numbers of DATA packets; an OACK counts as 0."""
    numbers = []
    for datagram in datagrams:
        opcode, number = struct.unpack_from(">HH", datagram)
        assert opcode in (3, 6)
        numbers.append(number if opcode == 3 else 0)
    return numbers


@dataclass
class Client:
    """A client that follows RFC 1350 and 7440, with its own timer."""

    blksize: int = 512
    window: int = 1
    content: bytearray = field(default_factory=bytearray)
    block: int = 0
    unacknowledged: int = 0
    gap_told: bool = False
    done: bool = False
    seen: dict[int, int] = field(default_factory=dict)

    def receive(self, datagram: bytes) -> list[bytes]:
        opcode, number = struct.unpack_from(">HH", datagram)
        if opcode == 6:
            return [packet.ack(0)] if self.block == 0 else []
        assert opcode == 3
        self.seen[number] = self.seen.get(number, 0) + 1
        if number != (self.block + 1) & 0xFFFF or self.done:
            if self.window == 1 or self.done or not self.gap_told:
                self.gap_told = True
                return self.acknowledge()
            return []
        payload = datagram[4:]
        self.content += payload
        self.block += 1
        self.unacknowledged += 1
        self.gap_told = False
        self.done = len(payload) < self.blksize
        full = self.done or self.unacknowledged == self.window
        return self.acknowledge() if full else []

    def acknowledge(self) -> list[bytes]:
        self.unacknowledged = 0
        return [packet.ack(self.block)]


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 3 * 512, CHUNK_BYTES * 2 + 5])
@pytest.mark.parametrize(
    "options", [{}, {"blksize": 1468}, {"windowsize": 7}, {"blksize": 100, "windowsize": 64}]
)
def test_a_file_arrives_and_nothing_is_sent_twice(size: int, options: Mapping[str, int]) -> None:
    content = bytes(number * 7 & 0xFF for number in range(size))
    ours = sender(content, **options)
    client = Client(options.get("blksize", 512), options.get("windowsize", 1))
    waiting = ours.start(0.0)
    while ours.outcome is None:
        acks = [ack for datagram in waiting for ack in client.receive(datagram)]
        (ack,) = acks
        waiting = ours.receive(ack, 0.0)
    assert ours.outcome is Outcome.DONE and client.done and client.content == content
    assert ours.acknowledged_bytes == size
    assert set(client.seen.values()) == {1}


def test_lock_step_is_one_block_at_a_time() -> None:
    ours = sender(b"x" * 1100)
    assert blocks(ours.start(0.0)) == [1]
    assert blocks(ours.receive(packet.ack(1), 0.0)) == [2]
    assert blocks(ours.receive(packet.ack(2), 0.0)) == [3]
    assert ours.outcome is None
    assert ours.receive(packet.ack(3), 0.0) == [] and ours.outcome is Outcome.DONE


def test_a_window_is_sent_at_once_and_goes_on_behind_what_was_acknowledged() -> None:
    ours = sender(b"x" * 512 * 20, windowsize=4)
    assert blocks(ours.start(0.0)) == [0]
    assert blocks(ours.receive(packet.ack(0), 0.0)) == [1, 2, 3, 4]
    assert blocks(ours.receive(packet.ack(4), 0.0)) == [5, 6, 7, 8]
    assert blocks(ours.receive(packet.ack(6), 0.0)) == [7, 8, 9, 10], "7 was lost"
    assert ours.receive(packet.ack(4), 0.0) == [], "an old ACK"
    assert ours.receive(packet.ack(11), 0.0) == [], "an ACK of what was not sent"


def test_block_numbers_begin_again_at_0() -> None:
    size = 8 * 66_000
    ours = sender(bytes(size), blksize=8, windowsize=50)
    client = Client(8, 50)
    waiting = ours.start(0.0)
    while ours.outcome is None:
        waiting = ours.receive([client.receive(each) for each in waiting][-1][0], 0.0)
    assert len(client.content) == size and client.block == 66_001


def test_silence_is_answered_ever_more_slowly_and_then_no_more() -> None:
    ours, now, sent = sender(b"x" * 1100), 0.0, []
    assert blocks(ours.start(now)) == [1]
    assert blocks(ours.receive(packet.ack(1), now)) == [2]
    while ours.outcome is None:
        now = ours.deadline
        assert ours.tick(now - 0.001) == []
        if blocks(ours.tick(now)):
            sent.append(now)
    waits = [later - before for before, later in zip([0.0, *sent], sent, strict=False)]
    assert waits[:5] == [FIRST_WAIT_SECONDS * 2**power for power in range(5)]
    assert waits == sorted(waits) and PATIENCE_SECONDS <= now < 2 * PATIENCE_SECONDS
    assert (ours.outcome, ours.reason) == (Outcome.BROKEN, "no answer")


@pytest.mark.parametrize(
    ("options", "sendings"), [({}, 1), ({"blksize": 1468}, 3), ({"timeout": 10}, 3)]
)
def test_an_unproven_address_gets_little_and_not_for_long(
    options: Mapping[str, int], sendings: int
) -> None:
    ours = sender(b"x" * 100_000, **options)
    now, datagrams = 0.0, ours.start(0.0)
    while ours.outcome is None:
        now = ours.deadline
        datagrams += ours.tick(now)
    assert (ours.outcome, now) == (Outcome.BROKEN, UNPROVEN_SECONDS)
    assert ours.reason.startswith("no answer")
    assert len(datagrams) == sendings
    sent = sum(FRAME_HEADERS + len(each) for each in datagrams)
    assert sent <= AMPLIFICATION * (FRAME_HEADERS + ASKED)


def test_a_first_acknowledgement_that_is_repeated_late_is_heard() -> None:
    """tftp-hpa repeats it after 5 s, to the port that it knows: it ended with a time-out."""
    ours = sender(b"x" * 2000)
    assert blocks(ours.start(0.0)) == [1]
    while ours.deadline < 5.0:
        ours.tick(ours.deadline)
    assert ours.outcome is None
    assert blocks(ours.receive(packet.ack(1), 5.0)) == [2]


def test_a_client_that_repeats_its_request_gets_the_first_packet_again() -> None:
    ours = sender(b"x" * 100_000)
    assert blocks(ours.start(0.0)) == [1]
    for second in range(1, 9):
        ours.ask_again(ASKED, float(second))
        assert blocks(ours.tick(float(second))) == [1]
        assert ours.tick(second + 0.9) == []
    assert blocks(ours.receive(packet.ack(1), 9.0)) == [2]
    ours.ask_again(ASKED, 9.0)  # an old copy: the client has gone on
    assert blocks(ours.tick(9.0 + FIRST_WAIT_SECONDS)) == [2]


def test_a_long_timeout_is_echoed_and_what_is_lost_is_repeated_earlier() -> None:
    """curl asks for 6 s, U-Boot for 5 s: each lost packet cost as much."""
    ours, now = sender(b"x" * 2000, timeout=6), 0.0
    sent: list[float] = []
    assert ours.start(now) == [b"\0\6timeout\x006\0"]
    assert blocks(ours.receive(packet.ack(0), now)) == [1]
    while len(sent) < 5:
        now = ours.deadline
        if ours.tick(now):
            sent.append(now)
    assert sent == [1, 3, 7, 15, 23]
    assert sender(b"x", timeout=1).start(0.0) == [b"\0\6timeout\x001\0"]


@pytest.mark.parametrize(("mtu", "blksize"), [(1500, 1468), (1400, 1368), (576, 544), (20, 8)])
def test_a_block_fits_into_the_mtu(mtu: int, blksize: int) -> None:
    terms = agree({"blksize": "65464"}, 100, mtu)
    assert (terms.blksize, terms.oack) == (blksize, {"blksize": blksize})


@pytest.mark.parametrize("hears_oack", [True, False])
def test_a_first_packet_that_is_never_heard_is_told_after_two_repeats(hears_oack: bool) -> None:
    ours, now, seen = sender(b"x" * 9000, blksize=1468), 0.0, []
    ours.start(now)
    if hears_oack:
        ours.receive(packet.ack(0), now)
    while ours.outcome is None:
        now = ours.deadline
        ours.tick(now)
        if ours.stuck:
            seen.append(now)
    assert seen[0] == 1.5
    assert ours.reason == "no answer to the first packet, with blocks of 1468 bytes"


@pytest.mark.parametrize("options", [{}, {"blksize": 512}, {"blksize": 500}, {"tsize": 0}])
def test_a_transfer_with_small_blocks_is_never_stuck(options: Mapping[str, int]) -> None:
    ours = sender(b"x" * 9000, **options)
    ours.start(0.0)
    while ours.outcome is None:
        ours.tick(ours.deadline)
        assert not ours.stuck
    assert ours.reason == "no answer"


def test_a_transfer_that_goes_on_is_not_stuck() -> None:
    ours = sender(b"x" * 9000, blksize=1468)
    ours.start(0.0)
    ours.receive(packet.ack(0), 0.0)
    ours.tick(0.5)
    ours.tick(1.5)
    assert ours.stuck
    ours.receive(packet.ack(1), 1.6)
    for _ in range(4):
        ours.tick(ours.deadline)
        assert not ours.stuck


def test_repeats_that_a_client_asks_for_are_no_sign_of_a_smaller_mtu() -> None:
    """A network that doubles packets, or a fast client, has them within milliseconds."""
    ours = sender(b"x" * 9000, blksize=1468)
    ours.start(0.0)
    ours.receive(packet.ack(0), 0.0)
    for step in range(1, 10):
        ours.receive(packet.ack(0), 0.1 * step)
        assert ours.tick(0.1 * step) and not ours.stuck
    ours.tick(ours.deadline)
    assert ours.stuck, "also if it asks all the time"


def test_a_doubled_ack_doubles_nothing() -> None:
    """RFC 1123 section 4.2.3.1: an answer to it would double every packet from then on."""
    ours = sender(b"x" * 2000)
    ours.start(0.0)
    assert blocks(ours.receive(packet.ack(1), 0.0)) == [2]
    assert ours.receive(packet.ack(1), 0.0) == []
    assert blocks(ours.receive(packet.ack(2), 0.01)) == [3]
    assert ours.receive(packet.ack(2), 0.01) == []
    assert ours.tick(0.04) == []
    assert blocks(ours.tick(0.01 + HURRY_SECONDS)) == [3], "it may have been lost, though"
    assert ours.deadline >= FIRST_WAIT_SECONDS


def test_a_lost_window_is_sent_again_soon_after_the_client_says_so() -> None:
    ours = sender(b"x" * 512 * 9, windowsize=4)
    ours.start(0.0)
    ours.receive(packet.ack(0), 0.0)
    assert ours.receive(packet.ack(0), 0.01) == []
    assert blocks(ours.tick(HURRY_SECONDS)) == [1, 2, 3, 4]


def test_uefi_asks_for_the_size_and_stops() -> None:
    ours = sender(b"x" * 5000, tsize=0)
    assert ours.start(0.0) == [packet.oack({"tsize": 5000})]
    ours.receive(packet.error(ErrorCode.OPTION_NEGOTIATION, "User aborted"), 0.0)
    assert ours.outcome is Outcome.PROBE and ours.acknowledged_bytes == 0


def test_a_client_that_stops_half_way_says_why() -> None:
    ours = sender(b"x" * 5000)
    ours.start(0.0)
    ours.receive(packet.ack(1), 0.0)
    ours.receive(packet.error(ErrorCode.DISK_FULL, "no room"), 0.0)
    assert ours.outcome is Outcome.BROKEN and ours.reason == "the client reports: no room"
    assert ours.acknowledged_bytes == 512


def test_the_last_ack_may_never_come() -> None:
    """Many loaders start the file without sending the last ACK."""
    ours = sender(b"x" * 600)
    ours.start(0.0)
    ours.receive(packet.ack(1), 0.0)
    while ours.outcome is None:
        ours.tick(ours.deadline)
    assert ours.outcome is Outcome.DONE and ours.acknowledged_bytes == 600


def test_a_client_that_never_answered_has_nothing() -> None:
    ours = sender(b"x" * 60)
    ours.start(0.0)
    ours.give_up("Connection refused")
    assert ours.outcome is Outcome.BROKEN and ours.acknowledged_bytes == 0


def test_a_file_that_becomes_shorter_ends_the_transfer() -> None:
    content = bytearray(3 * CHUNK_BYTES)
    ours = Sender(lambda offset, length: bytes(content[offset : offset + length]), len(content),
                  agree({}, len(content), 1500), ASKED)  # fmt: skip
    waiting, number = ours.start(0.0), 0
    del content[CHUNK_BYTES + 100 :]
    while ours.outcome is None:
        number += 1
        waiting = ours.receive(packet.ack(number), 0.0)
    assert waiting == [packet.error(ErrorCode.NOT_DEFINED, "the file has changed")]
    assert ours.outcome is Outcome.BROKEN


@given(st.binary(max_size=20), st.sampled_from([{}, {"windowsize": 4}]))
def test_any_datagram_is_survived(datagram: bytes, options: Mapping[str, int]) -> None:
    ours = sender(b"x" * 5000, **options)
    ours.start(0.0)
    for datagrams in (ours.receive(datagram, 0.0), ours.receive(datagram, 0.0)):
        assert all(len(each) <= 516 for each in datagrams)


@given(
    st.integers(0, 8 * 40),
    st.sampled_from([1, 2, 5, 64]),
    st.floats(0, 0.5),
    st.floats(0, 0.5),
    st.randoms(use_true_random=True),
)
def test_over_a_bad_network_a_file_arrives(
    size: int, window: int, loss: float, doubling: float, chance: Random
) -> None:
    """For 20 s, less than our patience, datagrams are lost, doubled and overtake each other."""
    content = bytes(number & 0xFF for number in range(size))
    ours, client = sender(content, blksize=8, windowsize=window), Client(8, window)
    flying: list[tuple[float, int, bool, bytes]] = []  # time, number, True if to the client
    count, now, heard = itertools.count(), 0.0, 0.0

    def launch(datagrams: list[bytes], to_client: bool) -> None:
        for datagram in datagrams:
            bad = now < 20
            copies = (chance.random() >= loss) + (chance.random() < doubling) if bad else 1
            for _ in range(copies):
                delay = chance.choice([STEP, 0.1, 0.3]) if bad else STEP
                heapq.heappush(flying, (now + delay, next(count), to_client, datagram))

    launch(ours.start(now), to_client=True)
    while ours.outcome is None:
        wake = ours.deadline if client.block else min(ours.deadline, heard + 1)
        if flying and flying[0][0] <= wake:
            now, _, to_client, datagram = heapq.heappop(flying)
            if to_client:
                heard = now
                launch(client.receive(datagram), to_client=False)
            else:
                launch(ours.receive(datagram, now), to_client=True)
        else:
            now = max(now, wake)
            if not client.block and now >= heard + 1:
                heard = now
                ours.ask_again(ASKED, now)  # the client repeats its request
            launch(ours.tick(now), to_client=True)
        if client.block and now > heard + 1 and not client.done:
            heard = now
            launch(client.acknowledge(), to_client=False)
    assert (ours.outcome, client.done) == (Outcome.DONE, True)
    assert client.content == content
