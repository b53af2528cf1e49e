"""The leases of a room whose page servers share one pool: ``swap.layout: any``.

A lease is its image, and each server lists the pool once a second. A seat that comes with the key of a
lease that another server has granted or served is let in: the key follows from the room's secret and the
generation. Which of two servers may write is decided in the image (ADR 22), and never here.

This table may be wrong about leases that other servers have: a seat may have been there for days. So a
lease that ends here is removed from the pool only if no newer set has had its image than the last one
here. A newcomer replaces leases that others have had since only while nobody has their images open.
"""

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from netboot.boot.plan import seat_of_export
from netboot.pages.exports import Attachment, LeasedExports, export_of
from netboot.pages.lease import LEASE_SECONDS, UNKNOWN, Ends, Lease, LeaseTable
from netboot.pages.nbd.backing import PageFile
from netboot.pages.nbd.export import Export, Refused
from netboot.pages.nbd.name import WireName
from netboot.pages.stores.librbd import Look
from netboot.pages.stores.pool import Pooled, PoolStore

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

LIST_SECONDS = 1.0
LOOK_SECONDS = 0.5
# Without a client for so long, nobody uses an image of the boot before: an agent that lost its server
# attaches again within 4 s (rivals.py). The newcomer's agent waits 10 s for an answer.
QUIET_SECONDS = 4.0
WATCHED_SECONDS = 4.0
ANSWER_SECONDS = 9.0
IN_USE = Refused("another PC with this address is running, or its page server died a moment ago")
SILENT = Refused("the Ceph cluster does not answer", is_ours=True)


@dataclass(frozen=True, slots=True)
class Room:
    """The knowledge that the servers of a room share without asking each other.

    ``names``: of the room in the pool, the current one first. ``key`` returns the key of a generation
    by the secret of one of them, without a name by the current one. It is empty if the secret is
    forgotten. ``connections`` returns the most of a seat.
    """

    names: Callable[[], Sequence[str]]
    key: Callable[..., str]
    connections: Callable[[str], int]


class SharedExports(LeasedExports):
    """The swap areas of a room in the pool of ``store``. ``run`` has to run, and needs an event loop."""

    def __init__(
        self,
        store: PoolStore,
        table: LeaseTable,
        room: Room,
        clock: Callable[[], float] = time.time,
        ceiling: Callable[[str], int | None] = lambda seat: None,
        state: Path | None = None,
    ) -> None:
        self._pool = store
        self._room = room
        self._by_export: dict[str, list[Pooled]] = {}
        # By the generation of a newcomer: what it replaces, and the last sets of these images.
        self._quiet: dict[str, dict[str, int]] = {}
        self._ending: set[str] = set()  # leases that ended here, until their images are removed
        self._idle: dict[str, tuple[int, float]] = {}  # by generation: the last set, since when
        self._next: list[str] = []  # generations that are looked at next
        super().__init__(store, table, clock, ceiling, state, room.key)
        self.follow()

    def find(self, name: WireName, address: str = "") -> Export | Refused:
        """Look the lease up in the table, or by its key in the pool."""
        pooled = self._adoptable(name)
        return super().find(name, address) if pooled is None else export_of(self._lease(pooled))

    def ends(self, name: WireName) -> Ends:
        """Return what ``attach`` ends here: of a lease in the pool the other lease of its export."""
        pooled = self._adoptable(name)
        if pooled is None:
            return super().ends(name)
        here = [each.generation for each in self._table.leases_of(pooled.export)]
        attached = self._table.attached()
        replaced = tuple(each for each in here if each in attached)
        return Ends(replaced=replaced, places=self._lease(pooled).connections)

    def attach(self, name: WireName, address: str = "") -> Attachment | Refused:
        """Attach the lease, adopted from the pool if need be, and end those that it replaces."""
        pooled = self._adoptable(name)
        if pooled is not None:
            lease = self._lease(pooled)
            for forgotten in self._table.adopt(lease, name.token, self._clock()):
                self._close(forgotten.generation)
            log.info("pages: %s has come from another server of the room", lease.export)
        found = super().attach(name, address)
        if isinstance(found, Attachment):
            for generation, last in self._quiet.pop(found.lease, {}).items():
                self._end(generation, last)
        return found

    def elsewhere(self, name: WireName) -> Awaitable[Refused | None] | None:
        """Return what waits for the servers that may serve a boot before, if there is one."""
        lease = self._table.find(name)
        if isinstance(lease, Refused) or (ends := self._table.ends(name)).again is not None:
            return None
        attached = self._table.attached()
        pooled = (each.generation for each in self._by_export.get(lease.export, ()))
        before = {each: attached.get(each, (-1, False))[0] for each in (*ends.replaced, *pooled)}
        before.pop(lease.generation, None)
        return self._others(lease.generation, before) if before else None

    async def _others(self, newcomer: str, before: Mapping[str, int]) -> Refused | None:
        """Wait until no other server has had the leases ``before`` open for ``QUIET_SECONDS``.

        Their values are the last sets of this server. It knows itself whether its own clients live.
        """
        now = asyncio.get_running_loop().time
        begin, since, last = now(), now(), dict[str, int]()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                while True:
                    looks = await _answer(self._pool.look([*before]))
                    foreign = {
                        each: look
                        for each, look in looks.items()
                        if look.set_number > before[each] and not look.has_ended
                    }
                    sets = {each: look.set_number for each, look in foreign.items()}
                    watched = any(look.is_watched for look in foreign.values())
                    if watched or sets != last:
                        since, last = now(), sets
                    if not foreign or now() - since >= QUIET_SECONDS:
                        self._quiet[newcomer] = sets
                        return None
                    if watched and now() - begin >= WATCHED_SECONDS:
                        return IN_USE
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            return IN_USE if last else SILENT
        except OSError as error:
            return Refused(f"the Ceph cluster cannot be used: {error.strerror}", is_ours=True)

    async def run(self) -> None:
        """List the pool once a second, for as long as the server runs."""
        while True:
            try:
                self._pool.follow(await _answer(self._pool.list()))
                self.follow()
                await self._look_at_next()
            except OSError as error:
                self._complaints.warn(
                    "list", "pages: the pool cannot be listed: %s", error.strerror
                )
            await asyncio.sleep(LIST_SECONDS)

    def follow(self) -> None:
        """Forget the leases whose images other servers have removed; count those of others."""
        known, rooms = self._pool.known, set(self._room.names())
        kept = set(self._pool.names())
        for generation, (_, in_use) in self._table.attached().items():
            if generation not in kept and not in_use:
                self._table.forget(generation)
                self._close(generation)
                self._keeper.changed()
        attached = self._table.attached()
        self._by_export = {}
        elsewhere: dict[str, int] = {}
        for each in known.values():
            if each.room in rooms:
                self._by_export.setdefault(each.export, []).append(each)
                if each.generation not in attached:
                    most = elsewhere.get(each.export, 0)
                    elsewhere[each.export] = max(most, each.size_bytes)
        # An export counts once: its newer lease replaces the older one.
        self._table.elsewhere = {
            export: max(0, held - max((each.size_bytes for each in here), default=0))
            for export, held in elsewhere.items()
            for here in [self._table.leases_of(export)]
        }
        left = self._table.generations()
        self._quiet = {each: last for each, last in self._quiet.items() if each in left}
        self._idle = {each: found for each, found in self._idle.items() if each in known}

    async def _look_at_next(self) -> None:
        """Look at one image that nobody uses here; end a lease that nobody used for a day."""
        if not self._next:
            pooled = (each for found in self._by_export.values() for each in found)
            self._next = [each.generation for each in pooled]
        attached = self._table.attached()
        while self._next:
            generation = self._next.pop()
            if generation in self._pool.known and not attached.get(generation, (0, False))[1]:
                look = (await _answer(self._pool.look([generation]))).get(generation)
                if look is not None:
                    self._judge(generation, look)
                return

    def _judge(self, generation: str, look: Look) -> None:
        now = self._clock()
        number, since = self._idle.get(generation, (look.set_number, now))
        if look.has_ended:  # by a server that ended before it removed the image
            self._end(generation, look.set_number)
        elif look.is_watched or look.set_number != number:
            self._idle.pop(generation, None)
        elif now - since < LEASE_SECONDS:
            self._idle[generation] = number, since
        else:
            self._end(generation, number)

    def _adoptable(self, name: WireName) -> Pooled | None:
        """Return the lease in the pool that this table does not know, and whose key is in ``name``."""
        if not name.token or name.set_number is None or self._table.find(name) is not UNKNOWN:
            return None
        given = name.token.encode()
        for each in self._by_export.get(name.export, ()):
            key = self._room.key(each.generation, each.room)
            opens = bool(key) and hmac.compare_digest(key.encode(), given)
            if opens and each.generation not in self._ending:
                return each
        return None

    def _lease(self, pooled: Pooled) -> Lease:
        seat = seat_of_export(pooled.export)
        connections = self._room.connections(seat)
        now = self._clock()
        return Lease(seat, pooled.export, pooled.size_bytes, pooled.generation, now, connections)

    def _create(self, lease: Lease) -> PageFile:
        # Its key may be of the secret before the last rotation: that room's servers have to find it.
        generation, rooms = lease.generation, self._room.names()
        opening = (
            each
            for each in rooms
            if self._table.opens_with(generation, self._room.key(generation, each))
        )
        room = next(opening, rooms[0])
        return self._pool.create_for(room, lease.export, generation, lease.size_bytes)

    def _wipe_ended(self) -> bool:
        ended = self._table.take_ended_sets()
        for lease, last in ended:
            self._close(lease.generation)
            self._end(lease.generation, last)
        return bool(ended)

    def _close(self, generation: str) -> None:
        """Let the pages of a lease go that this table does not know any more."""
        pages = self._pages.pop(generation, None)
        if pages is not None:
            pages.close()
        self.on_ended(generation)

    def _end(self, generation: str, last: int) -> None:
        """Remove an image unless a set after ``last`` has had it."""
        if generation in self._ending or not self._pool.has(generation):
            return
        self._ending.add(generation)
        done = self._pool.end(generation, last)
        done.add_done_callback(lambda _: self._ending.discard(generation))

    def _restore(self) -> None:
        self.files.restore(self._clock())
        kept = set(self._pool.names())
        for generation in self._table.attached():
            if generation not in kept:  # another server has removed it
                self._table.forget(generation)
        if not self.files.is_damaged:
            for stray in self._pool.own - self._table.generations():
                self._wipe(stray)


async def _answer(future: Future[Answer]) -> Answer:
    """Wait for a cluster, and let it go on if this wait is cancelled."""
    return await asyncio.shield(asyncio.wrap_future(future))
