"""Every command, in every dialect, on several connections at once, over every store with pages.

For any requests in any order, a bytearray would have given the same answers.
"""

import tempfile
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)

from netboot.pages.nbd.export import Export
from netboot.pages.stores.store import make_store
from netboot.pages.worker.exchange import Area, Buffers
from netboot.profile.stores import BY_NAME, STORE_KINDS, StoreSpec, parse_store
from tests.support.two_ways import (
    BLOCK_STATUS,
    CACHE,
    DF,
    DIALECTS,
    FLUSH,
    FUA,
    NO_HOLE,
    READ,
    REQ_ONE,
    TRIM,
    WRITE,
    WRITE_ZEROES,
    FastLoop,
    answers,
    error_of,
    request,
)

pytestmark = pytest.mark.system

MIB = 1 << 20
SIZE = 6 * MIB + 4096 + 17  # more than the 4 MiB of memory that the tiered store gets
CONNECTIONS = 5
KEEPING = [row.name for row in STORE_KINDS if row.name != "null" and not row.remote]

WHICH = st.integers(0, CONNECTIONS - 1)
# Offsets around a few places, so that operations overlap: whole pages, and odd bytes.
OFFSETS = st.builds(
    lambda place, page, odd: place + page * 4096 + odd,
    st.sampled_from([0, 65536, 3 * MIB, 5 * MIB + 1024]),
    st.integers(0, 8),
    st.sampled_from([0, 0, 0, 1, 511, 4095]),
)
LENGTHS = st.one_of(
    st.just(4096),
    st.integers(0, 20_000),
    st.sampled_from([128 << 10, (128 << 10) + 1, 300_000, 500_000]),
)
FLAGS = st.sampled_from([0, 0, 0, FUA])
SEEDS = st.integers(0, 250)


def pattern(seed: int, length: int) -> bytes:
    """Return bytes that are different for each write and each place in it."""
    cycle = bytes((seed + at) % 251 + 1 for at in range(251))
    return (cycle * (length // 251 + 1))[:length]


class Client:
    """A connection to the fast loop."""

    def __init__(self, area: Area, buffers: Buffers, number: int) -> None:
        self.dialect = DIALECTS[number % len(DIALECTS)]
        self.owed = b""  # the rest of a half-sent write
        self._loop = FastLoop(area, buffers, self.dialect)

    def send(self, data: bytes) -> bytes:
        """Return all replies to ``data``."""
        return b"".join(self._loop.send(data))

    def close(self) -> None:
        self._loop.exchange.abandon()


class Room(RuleBasedStateMachine):
    """Connections of one lease, and a model of its pages."""

    spec: StoreSpec

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        store = self._stack.enter_context(closing(make_store(self.spec)))
        pages = self._stack.enter_context(closing(store.create("a", SIZE)))
        area, buffers = Area("lease", Export("a", SIZE), pages), Buffers()
        self.clients = [Client(area, buffers, number) for number in range(CONNECTIONS)]
        self.model = bytearray(SIZE)

    def teardown(self) -> None:
        for which in range(CONNECTIONS):
            self.finish_write(which)
        for offset in range(0, SIZE, MIB):
            self.read(0, offset, MIB, 0)
        for client in self.clients:
            client.close()
        self._stack.close()

    def _ask(
        self, which: int, command: int, offset: int, length: int, flags: int, payload: bytes = b""
    ) -> list[Any]:
        """Send a request on a connection without a half-sent write; return its replies."""
        self.finish_write(which)
        client = self.clients[which]
        header = request(command, offset, length, flags, client.dialect)
        said = client.send(header + payload)
        read = length if command == READ else 0
        if command == READ and client.dialect is DIALECTS[0]:
            self.data = said[16:]
        return answers(said, read)

    def _settle(self) -> None:
        # A half-sent write may have stored any part of its data so far.
        for which in range(CONNECTIONS):
            self.finish_write(which)

    @rule(which=WHICH, offset=OFFSETS, length=LENGTHS, flags=FLAGS, seed=SEEDS)
    def write(self, which: int, offset: int, length: int, flags: int, seed: int) -> None:
        self._settle()
        data = pattern(seed, length)
        (reply,) = self._ask(which, WRITE, offset, length, flags, data)
        assert error_of(reply) == 0
        self.model[offset : offset + length] = data

    @rule(which=WHICH, offset=OFFSETS, length=LENGTHS, seed=SEEDS, cut=st.integers(1, 200_000))
    def begin_write(self, which: int, offset: int, length: int, seed: int, cut: int) -> None:
        self._settle()
        client, data = self.clients[which], pattern(seed, length)
        whole = request(WRITE, offset, length, 0, client.dialect) + data
        cut = min(cut, len(whole) - 1)
        assert client.send(whole[:cut]) == b""
        client.owed = whole[cut:]
        self.model[offset : offset + length] = data

    @rule(which=WHICH)
    def finish_write(self, which: int) -> None:
        client = self.clients[which]
        if client.owed:
            owed, client.owed = client.owed, b""
            (reply,) = answers(client.send(owed))
            assert error_of(reply) == 0

    @rule(which=WHICH, command=st.sampled_from([FLUSH, CACHE]), offset=OFFSETS, length=LENGTHS)
    def do_nothing(self, which: int, command: int, offset: int, length: int) -> None:
        """Do it also while a write is half sent on another connection."""
        (reply,) = self._ask(which, command, offset, length, 0)
        assert error_of(reply) == 0

    @rule(
        which=WHICH,
        command=st.sampled_from([TRIM, WRITE_ZEROES]),
        offset=OFFSETS,
        length=LENGTHS,
        flags=FLAGS,
        allocate=st.booleans(),
    )
    def erase(
        self, which: int, command: int, offset: int, length: int, flags: int, allocate: bool
    ) -> None:
        self._settle()
        if command == WRITE_ZEROES and allocate:
            flags |= NO_HOLE
        (reply,) = self._ask(which, command, offset, length, flags)
        assert error_of(reply) == 0
        self.model[offset : offset + length] = bytes(length)

    @rule(which=WHICH, offset=OFFSETS, length=LENGTHS, flags=st.sampled_from([0, FUA, DF]))
    def read(self, which: int, offset: int, length: int, flags: int) -> None:
        self._settle()
        client = self.clients[which]
        if not client.dialect.structured:
            flags &= ~DF
        length = min(length, SIZE - offset)
        replies = self._ask(which, READ, offset, length, flags)
        assert [error_of(reply) for reply in replies] == [0] * len(replies)
        if client.dialect.structured:
            self.data, at = b"", offset
            for chunk in (reply for reply in replies if reply.type):
                assert chunk.at == at
                piece = chunk.data if chunk.type == 1 else bytes(chunk.hole)
                self.data += piece
                at += len(piece)
        assert self.data == self.model[offset : offset + length]

    @rule(
        which=st.sampled_from([1, 2, 4]),
        offset=OFFSETS,
        length=LENGTHS.filter(bool),
        one=st.booleans(),
    )
    def block_status(self, which: int, offset: int, length: int, one: bool) -> None:
        self._settle()
        (reply,) = self._ask(which, BLOCK_STATUS, offset, length, REQ_ONE if one else 0)
        numbers = reply.extents64 if self.clients[which].dialect.extended else reply.extents
        lengths, states = numbers[::2], numbers[1::2]
        assert 0 < sum(lengths) <= length
        assert len(lengths) == 1 or not one
        for extent, state in zip(lengths, states, strict=True):
            if state:
                assert self.model[offset : offset + extent] == bytes(extent)
            offset += extent

    @precondition(lambda self: not any(client.owed for client in self.clients))
    @rule(which=WHICH, command=st.sampled_from([READ, WRITE, TRIM, CACHE]), length=LENGTHS)
    def reach_too_far(self, which: int, command: int, length: int) -> None:
        payload = bytes(length) if command == WRITE else b""
        (reply,) = self._ask(which, command, SIZE - length + 1, length, 0, payload)
        assert error_of(reply) == (28 if command == WRITE else 22)


@pytest.mark.parametrize("kind", KEEPING)
def test_a_bytearray_would_have_answered_the_same(kind: str) -> None:
    with tempfile.TemporaryDirectory() as folder:

        class OverKind(Room):
            spec = parse_store(
                BY_NAME[kind].form.replace("DIR", str(Path(folder))).replace("SIZE", "4MiB")
            )

        run_state_machine_as_test(
            OverKind,
            settings=settings(
                max_examples=30,
                stateful_step_count=25,
                suppress_health_check=list(HealthCheck),
            ),
        )
