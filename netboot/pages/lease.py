"""Leases: the right of a seat to a swap area, granted while there is room. Pure.

A booting seat asks for a lease (grant). Its swap agent then attaches the lease with a token that
only this boot of this seat was given. Until then the leases of the previous boot remain valid: if
somebody else fetches the seat's script, a running PC must not lose its swap.

A running seat may ask for fresh leases: to replace one whose pages are lost, or for further areas.
Each further area has an export name of its own, and the seat returns it after use (end).

Fencing: the connections that a seat uses at a time are a set. The seat numbers its sets upwards and
gives the number with the name, ``<export>@<token>.<number in hexadecimal>``; the default is 0. A
connection of a higher set ends all lower sets for good. So a connection that its seat has given up
cannot arrive after the new ones and write old pages.
"""

import hashlib
import hmac
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from netboot.pages.nbd.export import Refusal, Refused
from netboot.pages.nbd.name import WireName

__all__ = ["Attached", "Lease", "LeaseTable", "Refused"]

GENERATION_BYTES = 16  # 128 bits
# A PC that stays off for a day finds its swap gone, as it finds its RAM gone.
LEASE_SECONDS = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Lease:
    """One swap area of one boot of one seat (MAC address ``aa:bb:cc:dd:ee:ff``).

    ``generation`` has 32 hexadecimal digits; it is unique to the lease and not a secret.
    ``granted`` is in seconds of the caller's clock.
    """

    seat: str
    export: str
    size_bytes: int
    generation: str
    granted: float


@dataclass(frozen=True, slots=True)
class Attached:
    """A lease that a connection of ``set_number`` may use. If ``fences``, older sets must end."""

    lease: Lease
    set_number: int
    fences: bool = False


@dataclass(slots=True)
class _Keyed:
    lease: Lease
    token: bytes
    seen: float  # when it was last granted, attached or let go, in seconds
    set_number: int = 0
    attached: bool = False  # at any time, so there may be pages
    in_use: bool = False
    lost: bool = False  # the server no longer has the pages
    fresh: bool = False  # further lease of a boot that has swap; any other begins a new boot


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
    ``attach`` the caller saves the table, as soon as the pages exist.
    """

    def __init__(
        self, capacity_bytes: int, overcommit: float = 1.0, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        self._capacity_bytes = int(capacity_bytes * overcommit)
        self._lease_seconds = lease_seconds
        self._places: dict[str, _Place] = {}
        self._ended: list[Lease] = []
        self.on_change: Callable[[], None] = lambda: None

    def grant(
        self,
        seat: str,
        export: str,
        token: str,
        size_bytes: int,
        now: float,
        *,
        fresh: bool = False,
    ) -> Lease | Refused:
        """Grant ``size_bytes`` to ``seat`` under the name ``export``.

        The same export and token return the same lease again. Capacity is counted once for each
        export: the older lease ends when the new one is attached. All other leases of the seat end
        as well, unless the new lease is ``fresh``: a further one for a boot that has swap already.
        """
        self._expire(now)
        place = self._places.get(export, _Place())
        known = _match(place, token)
        if known is not None:
            return known.lease
        left = self._capacity_bytes - sum(
            other.size_bytes() for name, other in self._places.items() if name != export
        )
        if size_bytes > left:
            asked, free, total = map(_readable, (size_bytes, max(left, 0), self._capacity_bytes))
            return Refused(f"no room: {asked} asked, {free} of {total} left")
        lease = Lease(seat, export, size_bytes, _generation(export, token, size_bytes, now), now)
        place.pending = _Keyed(lease, token.encode(), now, fresh=fresh)
        self._places[export] = place
        self.on_change()
        return lease

    def find(self, name: WireName) -> Lease | Refused:
        """Return the lease of ``name`` (see above), or the refusal."""
        found = self._find(name)
        return found[0].lease if isinstance(found, tuple) else found

    def attach(self, name: WireName, now: float) -> Attached | Refused:
        """Attach the lease of ``name``. The first time, end the leases that it replaces."""
        found = self._find(name)
        if isinstance(found, Refused):
            return found
        keyed, set_number = found
        if not keyed.attached:
            self._replace_by(keyed)
        fences = set_number > keyed.set_number
        keyed.set_number, keyed.seen = set_number, now
        keyed.attached = keyed.in_use = True
        self._expire(now)
        return Attached(keyed.lease, set_number, fences)

    def end(self, export: str) -> Refused | None:
        """End the lease of ``export`` because its seat no longer needs it; None if done.

        If there is no such lease, this is no error. Refused while the export has connections: the
        request may come from somebody else than the user of the area.
        """
        leases = self._places.get(export, _Place()).leases()
        if any(keyed.in_use for keyed in leases):
            return Refused(f"{export} is in use")
        for keyed in leases:
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

    def as_json(self) -> list[dict[str, Any]]:
        """Return all leases, secrets included, as JSON values."""
        return [
            {**asdict(keyed.lease), **_state(keyed)}
            for place in self._places.values()
            for keyed in place.leases()
        ]

    def restore(self, saved: Iterable[Mapping[str, Any]], now: float) -> None:
        """Restore leases from ``as_json`` of an earlier table. None of them is in use."""
        for row in saved:
            lease = Lease(*(row[name] for name in Lease.__slots__))
            keyed = _Keyed(lease, row["token"].encode(), now, row["set_number"], row["attached"])
            keyed.lost, keyed.fresh = row["lost"], row.get("fresh", False)
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
            if not keyed.in_use and now - keyed.seen >= self._lease_seconds:
                self._end(keyed)

    def _replace_by(self, fresh: _Keyed) -> None:
        """End the leases that ``fresh``, attached for the first time, replaces."""
        seat, export = fresh.lease.seat, fresh.lease.export
        for old in self._all():
            same_boot = fresh.fresh or old.lease.seat != seat
            if old is not fresh and (old.lease.export == export or not same_boot):
                self._end(old)
        place = self._places[export]
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

    def _find(self, name: WireName) -> tuple[_Keyed, int] | Refused:
        place = self._places.get(name.export)
        if place is None:
            return Refused("no such export", Refusal.UNKNOWN)
        keyed = _match(place, name.token)
        if keyed is None or name.set_number is None:
            return Refused(f"wrong token for export {name.export}")
        if keyed.lost:
            return Refused(f"this server no longer has the pages of {name.export}")
        if name.set_number < keyed.set_number:
            number = f"set {name.set_number:x} of {name.export}"
            return Refused(f"{number} has been replaced by a newer one")
        return keyed, name.set_number


def _state(keyed: _Keyed) -> dict[str, Any]:
    return {
        "token": keyed.token.decode(),
        "set_number": keyed.set_number,
        "attached": keyed.attached,
        "lost": keyed.lost,
        "fresh": keyed.fresh,
    }


def _match(place: _Place, token: str) -> _Keyed | None:
    given = token.encode()
    for keyed in place.leases():
        if hmac.compare_digest(keyed.token, given):
            return keyed
    return None


def _generation(export: str, token: str, size_bytes: int, now: float) -> str:
    # Each boot has a random token, so a digest over the token is unique and reveals nothing.
    text = f"{export} {token} {size_bytes} {now!r}"
    return hashlib.blake2b(text.encode(), digest_size=GENERATION_BYTES).hexdigest()


def _readable(size_bytes: int) -> str:
    for shift, unit in ((30, "GiB"), (20, "MiB")):
        if size_bytes >= 1 << shift and size_bytes % (1 << shift) == 0:
            return f"{size_bytes >> shift} {unit}"
    return f"{size_bytes / (1 << 20):.1f} MiB"
