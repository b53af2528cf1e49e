"""Leases, and the room that they take for each export. Pure.

A pending lease was granted and never attached. Anybody can cause one, so it lives for two minutes,
each asking address has few of them, and none keeps a PC that the profile names from its swap.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from netboot.boot.limits import PENDING_LEASES
from netboot.pages.access import Access

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
    ``places`` is the number of connections in a set of the lease, None if that is not known.
    """

    again: str | None = None
    replaced: tuple[str, ...] = ()
    places: int | None = None


@dataclass(slots=True)
class Keyed:
    """A lease with its secrets and its state."""

    lease: Lease
    access: Access
    seen: float  # when it was last granted, attached or let go, in seconds
    set_number: int = 0
    attached: bool = False  # at any time, so there may be pages
    in_use: bool = False
    lost: bool = False  # the server no longer has the pages
    missing: bool = False  # its store does not have them now; not saved
    withheld: bool = False  # refused, so that its seat goes to another server; not saved
    fresh: bool = False  # further lease of a boot that has swap; any other begins a new boot
    asker: str = ""  # the address that asked for it; empty for a PC that the profile names

    @property
    def is_gone(self) -> bool:
        """Return True if the lease is refused, because its pages cannot be served."""
        return self.lost or self.missing

    @property
    def state(self) -> tuple[object, ...]:
        """Return what can change in ``as_json``."""
        access = self.access
        return access.key, access.proven, self.set_number, self.attached, self.lost, self.fresh

    def as_json(self) -> dict[str, Any]:
        """Return the lease, its secrets included, as JSON values."""
        lease = self.lease
        return {
            **{name: getattr(lease, name) for name in Lease.__slots__},
            "version": STATE_VERSION,
            **self.access.as_json(),
            "set_number": self.set_number,
            "attached": self.attached,
            "lost": self.lost,
            "fresh": self.fresh,
            "asker": self.asker,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any], now: float) -> "Keyed":
        """Return the lease of ``as_json``, not in use. Raises ValueError for a newer form."""
        if row.get("version", STATE_VERSION) > STATE_VERSION:
            raise ValueError(f"version {row['version']}, expected at most {STATE_VERSION}")
        lease = Lease(**{name: row[name] for name in Lease.__slots__ if name in row})
        keyed = cls(lease, Access.from_json(row), now, row["set_number"], row["attached"])
        keyed.lost, keyed.fresh = row["lost"], row.get("fresh", False)
        keyed.asker = row.get("asker", "")
        return keyed


@dataclass(slots=True)
class Place:
    """The leases of an export: the attached one, and one that is granted and not attached yet."""

    attached: Keyed | None = None
    pending: Keyed | None = None

    def leases(self) -> list[Keyed]:
        """Return both, as far as they exist."""
        return [keyed for keyed in (self.pending, self.attached) if keyed is not None]

    def size_bytes(self) -> int:
        """Return the room that they take: one replaces the other, and lost pages take none."""
        held = (keyed.lease.size_bytes for keyed in self.leases() if not keyed.is_gone)
        return max(held, default=0)


class Places(dict[str, Place]):
    """The leases of all exports, by the names of the exports.

    A room attaches at once, so none of the questions of a grant or an attachment takes longer if
    there are more leases. Leases come and go by ``grant``, ``attach`` and ``remove`` alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self._generations: dict[str, Keyed] = {}
        self._of_seats: dict[str, list[Keyed]] = {}
        self._pending: dict[str, Keyed] = {}  # of PCs that no profile names, by export
        self._sizes: dict[str, int] = {}  # of the exports
        self.held_bytes = 0  # the size of all areas together

    def all(self) -> list[Keyed]:
        """Return all leases."""
        return list(self._generations.values())

    def generation(self, generation: str) -> Keyed | None:
        """Return the lease of this generation."""
        return self._generations.get(generation)

    def of_seat(self, seat: str) -> list[Keyed]:
        """Return the leases of a seat."""
        return list(self._of_seats.get(seat, ()))

    def grant(self, keyed: Keyed) -> None:
        """Add a pending lease, in place of another one of its export."""
        place = self.setdefault(keyed.lease.export, Place())
        self._forget(place.pending)
        place.pending = keyed
        if keyed.asker:
            self._pending[keyed.lease.export] = keyed
        self._add(keyed)

    def attach(self, keyed: Keyed) -> None:
        """Make a pending lease, or a new one, the attached lease of its export."""
        place = self.setdefault(keyed.lease.export, Place())
        self._forget(place.attached)
        self._forget(keyed)
        place.attached = keyed
        if place.pending is keyed:
            place.pending = None
        self._add(keyed)

    def remove(self, keyed: Keyed) -> bool:
        """Remove a lease; return whether it was the attached one."""
        place = self[keyed.lease.export]
        was_attached = keyed is place.attached
        if was_attached:
            place.attached = None
        else:
            place.pending = None
        self._forget(keyed)
        if not place.leases():
            del self[keyed.lease.export]
        self.count(keyed)
        return was_attached

    def count(self, keyed: Keyed) -> None:
        """Count the room of a lease's export again, because the lease has changed."""
        export = keyed.lease.export
        size = self[export].size_bytes() if export in self else 0
        self.held_bytes += size - self._sizes.pop(export, 0)
        if size:
            self._sizes[export] = size

    def _add(self, keyed: Keyed) -> None:
        self._generations[keyed.lease.generation] = keyed
        self._of_seats.setdefault(keyed.lease.seat, []).append(keyed)
        self.count(keyed)

    def _forget(self, keyed: Keyed | None) -> None:
        if keyed is None or self._generations.get(keyed.lease.generation) is not keyed:
            return
        del self._generations[keyed.lease.generation]
        if self._pending.get(keyed.lease.export) is keyed:
            del self._pending[keyed.lease.export]
        mates = self._of_seats[keyed.lease.seat]
        mates[:] = [each for each in mates if each is not keyed]
        if not mates:
            del self._of_seats[keyed.lease.seat]

    def left(self, export: str, capacity_bytes: int) -> int:
        """Return the room for ``export`` of ``capacity_bytes``, in bytes."""
        return capacity_bytes - self.held_bytes + self._sizes.get(export, 0)

    def _strangers(self, export: str) -> list[Keyed]:
        """Return the pending leases of PCs that no profile names, but ``export``; oldest first."""
        found = [keyed for name, keyed in self._pending.items() if name != export]
        return sorted(found, key=lambda keyed: keyed.lease.granted)

    def surplus(self, export: str, asker: str, size_bytes: int) -> Keyed | None:
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

    def one_too_many(self, export: str, asker: str) -> Keyed | None:
        """Return the pending lease that ends so that ``asker`` may have one for ``export``.

        There is a number for each address, and one for all strangers together.
        """
        if not asker:
            return None
        strangers = self._strangers(export)
        held = Counter(keyed.asker for keyed in strangers)
        if len(strangers) >= PENDING_IN_TOTAL:
            asker = held.most_common(1)[0][0]
        elif asker == PLAYED or held[asker] < PENDING_OF_ADDRESS:
            return None
        return next(keyed for keyed in strangers if keyed.asker == asker)

    def heaviest(self) -> tuple[str, int]:
        """Return the seat with the most granted bytes, and these; an empty text without leases."""
        held = Counter[str]()
        for place in self.values():
            held[place.leases()[0].lease.seat] += place.size_bytes()
        return held.most_common(1)[0] if held else ("", 0)
