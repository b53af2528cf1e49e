"""Leases: which seat may attach which swap area, and whether there is room for it. Pure.

A seat asks for a lease while it boots (grant) and its swap agent then attaches it with the token
that only this boot of this seat was told. Until then the lease of its boot before stays as it is:
a script fetched by somebody else must not take the swap from under a running PC.
"""

import hashlib
import hmac
from dataclasses import dataclass

from netboot.nbd.export import Refusal, Refused

__all__ = ["Lease", "LeaseTable", "Refused"]

GENERATION_BYTES = 16  # 128 bits


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
class _Keyed:
    lease: Lease
    token: bytes


@dataclass(slots=True)
class _Place:
    """A seat's leases: the one in use, and the one granted to a boot that is under way."""

    attached: _Keyed | None = None
    pending: _Keyed | None = None

    def leases(self) -> list[_Keyed]:
        return [keyed for keyed in (self.pending, self.attached) if keyed is not None]

    def size_bytes(self) -> int:
        return max((keyed.lease.size_bytes for keyed in self.leases()), default=0)


class LeaseTable:
    """All leases of a room, of at most ``capacity_bytes`` together."""

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity_bytes = capacity_bytes
        self._places: dict[str, _Place] = {}
        self._ended: list[Lease] = []

    def grant(
        self, seat: str, export: str, token: str, size_bytes: int, now: float
    ) -> Lease | Refused:
        """Promises ``size_bytes`` to a boot of ``seat`` under the name ``export``.

        The same export and token again give the same lease. Room is counted once for each export:
        a seat's older lease ends when the new one is attached.
        """
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
        place.pending = _Keyed(lease, token.encode())
        self._places[export] = place
        return lease

    def find(self, wire_name: str) -> Lease | Refused:
        """The lease that a client means by ``<export>@<token>``, or why it has none."""
        found = self._find(wire_name)
        return found.lease if isinstance(found, _Keyed) else found

    def attach(self, wire_name: str) -> Lease | Refused:
        """Like ``find``, and ends the older lease of the seat if this is the first time."""
        found = self._find(wire_name)
        if isinstance(found, Refused):
            return found
        place = self._places[found.lease.export]
        if found is place.pending:
            if place.attached is not None:
                self._ended.append(place.attached.lease)
            place.attached, place.pending = found, None
        return found.lease

    def take_ended(self) -> list[Lease]:
        """Leases that ended since the last call: their pages are to be wiped."""
        ended, self._ended = self._ended, []
        return ended

    def _find(self, wire_name: str) -> _Keyed | Refused:
        export, _, token = wire_name.partition("@")
        place = self._places.get(export)
        if place is None:
            return Refused("no such export", Refusal.UNKNOWN)
        return _match(place, token) or Refused(f"wrong token for export {export}")


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
