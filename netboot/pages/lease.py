"""Leases: the right of a seat to a swap area, granted while there is room. Pure.

A booting seat asks for a lease (grant). Its swap agent then attaches the lease with a token that
only this boot of this seat was given, and from the first time on with a key in its place
(netboot/pages/access.py). Until then the leases of the previous boot remain valid: if somebody else
fetches the seat's script, a running PC must not lose its swap.

A running seat may ask for fresh leases: to replace one whose pages are lost, or for further areas.
Each further area has an export name of its own, and the seat returns it after use (end).

Fencing: the connections that a seat uses at a time are a set. The seat numbers its sets upwards and
gives the number with the name, ``<export>@<token>.<number in hexadecimal>``; the default is 0. A
connection of a higher set ends all lower sets for good. So a connection that its seat has given up
cannot arrive after the new ones and write old pages.

Before an attachment the caller asks whose connections it would end (``ends``), and attaches only if
they are dead.
"""

import hashlib
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from netboot.pages.access import Access
from netboot.pages.nbd.export import Refusal, Refused
from netboot.pages.nbd.name import WireName
from netboot.pages.places import (
    MAX_CONNECTIONS,
    PENDING_SECONDS,
    PLAYED,
    Attached,
    Ends,
    Keyed,
    Lease,
    Place,
    Places,
)

__all__ = ["MAX_CONNECTIONS", "PLAYED", "Attached", "Ends", "Lease", "LeaseTable", "Refused"]

GENERATION_BYTES = 16  # 128 bits
# A PC that stays off for a day finds its swap gone, as it finds its RAM gone.
LEASE_SECONDS = 24 * 3600.0
# One refusal for both: otherwise anybody could ask which seats are on. Not the name: it may have
# any length and any characters.
UNKNOWN = Refused("no such export, or wrong token", Refusal.UNKNOWN)


class LeaseTable:
    """All leases of a room, with at most ``capacity_bytes`` times ``overcommit`` in all.

    ``on_change`` is called after every grant, with its lease, and after every end: both must survive
    the server. So must the first attachment of a lease: the caller saves the table before it answers. It saves a newer set
    and the use of a key as well, but no seat waits for that (docs/adr/0016).
    """

    def __init__(
        self, capacity_bytes: int, overcommit: float = 1.0, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        self.capacity_bytes = int(capacity_bytes * overcommit)
        self._lease_seconds = lease_seconds
        self._places = Places()
        self._ended: list[Keyed] = []
        # Bytes by export of leases that other servers of one pool have; they count as granted.
        self.elsewhere: Mapping[str, int] = {}
        self._new_key: Callable[[str], str] = lambda generation: ""  # none
        self._oldest = math.inf  # before this time no lease has expired
        self.on_change: Callable[[Lease | None], None] = lambda granted: None

    def use_keys(self, new_key: Callable[[str], str]) -> None:
        """Give each lease a key, those that have none yet too.

        ``new_key`` makes 128 bits for a generation, which nobody can guess.
        """
        self._new_key = new_key
        for keyed in self._places.all():
            keyed.access.key = keyed.access.key or new_key(keyed.lease.generation)

    def grant(
        self,
        seat: str,
        export: str,
        token: str,
        size_bytes: int,
        now: float,
        *,
        fresh: bool = False,
        connections: int = MAX_CONNECTIONS,
        asker: str = "",
    ) -> Lease | Refused:
        """Grant ``size_bytes`` to ``seat`` under the name ``export``.

        The same export and token return the same lease again. Capacity is counted once for each
        export: the older lease ends when the new one is attached. All other leases of the seat end
        as well, unless the new lease is ``fresh``: a further one for a boot that has swap already.
        So an export may have as much again as it has, whatever the capacity is now.

        ``asker`` is the address of a PC that no profile names, and empty for any other. Such an
        address has at most 4 pending leases: with the fifth its oldest ends. PCs that are PLAYED
        come from one address, and count as one that only has the limit in total. If there is no
        room, pending leases end too: for a PC of the profile those of all addresses, otherwise
        those of an address that would still have more than the new one.
        """
        self._expire(now)
        for known in self._places.get(export, Place()).leases():
            if known.access.began_with(token):
                return known.lease
        if size_bytes <= 0:
            return Refused(f"expected an area of at least a page, {size_bytes} bytes asked")
        # The capacity may have shrunk since then; what the PC holds already is promised to it.
        held = self._places.get(export, Place()).size_bytes()
        while size_bytes > (left := max(held, self._left(export))):
            surplus = self._places.surplus(export, asker, size_bytes)
            if surplus is None:
                asked, free, all_ = map(readable, (size_bytes, left, self.capacity_bytes))
                return Refused(f"no room: {asked} asked, {free} of {all_} left")
            self._end(surplus)
        generation = _generation(export, token, size_bytes, now)
        lease = Lease(seat, export, size_bytes, generation, now, connections)
        surplus = self._places.one_too_many(export, asker)
        if surplus is not None:
            self._end(surplus)
        access = Access(token, self._new_key(generation))
        self._places.grant(Keyed(lease, access, now, fresh=fresh, asker=asker))
        self._oldest = min(self._oldest, now + PENDING_SECONDS)
        self.on_change(lease)
        return lease

    def _left(self, export: str) -> int:
        others = sum(held for each, held in self.elsewhere.items() if each != export)
        return self._places.left(export, self.capacity_bytes) - others

    @property
    def granted_bytes(self) -> int:
        """The size of all areas together."""
        return self._places.held_bytes

    def holdings(self) -> dict[str, tuple[int, list[str]]]:
        """Return by seat the granted bytes, and the generations that may have pages."""
        found: dict[str, tuple[int, list[str]]] = {}
        for place in self._places.values():
            for keyed in place.leases()[-1:]:  # both are of one seat
                held, generations = found.get(keyed.lease.seat, (0, []))
                found[keyed.lease.seat] = (held + place.size_bytes(), generations)
                if keyed.attached:
                    generations.append(keyed.lease.generation)
        return found

    def has(self, export: str) -> bool:
        """Return whether there is a lease of ``export``, attached or not."""
        return export in self._places

    def heaviest(self) -> tuple[str, int]:
        """Return the seat with the most granted bytes, and these; an empty text without leases."""
        return self._places.heaviest()

    def is_in_use(self, export: str) -> bool:
        """Return whether a lease of ``export`` has connections."""
        return any(keyed.in_use for keyed in self._places.get(export, Place()).leases())

    def find(self, name: WireName) -> Lease | Refused:
        """Return the lease of ``name`` (see above), or the refusal.

        The answer is the same for old and new sets: the numbers in use would help somebody else who
        has read the token to end them.
        """
        found = self._find(name)
        return found if isinstance(found, Refused) else found.lease

    def key_for(self, name: WireName) -> str:
        """Return the key of the lease of ``name`` if its token is good; else an empty text."""
        found = self._find(name)
        return "" if isinstance(found, Refused) else found.access.key_for(name.token)

    def ends(self, name: WireName) -> Ends:
        """Return the leases whose connections ``attach`` would end. Changes nothing."""
        keyed = self._find(name)
        if isinstance(keyed, Refused):
            return Ends()
        places = keyed.lease.connections
        if keyed.attached:
            return Ends(again=keyed.lease.generation, places=places)
        replaced = (old for old in self._replaced_by(keyed) if old.attached)
        return Ends(replaced=tuple(old.lease.generation for old in replaced), places=places)

    def attach(self, name: WireName, now: float) -> Attached | Refused:
        """Attach the lease of ``name``. The first time, end the leases that it replaces."""
        keyed, set_number = self._find(name), name.set_number
        if isinstance(keyed, Refused):
            return keyed
        assert set_number is not None, "not found"
        if set_number < keyed.set_number:
            number = f"set {set_number:x} of {name.export}"
            return Refused(f"{number} has been replaced by a newer one")
        if not keyed.attached:
            self._replace_by(keyed)
        fences, proves = set_number > keyed.set_number, keyed.access.prove(name.token)
        keyed.set_number, keyed.seen = set_number, now
        keyed.attached = keyed.in_use = True
        self._expire(now)
        return Attached(keyed.lease, set_number, fences, proves)

    def end(self, export: str) -> Refused | None:
        """End the lease of ``export`` because its seat no longer needs it; None if done.

        If there is no such lease, this is no error. Refused while the export has connections: the
        request may come from somebody else than the user of the area.
        """
        if self.is_in_use(export):
            return Refused(f"{export} is in use")
        for keyed in self._places.get(export, Place()).leases():
            self._end(keyed)
        self.on_change(None)
        return None

    def make_way(self, name: WireName) -> bool:
        """End the leases that the first attachment of ``name`` replaces; False if there are none."""
        keyed = self._find(name)
        if isinstance(keyed, Refused) or keyed.attached:
            return False
        replaced = self._replaced_by(keyed)
        for old in replaced:
            self._end(old)
        return bool(replaced)

    def resume(self, generation: str, set_number: int = 0) -> Lease | None:
        """Return the lease of a connection that is older than this server; None if it has ended.

        The connection is of ``set_number``, which the server before may have had no time to save.
        """
        keyed = self._places.generation(generation)
        if keyed is None or not keyed.attached or keyed.is_gone:
            return None
        keyed.in_use = True
        keyed.set_number = max(keyed.set_number, set_number)
        return keyed.lease

    def let_go(self, generation: str, now: float) -> None:
        """Note that the last connection of a lease has ended. From now on the lease ages."""
        keyed = self._places.generation(generation)
        if keyed is not None:
            keyed.in_use, keyed.seen = False, now
            self._oldest = min(self._oldest, now + self._seconds(keyed))

    def lose(self, kept: Collection[str]) -> list[Lease]:
        """Refuse the leases with pages whose generation is not in ``kept``; return them.

        To return zeros for lost pages would be worse.
        """
        gone = self._without(kept)
        for keyed in gone:
            keyed.lost = True
            self._places.count(keyed)
        return [keyed.lease for keyed in gone]

    def miss(self, kept: Collection[str]) -> list[Lease]:
        """Do as ``lose``, but for this run of the server alone.

        The next one may have the pages again, as they were: its store is the one of before.
        """
        gone = self._without(kept)
        for keyed in gone:
            keyed.missing = True
            self._places.count(keyed)
        return [keyed.lease for keyed in gone]

    def _without(self, kept: Collection[str]) -> list[Keyed]:
        leases = self._places.all()
        return [each for each in leases if each.attached and each.lease.generation not in kept]

    def leases_of(self, export: str) -> list[Lease]:
        """Return the leases of ``export``: at most a pending one and an attached one."""
        return [keyed.lease for keyed in self._places.get(export, Place()).leases()]

    def take_ended(self) -> list[Lease]:
        """Return the leases that ended since the last call. The caller wipes their pages."""
        return [lease for lease, _ in self.take_ended_sets()]

    def take_ended_sets(self) -> list[tuple[Lease, int]]:
        """Do as ``take_ended``; return the number of the last set of each lease as well."""
        ended, self._ended = self._ended, []
        return [(keyed.lease, keyed.set_number) for keyed in ended]

    def adopt(self, lease: Lease, key: str, now: float) -> list[Lease]:
        """Take over a lease of another server that has the same pages: its seat has the ``key``.

        Return the leases of the export that this table has forgotten for it. They have not ended.
        """
        place = self._places.get(lease.export, Place())
        forgotten = [] if place.attached is None else [place.attached.lease]
        keyed = Keyed(lease, Access("", key, proven=True), now, attached=True)
        self._places.attach(keyed)
        self._oldest = min(self._oldest, now + self._seconds(keyed))
        return forgotten

    def forget(self, generation: str) -> None:
        """Drop a lease that another server has, or has ended. Its pages are not this server's."""
        keyed = self._places.generation(generation)
        if keyed is not None:
            self._places.remove(keyed)

    def attached(self) -> dict[str, tuple[int, bool]]:
        """Return of each lease that may have pages the last set's number, and whether it is in use."""
        return {
            keyed.lease.generation: (keyed.set_number, keyed.in_use)
            for keyed in self._places.all()
            if keyed.attached
        }

    def opens_with(self, generation: str, key: str) -> bool:
        """Return whether ``key`` is that of a lease."""
        keyed = self._places.generation(generation)
        return keyed is not None and keyed.access.opens(key)

    def withhold(self, generation: str, *, on: bool) -> None:
        """Refuse a lease, whose pages stay, until it is taken back with ``on=False``."""
        for keyed in self._places.all():
            if keyed.lease.generation == generation:
                keyed.withheld = on

    def with_pages(self, now: float, seconds: float) -> dict[str, tuple[Lease, bool]]:
        """Return the leases whose seats may need their pages, by generation, and if they are in use.

        A lease that nobody has used for ``seconds`` is not needed: its seat's patience is over.
        """
        return {
            keyed.lease.generation: (keyed.lease, keyed.in_use)
            for keyed in self._places.all()
            if keyed.attached and not keyed.is_gone and (keyed.in_use or now - keyed.seen < seconds)
        }

    def generations(self) -> set[str]:
        """Return the generations of all leases."""
        return {keyed.lease.generation for keyed in self._places.all()}

    def as_json(self) -> list[dict[str, Any]]:
        """Return all leases, secrets included, as JSON values."""
        return [keyed.as_json() for keyed in self._places.all()]

    def rows(self) -> Iterator[tuple[str, object, Callable[[], dict[str, Any]]]]:
        """Yield of each lease its generation, what can change of it, and what returns its row.

        The row of ``as_json`` is the same for as long as that has not changed.
        """
        for keyed in self._places.all():
            yield keyed.lease.generation, keyed.state, keyed.as_json

    def restore(self, saved: Iterable[Mapping[str, Any]], now: float) -> None:
        """Restore leases from ``as_json`` of an earlier table. None of them is in use.

        Raises ValueError if the form is of a newer release.
        """
        for row in saved:
            keyed = Keyed.from_json(row, now)
            if keyed.attached:
                self._places.attach(keyed)
            else:
                self._places.grant(keyed)
            self._oldest = min(self._oldest, now + self._seconds(keyed))

    def _expire(self, now: float) -> None:
        """End the leases that were unused for too long. Called when a seat comes: no timer."""
        if now < self._oldest:
            return
        self._oldest = math.inf
        for keyed in self._places.all():
            seconds = self._seconds(keyed)
            if not keyed.in_use and now - keyed.seen >= seconds:
                self._end(keyed)
            elif not keyed.in_use:
                self._oldest = min(self._oldest, keyed.seen + seconds)

    def _seconds(self, keyed: Keyed) -> float:
        """Return how long a lease lasts that nobody uses."""
        lasts = keyed.attached and keyed.asker != PLAYED  # a storm that was killed ended none
        return self._lease_seconds if lasts else PENDING_SECONDS

    def _replaced_by(self, fresh: Keyed) -> list[Keyed]:
        """Return the leases that ``fresh`` replaces when it is attached for the first time."""
        seat, export = fresh.lease.seat, fresh.lease.export
        replaced = self._places.get(export, Place()).leases()
        if not fresh.fresh:
            mates = self._places.of_seat(seat)
            replaced += [old for old in mates if old.lease.export != export]
        return [old for old in replaced if old is not fresh]

    def _replace_by(self, fresh: Keyed) -> None:
        for old in self._replaced_by(fresh):
            self._end(old)
        self._places.attach(fresh)

    def _end(self, keyed: Keyed) -> None:
        if self._places.remove(keyed):
            self._ended.append(keyed)  # there may be pages

    def _find(self, name: WireName) -> Keyed | Refused:
        place = self._places.get(name.export, Place())
        opened = [keyed for keyed in place.leases() if keyed.access.opens(name.token)]
        keyed = opened[0] if opened else None
        if keyed is None or name.set_number is None:
            return UNKNOWN
        if keyed.is_gone:
            return Refused(f"this server no longer has the pages of {name.export}")
        if keyed.withheld:
            return Refused(f"this server is drained: {name.export} goes to another one")
        return keyed


def _generation(export: str, token: str, size_bytes: int, now: float) -> str:
    # Each boot has a random token, so a digest over the token is unique and reveals nothing.
    text = f"{export} {token} {size_bytes} {now!r}"
    return hashlib.blake2b(text.encode(), digest_size=GENERATION_BYTES).hexdigest()


def readable(size_bytes: int) -> str:
    """Return a size for people: whole GiB or MiB, else MiB with a decimal."""
    for shift, unit in ((30, "GiB"), (20, "MiB")):
        if size_bytes >= 1 << shift and size_bytes % (1 << shift) == 0:
            return f"{size_bytes >> shift} {unit}"
    return f"{size_bytes / (1 << 20):.1f} MiB"
