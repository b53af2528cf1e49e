"""The drain of a page server: no new swap, legs of mirrors that go, and an order that stays."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from netboot.boot.events import Journal
from netboot.boot.plan import swap_export
from netboot.pages.lease import Lease, LeaseTable
from netboot.pages.nbd.export import Refused
from netboot.pages.nbd.name import WireName
from netboot.profile import file as profile_file
from netboot.serve.draining import (
    AGAIN_SECONDS,
    COPIES_OF_SERVER,
    COPY_BYTES_PER_SECOND,
    FILE,
    REFUSED_SECONDS,
    Draining,
    Progress,
)
from netboot.serve.http.lease_request import LeaseRequest
from netboot.serve.leases import DRAINED, Granted, Leases
from netboot.serve.seats import Seats

MIB = 1 << 20
SIZE = 64 * MIB
MIRROR = "swap: {servers: [10.0.0.1, 10.0.0.2, 10.0.0.3], layout: mirror, size: 64MiB}"
PAIR = "swap: {servers: [10.0.0.1, 10.0.0.2], layout: mirror, size: 64MiB}"
SPREAD = "swap: {servers: [10.0.0.1, 10.0.0.2, 10.0.0.3], size: 64MiB}"
POOL = (
    "swap: {store: 'rbd:a', servers: [10.0.0.1, 10.0.0.2], layout: any, size: 64MiB, "
    "capacity: 1GiB}"
)
PATIENCE = 600.0


def mac_of(number: int) -> str:
    return f"52:54:00:00:00:{number:02x}"


def wire(mac: str, token: str) -> WireName:
    return WireName.parse(f"{swap_export(mac)}@{token}")


@dataclass
class Room:
    """A server with leases, a clock, and agents: ``whole`` are those whose other leg has all pages."""

    state: Path
    text: str = MIRROR
    now: float = 1000.0
    whole: set[str] = field(default_factory=set)
    away: set[str] = field(default_factory=set)  # seats that found another server of the pool
    hung_up: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        profile = profile_file.parse(self.text, "room")
        self.table = LeaseTable(1 << 40)
        self.leases = Leases(Seats(profile, Journal()), self.table, lambda: self.now)
        self.draining = Draining(
            profile, self.table, self.leases, self, self.state, lambda: self.now, self.sleep
        )
        self.until: Callable[[], bool] = lambda: False

    def attach(self, number: int) -> Lease:
        """Have a PC use its swap here."""
        mac = mac_of(number)
        granted = self.leases.grant(mac, LeaseRequest(1, fresh=True))
        assert isinstance(granted, Granted), granted
        self.table.attach(wire(mac, granted.token), self.now)
        (lease,) = self.table.leases_of(swap_export(mac))
        return lease

    async def hang_up(self, lease: str) -> None:
        """Play the worker, and the agent that dials again."""
        (found,) = [each for each, _ in self.draining._left().values() if each.generation == lease]
        self.hung_up.append(found.seat)
        self.table.let_go(lease, self.now)
        if found.seat in self.whole:
            assert self.leases.grant(found.seat, LeaseRequest(1, fresh=True)) == Refused(DRAINED)

    async def sleep(self, seconds: float) -> None:
        """Let time pass: agents that were not dropped attach again as soon as they are let in."""
        self.now += seconds
        if self.until():
            raise asyncio.CancelledError
        for place in self.table._places.values():
            keyed = place.attached
            if keyed is not None and not keyed.withheld and keyed.lease.seat not in self.away:
                keyed.in_use = True

    def run(self, until: Callable[[], bool]) -> None:
        """Let the server drain until that."""
        self.until = until
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(self.draining.run())

    def order(self, name: str = "drain") -> None:
        assert asyncio.run(getattr(self.draining, name)("anna"))


def test_a_drained_server_grants_nothing_and_takes_swap_again_after(tmp_path: Path) -> None:
    room = Room(tmp_path)
    room.order()
    assert room.leases.grant(mac_of(1), LeaseRequest(1, fresh=True)) == Refused(DRAINED)
    assert room.draining.progress() == Progress(True, 1000.0, "anna")
    room.order("undrain")
    assert room.draining.progress() == Progress(False)
    room.attach(1)


@pytest.mark.parametrize("order", ["drain", "undrain"])
def test_the_order_survives_a_restart(tmp_path: Path, order: str) -> None:
    room = Room(tmp_path)
    room.order()
    room.order(order)
    after = Room(tmp_path, now=5000.0)
    assert after.leases.drained == (order == "drain")
    assert after.draining.progress().since == (1000.0 if order == "drain" else 0.0)


def test_a_damaged_or_newer_order_prevents_no_start(tmp_path: Path) -> None:
    for content in ("{", '{"version": 99, "drained": {"since": 1, "by": "a"}}'):
        (tmp_path / FILE).write_text(content)
        assert not Room(tmp_path).leases.drained


def test_without_another_server_it_cannot_be_drained_and_an_old_order_does_not_count(
    tmp_path: Path,
) -> None:
    Room(tmp_path).order()
    for text in ("", "swap: {servers: 10.0.0.1}"):
        room = Room(tmp_path, text)
        assert "no other server" in room.draining.obstacle()
        assert not room.leases.drained
    assert Room(tmp_path).draining.obstacle() == ""


def test_areas_in_a_pool_go_while_their_pcs_run(tmp_path: Path) -> None:
    room = Room(tmp_path, POOL)
    leases = [room.attach(number) for number in range(3)]
    room.away = {lease.seat for lease in leases[:2]}
    room.order()
    assert room.draining.progress().stays == ""
    room.run(lambda: room.draining.progress().moved == 2 and len(room.hung_up) > 3)
    found = room.draining.progress()
    assert (found.left, found.moves, found.copying) == (1, 1, 0), "its other server is away"
    assert room.table.take_ended() == [], "no page has ended"
    room.away.add(leases[2].seat)
    room.run(lambda: room.draining.progress().left == 0)


def test_legs_go_one_by_one_and_their_pages_are_wiped(tmp_path: Path) -> None:
    room = Room(tmp_path)
    leases = [room.attach(number) for number in range(3)]
    room.whole = {lease.seat for lease in leases}
    room.order()
    assert room.draining.progress().moves == 3
    room.run(lambda: room.draining.progress().moved == 3)
    assert sorted(room.hung_up) == sorted(room.whole)
    assert room.table.generations() == set()
    assert {lease.generation for lease in room.table.take_ended()} == {
        lease.generation for lease in leases
    }
    progress = room.draining.progress()
    assert (progress.left, progress.moves) == (0, 0) and progress.copying


def test_only_a_bounded_number_of_mirrors_is_copied_at_a_time(tmp_path: Path) -> None:
    room, most = Room(tmp_path), COPIES_OF_SERVER * 2
    room.whole = {room.attach(number).seat for number in range(most + 2)}
    room.order()
    seconds = SIZE / COPY_BYTES_PER_SECOND
    begun: list[float] = []

    def done() -> bool:
        moved = room.draining.progress().moved
        begun.extend([room.now] * (moved - len(begun)))
        assert room.draining.progress().copying <= most
        return moved == most + 2

    room.draining._copies = [room.now + 100.0] * (most - 1)  # one place is left
    room.run(done)
    gaps = [after - before for before, after in pairwise(begun)]
    assert min(gaps) >= seconds - 0.2


def test_a_leg_whose_other_one_lacks_pages_stays_and_is_asked_again_later(tmp_path: Path) -> None:
    room = Room(tmp_path)
    lease = room.attach(1)
    room.order()
    begin = room.now
    room.run(lambda: len(room.hung_up) == 1 and room.now > begin + 30)
    assert room.table.generations() == {lease.generation}, "no page is wiped"
    assert room.table.is_in_use(lease.export), "its agent is let in again"
    room.whole = {lease.seat}
    room.run(lambda: room.draining.progress().left == 0)
    assert len(room.hung_up) == 2
    assert room.now - begin >= AGAIN_SECONDS


def test_a_leg_stands_still_for_less_than_five_seconds(tmp_path: Path) -> None:
    """While it is refused, and until the agent dials again: after 2 s at most by then."""
    assert REFUSED_SECONDS + 2.0 < 5.0


@pytest.mark.parametrize(
    ("text", "stays"),
    [
        (PAIR, "a mirror over 2 servers has no further one for its copies"),
        (SPREAD, "with layout spread a page is on one server only"),
    ],
)
def test_where_no_leg_can_go_pcs_leave_at_their_next_boot(
    tmp_path: Path, text: str, stays: str
) -> None:
    room = Room(tmp_path, text)
    lease = room.attach(1)
    room.whole = {lease.seat}
    room.order()
    begin = room.now
    room.run(lambda: room.now > begin + 120)
    assert not room.hung_up and room.table.is_in_use(lease.export)
    assert (room.draining.progress().left, room.draining.progress().moves) == (1, 0)
    assert room.draining.progress().as_json()["stays"] == stays
    assert room.leases.grant(lease.seat, LeaseRequest(1, fresh=True)) == Refused(DRAINED)
    assert room.table.has(lease.export), "a request of a PC that runs ends nothing"
    room.table.let_go(lease.generation, room.now)  # it is switched off
    assert room.draining.progress().left == 1
    assert room.leases.grant(lease.seat, LeaseRequest(1, fresh=True)) == Refused(DRAINED)
    assert room.draining.progress() == Progress(True, 1000.0, "anna")


def test_a_pc_that_is_off_for_longer_than_its_patience_does_not_count(tmp_path: Path) -> None:
    room = Room(tmp_path)
    lease = room.attach(1)
    room.table.let_go(lease.generation, room.now)
    room.order()
    assert room.draining.progress().left == 1
    room.now += PATIENCE
    assert room.draining.progress().left == 0
    assert room.table.has(lease.export), "its pages are kept all the same"
