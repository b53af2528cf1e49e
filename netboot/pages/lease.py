"""Leases: the right of a seat to a swap area, granted while there is room. Pure.

A booting seat asks for a lease (grant). Its swap agent then attaches the lease with a token that
only this boot of this seat was given, and from the first time on with a key in its place
(netboot/pages/access.py). Until then the leases of the previous boot remain valid: if somebody else
fetches the seat's script, a running PC must not lose its swap.

A running seat may ask for fresh leases: to replace one whose pages are lost, or for further areas.
Each further area has an export name of its own, and the seat returns it after use (end).

A pending lease was granted and never attached. Anybody can cause one, so it lives for two minutes,
each asking address has few of them, and none keeps a PC that the profile names from its swap.

Fencing: the connections that a seat uses at a time are a set. The seat numbers its sets upwards and
gives the number with the name, ``<export>@<token>.<number in hexadecimal>``; the default is 0. A
connection of a higher set ends all lower sets for good. So a connection that its seat has given up
cannot arrive after the new ones and write old pages.

Before an attachment the caller asks whose connections it would end (``ends``), and attaches only if
they are dead.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from netboot.boot.limits import PENDING_LEASES
from netboot.pages.access import Access
from netboot.pages.nbd.export import Refusal, Refused
from netboot.pages.nbd.name import WireName

__all__ = ["Attached", "Ends", "Lease", "LeaseTable", "Refused"]

GENERATION_BYTES = 16  # 128 bits
# A PC that stays off for a day finds its swap gone, as it finds its RAM gone.
LEASE_SECONDS = 24 * 3600.0
PENDING_SECONDS = PENDING_LEASES.seconds or 0.0
PENDING_OF_ADDRESS = PENDING_LEASES.per_address or 0
PENDING_IN_TOTAL = PENDING_LEASES.in_total or 0
# The most connections in one set: as many as a profile can ask for (swap.connections). They bound
# the server's memory for an area, which is so many times that for one connection
# (docs/explanation/page-server.md).
MAX_CONNECTIONS = 16
# Of a row of as_json. Releases up to 0.2.0, which an upgrade can be rolled back to, write and read
# a list of rows without a version, and pass over the fields that they do not know.
STATE_VERSION = 2
PLAYED = "played"  # as ``asker``
# One refusal for both: otherwise anybody could ask which seats are on. Not the name: it may have
# any length and any characters.
UNKNOWN = Refused("no such export, or wrong token", Refusal.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Lease:
    """One swap area of one boot of one seat (MAC address ``aa:bb:cc:dd:ee:ff``).

    ``generation`` has 32 hexadecimal digits; it is unique to the lease and not a secret.
    ``granted`` is in seconds of the caller's clock. ``connections`` is the most in one set.
    """

    seat: str
    export: str
    size_bytes: int
    generation: str
    granted: float
    connections: int = MAX_CONNECTIONS


@dataclass(frozen=True, slots=True)
class Attached:
    """A lease that a connection of ``set_number`` may use. If ``fences``, older sets must end.

    If ``proves``, the key was used for the first time, so its token is dead.
    """

    lease: Lease
    set_number: int
    fences: bool = False
    proves: bool = False


@dataclass(frozen=True, slots=True)
class Ends:
    """The leases whose connections an attachment ends, by their generations.

    ``again`` is the lease itself, if it was attached before: a newer set ends its older ones.
    """

    again: str | None = None
    replaced: tuple[str, ...] = ()


@dataclass(slots=True)
class _Keyed:
    lease: Lease
    access: Access
    seen: float  # when it was last granted, attached or let go, in seconds
    set_number: int = 0
    attached: bool = False  # at any time, so there may be pages
    in_use: bool = False
    lost: bool = False  # the server no longer has the pages
    fresh: bool = False  # further lease of a boot that has swap; any other begins a new boot
    asker: str = ""  # the address that asked for it; empty for a PC that the profile names


@dataclass(slots=True)
class _Place:
    """The leases of an export: the attached one, and one that is granted and not attached yet."""

    attached: _Keyed | None = None
    pending: _Keyed | None = None

    def leases(self) -> list[_Keyed]:
        return [keyed for keyed in (self.pending, self.attached) if keyed is not None]

    def size_bytes(self) -> int:
        return max((keyed.lease.size_bytes for keyed in self.leases()), default=0)


class LeaseTable:
    """All leases of a room, with at most ``capacity_bytes`` times ``overcommit`` in all.

    ``on_change`` is called after every grant and end, which must survive the server. After
    ``attach`` the caller saves the table, as soon as the pages exist and before it answers: a seat
    that knows that its key was taken never tries its token again.
    """

    def __init__(
        self, capacity_bytes: int, overcommit: float = 1.0, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        self.capacity_bytes = int(capacity_bytes * overcommit)
        self._lease_seconds = lease_seconds
        self._places: dict[str, _Place] = {}
        self._ended: list[Lease] = []
        self._new_key: Callable[[], str] = str  # none
        self.on_change: Callable[[], None] = lambda: None

    def use_keys(self, new_key: Callable[[], str]) -> None:
        """Give each lease a key, those that have none yet too. ``new_key`` makes 128 random bits."""
        self._new_key = new_key
        for keyed in self._all():
            keyed.access.key = keyed.access.key or new_key()

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

        ``asker`` is the address of a PC that no profile names, and empty for any other. Such an
        address has at most 4 pending leases: with the fifth its oldest ends. PCs that are PLAYED
        come from one address, and count as one that only has the limit in total. If there is no
        room, pending leases end too: for a PC of the profile those of all addresses, otherwise
        those of an address that would still have more than the new one.
        """
        self._expire(now)
        for known in self._places.get(export, _Place()).leases():
            if known.access.began_with(token):
                return known.lease
        while size_bytes > (left := self._left(export)):
            surplus = self._surplus(export, asker, size_bytes)
            if surplus is None:
                asked, free, all_ = map(_readable, (size_bytes, max(left, 0), self.capacity_bytes))
                return Refused(f"no room: {asked} asked, {free} of {all_} left")
            self._end(surplus)
        generation = _generation(export, token, size_bytes, now)
        lease = Lease(seat, export, size_bytes, generation, now, connections)
        self._make_place(export, asker)
        place = self._places.setdefault(export, _Place())
        access = Access(token, self._new_key())
        place.pending = _Keyed(lease, access, now, fresh=fresh, asker=asker)
        self.on_change()
        return lease

    def has(self, export: str) -> bool:
        """Return whether there is a lease of ``export``, attached or not."""
        return export in self._places

    def heaviest(self) -> tuple[str, int]:
        """Return the seat with the most granted bytes, and these; an empty text without leases."""
        held = Counter[str]()
        for place in self._places.values():
            held[place.leases()[0].lease.seat] += place.size_bytes()
        return held.most_common(1)[0] if held else ("", 0)

    def is_in_use(self, export: str) -> bool:
        """Return whether a lease of ``export`` has connections."""
        return any(keyed.in_use for keyed in self._places.get(export, _Place()).leases())

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
        if keyed.attached:
            return Ends(again=keyed.lease.generation)
        replaced = (old for old in self._replaced_by(keyed) if old.attached)
        return Ends(replaced=tuple(old.lease.generation for old in replaced))

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
        for keyed in self._places.get(export, _Place()).leases():
            self._end(keyed)
        self.on_change()
        return None

    def resume(self, generation: str) -> Lease | None:
        """Return the lease of a connection that is older than this server; None if it has ended."""
        for keyed in self._all():
            if keyed.lease.generation == generation and keyed.attached and not keyed.lost:
                keyed.in_use = True
                return keyed.lease
        return None

    def let_go(self, generation: str, now: float) -> None:
        """Note that the last connection of a lease has ended. From now on the lease ages."""
        for keyed in self._all():
            if keyed.lease.generation == generation:
                keyed.in_use, keyed.seen = False, now

    def lose(self, kept: Collection[str]) -> list[Lease]:
        """Refuse the leases with pages whose generation is not in ``kept``; return them.

        To return zeros for lost pages would be worse.
        """
        gone = [each for each in self._all() if each.attached and each.lease.generation not in kept]
        for keyed in gone:
            keyed.lost = True
        return [keyed.lease for keyed in gone]

    def take_ended(self) -> list[Lease]:
        """Return the leases that ended since the last call. The caller wipes their pages."""
        ended, self._ended = self._ended, []
        return ended

    def generations(self) -> set[str]:
        """Return the generations of all leases."""
        return {keyed.lease.generation for keyed in self._all()}

    def as_json(self) -> list[dict[str, Any]]:
        """Return all leases, secrets included, as JSON values."""
        return [{**asdict(keyed.lease), **_state(keyed)} for keyed in self._all()]

    def restore(self, saved: Iterable[Mapping[str, Any]], now: float) -> None:
        """Restore leases from ``as_json`` of an earlier table. None of them is in use.

        Raises ValueError if the form is of a newer release.
        """
        for row in saved:
            if row.get("version", STATE_VERSION) > STATE_VERSION:
                raise ValueError(f"version {row['version']}, expected at most {STATE_VERSION}")
            lease = Lease(**{name: row[name] for name in Lease.__slots__ if name in row})
            access = Access.from_json(row)
            keyed = _Keyed(lease, access, now, row["set_number"], row["attached"])
            keyed.lost, keyed.fresh = row["lost"], row.get("fresh", False)
            keyed.asker = row.get("asker", "")
            place = self._places.setdefault(lease.export, _Place())
            if keyed.attached:
                place.attached = keyed
            else:
                place.pending = keyed

    def _all(self) -> list[_Keyed]:
        return [keyed for place in self._places.values() for keyed in place.leases()]

    def _expire(self, now: float) -> None:
        """End the leases that were unused for too long. Called when a seat comes: no timer."""
        for keyed in self._all():
            seconds = self._lease_seconds if keyed.attached else PENDING_SECONDS
            if not keyed.in_use and now - keyed.seen >= seconds:
                self._end(keyed)

    def _left(self, export: str) -> int:
        """Return the room for ``export``, in bytes."""
        others = (place.size_bytes() for name, place in self._places.items() if name != export)
        return self.capacity_bytes - sum(others)

    def _strangers(self, export: str) -> list[_Keyed]:
        """Return the pending leases of PCs that no profile names, but ``export``; oldest first."""
        pending = (place.pending for name, place in self._places.items() if name != export)
        found = [keyed for keyed in pending if keyed is not None and keyed.asker]
        return sorted(found, key=lambda keyed: keyed.lease.granted)

    def _surplus(self, export: str, asker: str, size_bytes: int) -> _Keyed | None:
        """Return the pending lease that ends so that ``export`` has room; None if there is none."""
        strangers = self._strangers(export)
        held = Counter[str]()
        for keyed in strangers:
            held[keyed.asker] += keyed.lease.size_bytes
        if not asker:
            return strangers[0] if strangers else None
        held[asker] += size_bytes
        heaviest, _ = held.most_common(1)[0]
        if held[heaviest] == held[asker]:
            heaviest = asker
        return next((keyed for keyed in strangers if keyed.asker == heaviest), None)

    def _make_place(self, export: str, asker: str) -> None:
        """Keep to the number of pending leases: of ``asker``, and of all strangers together."""
        if not asker:
            return
        strangers = self._strangers(export)
        held = Counter(keyed.asker for keyed in strangers)
        if len(strangers) >= PENDING_IN_TOTAL:
            asker = held.most_common(1)[0][0]
        elif asker == PLAYED or held[asker] < PENDING_OF_ADDRESS:
            return
        self._end(next(keyed for keyed in strangers if keyed.asker == asker))

    def _replaced_by(self, fresh: _Keyed) -> list[_Keyed]:
        """Return the leases that ``fresh`` replaces when it is attached for the first time."""
        seat, export = fresh.lease.seat, fresh.lease.export
        return [
            old
            for old in self._all()
            if old is not fresh
            and (old.lease.export == export or (old.lease.seat == seat and not fresh.fresh))
        ]

    def _replace_by(self, fresh: _Keyed) -> None:
        for old in self._replaced_by(fresh):
            self._end(old)
        place = self._places[fresh.lease.export]
        place.attached, place.pending = fresh, None

    def _end(self, keyed: _Keyed) -> None:
        place = self._places[keyed.lease.export]
        if keyed is place.attached:
            self._ended.append(keyed.lease)  # there may be pages
            place.attached = None
        else:
            place.pending = None
        if not place.leases():
            del self._places[keyed.lease.export]

    def _find(self, name: WireName) -> _Keyed | Refused:
        place = self._places.get(name.export, _Place())
        opened = [keyed for keyed in place.leases() if keyed.access.opens(name.token)]
        keyed = opened[0] if opened else None
        if keyed is None or name.set_number is None:
            return UNKNOWN
        if keyed.lost:
            return Refused(f"this server no longer has the pages of {name.export}")
        return keyed


def _state(keyed: _Keyed) -> dict[str, Any]:
    return {
        "version": STATE_VERSION,
        **keyed.access.as_json(),
        "set_number": keyed.set_number,
        "attached": keyed.attached,
        "lost": keyed.lost,
        "fresh": keyed.fresh,
        "asker": keyed.asker,
    }


def _generation(export: str, token: str, size_bytes: int, now: float) -> str:
    # Each boot has a random token, so a digest over the token is unique and reveals nothing.
    text = f"{export} {token} {size_bytes} {now!r}"
    return hashlib.blake2b(text.encode(), digest_size=GENERATION_BYTES).hexdigest()


def _readable(size_bytes: int) -> str:
    for shift, unit in ((30, "GiB"), (20, "MiB")):
        if size_bytes >= 1 << shift and size_bytes % (1 << shift) == 0:
            return f"{size_bytes >> shift} {unit}"
    return f"{size_bytes / (1 << 20):.1f} MiB"
