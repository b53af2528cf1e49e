"""Claims: the places of the server that a seat has from its first connection on. Pure.

A seat that opens several connections gets places for all of them at once, or none. Otherwise those
that got one of two places would keep it from the others, and nobody would have swap.
"""

from collections import Counter
from dataclasses import dataclass


@dataclass(slots=True)
class _Claim:
    """``places``: how many there are, None for one for each that is held."""

    address: str
    places: int | None
    held: int = 0

    @property
    def size(self) -> int:
        """Return the number of places that are taken."""
        return self.held if self.places is None else self.places


class Held:
    """A place for a connection, until its ``release``. It may be released twice.

    ``is_used``: the connection is there, and releases it at its end.
    """

    def __init__(self, claims: "Claims", key: str) -> None:
        self._claims: Claims | None = claims
        self._key = key
        self.is_used = False

    def release(self) -> None:
        """Give the place back. The claim ends with its last connection."""
        if self._claims is not None:
            self._claims.release(self._key)
            self._claims = None


class Claims:
    """All claims: by the lease if it has a number of places, else by lease and address."""

    def __init__(self) -> None:
        self._claims: dict[str, _Claim] = {}
        self.in_total = 0
        self._of_address: Counter[str] = Counter()

    def of_address(self, address: str) -> int:
        """Return the places of an address."""
        return self._of_address[address]

    def of_lease(self, lease: str, address: str = "") -> int:
        """Return the places that a lease has as a whole; with ``address`` those that count there."""
        found = self._claims.get(lease)
        return 0 if found is None or address not in ("", found.address) else found.size

    def hold(self, lease: str, address: str, places: int | None) -> Held:
        """Take a place for a connection, and with the first of a lease all of its ``places``."""
        key = lease if places is not None else f"{lease} {address}"
        claim = self._claims.setdefault(key, _Claim(address, places))
        self._count(claim, -1)
        claim.held += 1
        claim.address = address  # a seat that has moved gives up its connections at the old one
        self._count(claim, 1)
        return Held(self, key)

    def release(self, key: str) -> None:
        """Give a place of a claim back; see ``Held``."""
        claim = self._claims[key]
        self._count(claim, -1)
        claim.held -= 1
        if claim.held:
            self._count(claim, 1)
        else:
            del self._claims[key]

    def _count(self, claim: _Claim, sign: int) -> None:
        if not claim.held:
            return
        self.in_total += sign * claim.size
        self._of_address[claim.address] += sign * claim.size
        if not self._of_address[claim.address]:
            del self._of_address[claim.address]
