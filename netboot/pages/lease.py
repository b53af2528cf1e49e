"""Leases: which seat may attach which swap area, and whether there is room for it. Pure.

A seat asks for a lease while it boots (grant) and its swap agent then attaches it with the token
that only this boot of this seat was told. Until then the leases of its boot before stay as they are:
a script fetched by somebody else must not take the swap from under a running PC.

While it runs it may ask for fresh ones: in place of one whose pages are lost, or for further areas,
each under an export name of its own, which it gives back when it needs them no more (end).

Fencing: the connections that a seat uses together are a set. The seat numbers its sets upwards and
says the number with the name, ``<export>@<token>.<number in hexadecimal>``; without one it is 0.
A connection of a higher set ends all lower ones, for good: a connection that was under way when
its seat gave it up cannot come in behind the new ones and write old pages.
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
# A PC that is switched off for the night finds its swap gone, as it would find its RAM gone.
LEASE_SECONDS = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Lease:
    """One swap area of one boot of one seat (MAC address ``aa:bb:cc:dd:ee:ff``).

    ``generation``: 32 hex digits, not a secret; another lease never has the same. ``granted``:
    seconds, by the caller's clock.
    """

    seat: str
    export: str
    size_bytes: int
    generation: str
    granted: float


@dataclass(frozen=True, slots=True)
class Attached:
    """A lease that a connection of ``set_number`` may use; ``fences``: older sets are to end."""

    lease: Lease
    set_number: int
    fences: bool = False


@dataclass(slots=True)
class _Keyed:
    lease: Lease
    token: bytes
    seen: float  # when it was granted, attached or let go
    set_number: int = 0
    attached: bool = False  # has been, so there may be pages
    in_use: bool = False
    lost: bool = False  # its pages are gone
    fresh: bool = False  # belongs to a boot that has swap; any other begins a boot


@dataclass(slots=True)
class _Place:
    """The leases of an export: the one in use, and one that was granted and is not attached yet."""

    attached: _Keyed | None = None
    pending: _Keyed | None = None

    def leases(self) -> list[_Keyed]:
        return [keyed for keyed in (self.pending, self.attached) if keyed is not None]

    def size_bytes(self) -> int:
        return max((keyed.lease.size_bytes for keyed in self.leases()), default=0)


class LeaseTable:
    """All leases of a room, of at most ``capacity_bytes`` times ``overcommit`` together.

    ``on_change`` is called after every grant and end: they must survive the server. After ``attach``
    it is for the caller to see to that, when the pages are there.
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
        """Promises ``size_bytes`` to ``seat`` under the name ``export``.

        The same export and token again give the same lease. Room is counted once for each export:
        its older lease ends when the new one is attached, and unless that is a ``fresh`` one for a
        boot which has swap already, so do all other leases of the seat.
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
        """Return the lease that a client means by its name (see above), or why it has none."""
        found = self._find(name)
        return found[0].lease if isinstance(found, tuple) else found

    def attach(self, name: WireName, now: float) -> Attached | Refused:
        """Like ``find``, and ends what this lease replaces if this is the first time."""
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
        """The seat needs ``export`` no more; that is true as well if there is none. Refused while it
        has connections: whoever asks may not be the one who uses it.
        """
        leases = self._places.get(export, _Place()).leases()
        if any(keyed.in_use for keyed in leases):
            return Refused(f"{export} is in use")
        for keyed in leases:
            self._end(keyed)
        self.on_change()
        return None

    def resume(self, generation: str) -> Lease | None:
        """A connection from before the server's restart goes on with its lease."""
        for keyed in self._all():
            if keyed.lease.generation == generation and keyed.attached and not keyed.lost:
                keyed.in_use = True
                return keyed.lease
        return None

    def let_go(self, generation: str, now: float) -> None:
        """The last connection of a lease has ended: from now on it ages."""
        for keyed in self._all():
            if keyed.lease.generation == generation:
                keyed.in_use, keyed.seen = False, now

    def lose(self, kept: Collection[str]) -> list[Lease]:
        """Of the leases with pages, those whose generation is not in ``kept`` are refused from now
        on: zeros for what was written would be worse.
        """
        gone = [each for each in self._all() if each.attached and each.lease.generation not in kept]
        for keyed in gone:
            keyed.lost = True
        return [keyed.lease for keyed in gone]

    def take_ended(self) -> list[Lease]:
        """Leases that ended since the last call: their pages are to be wiped."""
        ended, self._ended = self._ended, []
        return ended

    def as_json(self) -> list[dict[str, Any]]:
        """All leases, with their secrets, JSON-ready."""
        return [
            {**asdict(keyed.lease), **_state(keyed)}
            for place in self._places.values()
            for keyed in place.leases()
        ]

    def restore(self, saved: Iterable[Mapping[str, Any]], now: float) -> None:
        """Takes over what an earlier table's ``as_json`` gave. None of them is in use."""
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
        """Ends what nobody has used for so long. Looked at when a seat comes: it costs nothing."""
        for keyed in self._all():
            if not keyed.in_use and now - keyed.seen >= self._lease_seconds:
                self._end(keyed)

    def _replace_by(self, fresh: _Keyed) -> None:
        """A pending lease is attached for the first time."""
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
    # The token is random and its boot's alone, so a digest over it is unique and tells nothing.
    text = f"{export} {token} {size_bytes} {now!r}"
    return hashlib.blake2b(text.encode(), digest_size=GENERATION_BYTES).hexdigest()


def _readable(size_bytes: int) -> str:
    for shift, unit in ((30, "GiB"), (20, "MiB")):
        if size_bytes >= 1 << shift and size_bytes % (1 << shift) == 0:
            return f"{size_bytes >> shift} {unit}"
    return f"{size_bytes / (1 << 20):.1f} MiB"
