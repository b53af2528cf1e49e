"""Several servers in front of one pool: who takes a lease over, and who may remove its image."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from netboot.boot.keyring import Keyring
from netboot.boot.plan import swap_export
from netboot.pages import shared_exports
from netboot.pages.exports import Attachment
from netboot.pages.lease import LEASE_SECONDS, UNKNOWN, Lease, LeaseTable
from netboot.pages.nbd.export import Export, Refused
from netboot.pages.nbd.name import WireName
from netboot.pages.shared_exports import IN_USE, Room, SharedExports
from netboot.pages.stores.librbd import ENDED
from netboot.pages.stores.pool import PoolStore
from tests.support.played_pool import ACCESS, PlayedImage, PlayedPool, play

MIB = 1 << 20
SEAT = "52:54:00:12:34:01"
EXPORT = swap_export(SEAT)
SECRET, OTHER_SECRET = bytes(32), bytes(range(32))


class Server:
    """One page server of the room, without workers. ``now`` is the time of its clock."""

    def __init__(self, folder: Path, name: str, keys: Keyring | None = None) -> None:
        self.folder, self.name, self.now = folder / name, name, 1000.0
        self.keys = keys or Keyring(SECRET)
        self.folder.mkdir(exist_ok=True)
        self.ended: list[str] = []
        self.start()

    def start(self) -> None:
        self.table = LeaseTable(16 * MIB)
        self.store = PoolStore(ACCESS, "room", self.folder)
        room = Room(self.keys.rooms, self.keys.swap_key, lambda seat: 2)
        self.exports = SharedExports(self.store, self.table, room, lambda: self.now)
        self.exports.on_ended = self.ended.append

    def stop(self) -> None:
        self.exports.files.keeper.flush()
        self.exports.close()
        self.store.close()

    def grant(self, token: str = "token", size: int = MIB) -> Lease:
        lease = self.table.grant(SEAT, EXPORT, token, size, self.now, fresh=True, connections=2)
        assert isinstance(lease, Lease)
        return lease

    def attach(self, secret: str, number: int) -> Attachment | Refused:
        return self.exports.attach(name_of(secret, number))

    def boot(self, token: str, number: int) -> Lease:
        """Grant and attach a lease, and wait for its image."""
        lease = self.grant(token)
        assert isinstance(self.attach(token, number), Attachment)
        making = self.store.making(lease.generation)
        if making is not None:
            making.result(60)
        return lease

    def list(self) -> None:
        self.store.follow(self.store.list().result(60))
        self.exports.follow()

    def key(self, lease: Lease) -> str:
        return self.keys.swap_key(lease.generation)

    def wait_for_others(self, token: str) -> Refused | None:
        async def wait() -> Refused | None:
            waiting = self.exports.elsewhere(name_of(token, 1))
            return None if waiting is None else await waiting

        return asyncio.run(wait())

    def sweep(self, rounds: int = 1) -> None:
        for _ in range(rounds):
            asyncio.run(self.exports._look_at_next())


def name_of(secret: str, number: int) -> WireName:
    return WireName.parse(f"{EXPORT}@{secret}.{number:x}")


def until(is_so: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> PlayedPool:
    for name in ("QUIET_SECONDS", "WATCHED_SECONDS"):
        monkeypatch.setattr(shared_exports, name, 0.02)
    monkeypatch.setattr(shared_exports, "LOOK_SECONDS", 0.001)
    return play(monkeypatch)


class Pair(NamedTuple):
    """Two servers in front of one pool."""

    pool: PlayedPool
    a: Server
    b: Server


@pytest.fixture
def pair(pool: PlayedPool, tmp_path: Path) -> Iterator[Pair]:
    made = Pair(pool, Server(tmp_path, "a"), Server(tmp_path, "b"))
    yield made
    for each in (made.a, made.b):
        each.stop()


def moved(pair: Pair) -> Lease:
    """Boot a seat at ``a``; then ``a`` loses it, and it goes to ``b``."""
    pool, a, b = pair
    lease = a.boot("token", 5)
    pool.serve(lease.generation, a, 5)
    b.list()
    found = b.attach(a.key(lease), 6)
    assert isinstance(found, Attachment) and found.lease == lease.generation
    pool.leave(lease.generation, a)
    pool.serve(lease.generation, b, 6)
    a.exports.let_go(lease.generation)
    return lease


def settled(server: Server) -> None:
    """Wait until a server has done all that it does to images."""
    server.store._wiping.do(lambda: None).result(60)


# What a server must never do to images that it does not own.


def test_a_lease_that_was_unused_here_for_a_day_stays_where_its_seat_is(pair: Pair) -> None:
    pool, a, b = pair
    lease = moved(pair)
    a.now += LEASE_SECONDS + 1
    a.table.grant("52:54:00:12:34:02", "seat-525400123402", "t", MIB, a.now)  # expires leases
    settled(a)
    assert lease.generation not in a.table.generations() and pool.image_of(lease.generation)
    pool.leave(lease.generation, b)  # for a moment, such as a restart
    settled(a)
    assert pool.image_of(lease.generation)
    a.list()
    assert isinstance(a.attach(a.key(lease), 7), Attachment), "it may come back at any time"


def test_a_lease_that_ends_here_stays_where_its_seat_is(pair: Pair) -> None:
    pool, a, b = pair
    lease = moved(pair)
    pool.leave(lease.generation, b)
    a.table.end(EXPORT)
    settled(a)
    assert pool.image_of(lease.generation)


def test_no_start_and_no_stop_removes_an_image(pair: Pair, tmp_path: Path) -> None:
    pool, a, b = pair
    lease = moved(pair)
    pool.leave(lease.generation, b)
    (tmp_path / "c").mkdir()
    PoolStore(ACCESS, "", tmp_path / "c").close()
    third = Server(tmp_path, "d")
    third.stop()
    a.stop()
    (a.store.directory / "state-leases.json").unlink()
    a.start()
    settled(a)
    assert pool.image_of(lease.generation)


def test_the_store_itself_removes_no_image_of_the_room(pair: Pair) -> None:
    pool, a, _ = pair
    lease = a.boot("token", 5)
    a.store.remove(lease.generation)
    settled(a)
    assert pool.image_of(lease.generation)


def test_a_set_that_comes_just_before_the_lock_keeps_its_pages(pair: Pair) -> None:
    pool, a, b = pair
    lease = a.boot("token", 5)

    def comes(image: PlayedImage) -> None:
        image.set_number = 6
        image.watchers.add(b)

    pool.before_lock = comes
    a.exports.let_go(lease.generation)
    a.table.end(EXPORT)
    settled(a)
    image = pool.image_of(lease.generation)
    assert image is not None and image.set_number == 6


def test_an_image_that_somebody_has_open_is_not_removed(pair: Pair) -> None:
    pool, a, _ = pair
    lease = a.boot("token", 5)
    pool.serve(lease.generation, "a stopped worker", 5)
    a.exports.let_go(lease.generation)
    a.table.end(EXPORT)
    image = pool.image_of(lease.generation)
    assert image is not None and image.set_number == 5
    pool.leave(lease.generation, "a stopped worker")
    until(lambda: pool.image_of(lease.generation) is None)


def test_a_room_of_another_secret_is_left_alone(pool: PlayedPool, tmp_path: Path) -> None:
    a = Server(tmp_path, "a")
    b = Server(tmp_path, "b", Keyring(OTHER_SECRET))
    lease = a.boot("token", 5)
    b.list()
    assert b.attach(a.key(lease), 6) is UNKNOWN
    assert b.table.elsewhere == {}
    b.sweep()
    b.now += 2 * LEASE_SECONDS
    b.sweep()
    settled(b)
    assert pool.image_of(lease.generation)
    for each in (a, b):
        each.stop()


# Taking over.


def test_a_seat_is_let_in_by_the_key_alone(pair: Pair) -> None:
    _, a, b = pair
    lease = a.boot("token", 5)
    key = a.exports.find(name_of("token", 5))
    assert isinstance(key, Export)
    b.list()
    for wrong in ("token", "", a.keys.swap_key("0" * 32)):
        assert b.exports.find(name_of(wrong, 6)) is UNKNOWN
        assert b.attach(wrong, 6) is UNKNOWN
    found = b.exports.find(name_of(a.key(lease), 6))
    assert isinstance(found, Export)
    assert (found.size_bytes, lease.generation in found.description) == (MIB, True)
    assert b.table.generations() == set(), "a look changes nothing"
    first = b.attach(a.key(lease), 6)
    again = b.attach(a.key(lease), 6)
    assert isinstance(first, Attachment) and isinstance(again, Attachment)
    assert (first.seat, first.connections, first.fences) == (SEAT, 2, True)
    assert b.exports.saving(lease.generation) is None


def test_a_lease_goes_to_and_fro(pair: Pair) -> None:
    _, a, _ = pair
    lease = moved(pair)
    again = a.attach(a.key(lease), 7)
    assert isinstance(again, Attachment) and again.fences
    old = a.attach(a.key(lease), 6)
    assert isinstance(old, Refused) and "newer" in old.reason


def test_the_key_of_the_secret_before_is_good_for_a_day(pair: Pair) -> None:
    pool, a, b = pair
    lease = a.boot("token", 5)
    key = a.key(lease)
    late = b.grant("late")
    b.keys.renew(OTHER_SECRET, SECRET)
    b.list()
    assert isinstance(b.attach(key, 6), Attachment)
    assert isinstance(b.attach("late", 1), Attachment)
    until(lambda: pool.image_of(late.generation))
    a.list()
    assert isinstance(a.attach(a.key(late), 2), Attachment), "granted before the rotation"


def test_a_lease_that_another_server_removed_is_forgotten(pair: Pair) -> None:
    pool, a, _ = pair
    lease = moved(pair)
    pool.images.clear()
    a.list()
    assert a.table.generations() == set() and a.ended == [lease.generation]
    assert a.attach(a.key(lease), 7) is UNKNOWN


def test_a_lease_whose_image_is_made_during_a_list_is_kept(pair: Pair) -> None:
    _, a, _ = pair
    listed = a.store.list()
    listed.result(60)
    lease = a.boot("token", 5)
    a.exports.let_go(lease.generation)
    a.store.follow(listed.result())
    a.exports.follow()
    assert lease.generation in a.table.generations()


def test_a_restarted_server_knows_what_the_pool_has(pair: Pair) -> None:
    pool, a, _ = pair
    lease = a.boot("token", 5)
    a.stop()
    a.start()
    assert isinstance(a.attach(a.key(lease), 6), Attachment)
    a.stop()
    pool.images.clear()
    a.start()
    assert a.table.generations() == set()


def test_capacity_is_counted_over_the_pool(pair: Pair) -> None:
    _, a, b = pair
    a.table.capacity_bytes = b.table.capacity_bytes = 2 * MIB
    a.boot("token", 5)
    b.list()
    other = ("52:54:00:12:34:02", "seat-525400123402", "other", 2 * MIB, b.now)
    refused = b.table.grant(*other)
    assert isinstance(refused, Refused) and "no room" in refused.reason
    assert isinstance(b.grant("next boot", 2 * MIB), Lease), "it replaces the one of the same seat"


# The boot before.


def test_a_newcomer_waits_for_the_server_of_the_boot_before(pair: Pair) -> None:
    pool, a, b = pair
    lease = moved(pair)
    a.grant("second boot")
    assert a.wait_for_others("second boot") is IN_USE
    assert pool.image_of(lease.generation)
    pool.leave(lease.generation, b)
    assert a.wait_for_others("second boot") is None
    assert isinstance(a.attach("second boot", 1), Attachment)
    until(lambda: pool.image_of(lease.generation) is None)
    b.exports.let_go(lease.generation)
    b.list()
    assert lease.generation not in b.table.generations()


def test_a_newcomer_at_a_server_that_never_had_the_seat_waits_too(pair: Pair) -> None:
    pool, a, b = pair
    lease = a.boot("token", 5)
    pool.serve(lease.generation, a, 5)
    b.list()
    b.grant("second boot")
    assert b.wait_for_others("second boot") is IN_USE
    pool.leave(lease.generation, a)
    assert b.wait_for_others("second boot") is None
    b.attach("second boot", 1)
    until(lambda: pool.image_of(lease.generation) is None)


def test_a_pc_that_comes_back_after_the_newcomer_keeps_its_pages(pair: Pair) -> None:
    pool, a, b = pair
    lease = moved(pair)
    pool.leave(lease.generation, b)
    a.grant("second boot")
    assert a.wait_for_others("second boot") is None
    pool.serve(lease.generation, b, 7)
    a.attach("second boot", 1)
    settled(a)
    pool.leave(lease.generation, b)
    settled(a)
    assert pool.image_of(lease.generation)


def test_a_reboot_at_the_same_server_does_not_wait(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_exports, "QUIET_SECONDS", 3600)
    pool, a, _ = pair
    lease = a.boot("token", 5)
    pool.serve(lease.generation, a, 5)
    a.grant("second boot")
    assert a.wait_for_others("second boot") is None
    pool.leave(lease.generation, a)
    a.attach("second boot", 1)
    until(lambda: pool.image_of(lease.generation) is None)


def test_what_nobody_used_for_a_day_is_removed_by_any_server(pair: Pair) -> None:
    pool, a, b = pair
    lease = a.boot("token", 5)
    pool.serve(lease.generation, a, 5)
    b.list()
    for _ in range(3):
        b.sweep(2)
        b.now += LEASE_SECONDS
    settled(b)
    assert pool.image_of(lease.generation), "a server has it open"
    pool.leave(lease.generation, a)
    b.sweep(2)
    b.now += LEASE_SECONDS - 1
    b.sweep(2)
    settled(b)
    assert pool.image_of(lease.generation)
    b.now += 2
    b.sweep(2)
    until(lambda: pool.image_of(lease.generation) is None)


def test_a_removal_that_was_not_finished_is(pair: Pair) -> None:
    pool, a, b = pair
    lease = a.boot("token", 5)
    image = pool.image_of(lease.generation)
    assert image is not None
    image.set_number = ENDED
    b.list()
    b.sweep(2)
    until(lambda: pool.image_of(lease.generation) is None)
