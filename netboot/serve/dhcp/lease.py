"""LeasePool: the addresses of PCs in full mode. Pure: ``now`` is seconds since the epoch.

The clock of ``now`` must be one that nobody sets (netboot.host.clock).

A PC gets the same address again for as long as no other PC needs it. Its loader, its initramfs
and its userland each ask for an address, and its swap connection depends on that address.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from itertools import chain, islice
from math import inf, isfinite
from typing import Any
from zlib import crc32

from netboot.profile.fields import AddressRange

# An offer is kept for a client that answers late: boot ROMs retry for 60 s (PXE 2.1, 4+8+16+32).
OFFER_SECONDS = 60
# An address that is offered again within this time is not probed again.
PROBE_SECONDS = 60
# A PC asks for its address in each stage of a boot. If the network has a bridge that answers ARP for
# its PCs, as Wi-Fi bridges do, a probe of the address that it has just got finds that bridge.
RECENT_SECONDS = 600
# A declined address belongs to an unknown machine, which may be gone after the break of a lesson.
DECLINE_SECONDS = 600
# A mere offer that is this old goes to another PC if the pool has nothing else: firmware chooses
# among the offers of 4 s (PXE 2.1 section 2.2.5), and made-up PCs never choose.
YOUNG_SECONDS = 10


@dataclass(slots=True)  # not frozen: see netboot.serve.dhcp.packet
class Lease:
    """The address of one PC, its ``owner`` (see LeasePool), until ``expires``.

    ``expires`` is seconds since the epoch. ``acknowledged`` is False for a mere offer.
    """

    owner: str
    address: IPv4Address
    expires: float
    acknowledged: bool


class LeasePool:
    """The addresses of one range, and those reserved for one owner each (in the range or not).

    An owner is any text that tells one PC from another: its MAC address, or its client identifier
    if that has a reservation. ``taken`` are addresses of the range that are never given out, those
    of servers and of the router. ``lease_time`` is in seconds. ``changes`` counts the changes that
    must be saved.

    ``half`` is 0 or 1 if another boot server gives out addresses of this range too, without a word
    between the two. Both find the same place for a PC by its hash; if that is not free, each looks
    in its own half first. None: the range is ours alone.
    """

    def __init__(
        self,
        addresses: AddressRange,
        lease_time: int,
        reservations: Mapping[str, IPv4Address] | None = None,
        taken: Collection[IPv4Address] = (),
    ) -> None:
        self.lease_time = lease_time
        self.changes = 0
        # Addresses as numbers, whose hash costs nothing: an offer looks up fifteen.
        self._touched: set[int] = set()
        self.half: int | None = None
        self._first = int(addresses.first)
        self._size = int(addresses.last) - self._first + 1
        self._reservations = dict(reservations or {})
        self._owners = {int(address): owner for owner, address in self._reservations.items()}
        self._taken = frozenset(map(int, taken))
        self._by_owner: dict[str, Lease] = {}
        self._by_address: dict[int, Lease] = {}
        self._declined: dict[int, float] = {}  # the end of its rest
        self._probed: dict[int, float] = {}  # the time of the last probe
        self._disliked: dict[str, tuple[IPv4Address, float]] = {}  # what each owner declined last
        self._looked: dict[int, float] = {}  # when its holder was last looked for

    def offer(
        self, owner: str, now: float, wanted: IPv4Address | None = None
    ) -> IPv4Address | None:
        """Hold an address for ``owner`` and return it, or None if all are in use.

        In this order: its reservation, its last address, the ``wanted`` one, an address that no PC
        ever had, the address that expired first, the oldest that was only offered.
        """
        address = self._choose(owner, now, wanted)
        if address is None:
            return None
        until = now + OFFER_SECONDS
        held = self._by_owner.get(owner)
        if held is None or held.address != address:
            self._keep(Lease(owner, address, until, acknowledged=False))
        elif self.half is not None and held.expires <= now:
            # The other server may have given it to another PC since.
            self._keep(Lease(owner, address, until, acknowledged=False))
        elif held.expires < until:
            self._keep(replace(held, expires=until))
        return address

    def commit(
        self, owner: str, address: IPv4Address, now: float, most_seconds: float = inf
    ) -> bool:
        """Lease ``address`` to ``owner`` from ``now``. Return False if it must not have it.

        The lease lasts for ``lease_time``, or ``most_seconds`` if that is less.
        """
        if int(address) in self._taken and int(address) not in self._owners:
            return False  # it became a server's
        held = self._by_owner.get(owner)
        # A PC keeps its address even if the profile has changed: else it would lose its swap.
        # While it has that address it gets no other one (RFC 2131 section 4.3.2, INIT-REBOOT).
        if held is None or held.address != address:
            has_another = held is not None and held.expires > now
            if has_another or not self._is_free(int(address), owner, now):
                return False
        until = now + min(self.lease_time, most_seconds)
        self._keep(Lease(owner, address, until, acknowledged=True))
        self.changes += 1
        return True

    def release(self, owner: str, address: IPv4Address, now: float) -> None:
        """End the lease of ``owner``, which gets ``address`` again while no other PC needs it."""
        held = self._by_owner.get(owner)
        if held is not None and held.address == address:
            self._keep(replace(held, expires=now))
            self.changes += 1

    def forget(self, owner: str, address: IPv4Address) -> None:
        """End the lease of ``owner``, which never comes again."""
        held = self._by_owner.get(owner)
        if held is not None and held.address == address:
            self._forget(held)
            self.changes += 1

    def withdraw(self, owner: str) -> None:
        """Withdraw an offer: ``owner`` chose that of another server."""
        held = self._by_owner.get(owner)
        if held is not None and not held.acknowledged:
            self._forget(held)

    def dislike(self, owner: str, address: IPv4Address, now: float) -> bool:
        """Offer ``owner`` another address from now on: it says that another machine has this one.

        Return False if ``address`` is not its own. Anybody can say so for a made-up PC, so the
        address stays in the pool, and a lease stays as it is.
        """
        held = self._by_owner.get(owner)
        if held is None or held.address != address:
            return False
        self._disliked.pop(owner, None)
        if len(self._disliked) >= self._size:
            del self._disliked[next(iter(self._disliked))]
        self._disliked[owner] = (address, now + DECLINE_SECONDS)
        if not held.acknowledged:
            self._forget(held)
        return True

    def like(self, owner: str) -> None:
        """Take back what ``dislike`` did: ``owner`` itself answers at its address."""
        self._disliked.pop(owner, None)

    def decline(self, owner: str, address: IPv4Address, now: float) -> None:
        """Rest ``address`` for ``DECLINE_SECONDS``: ``owner`` found another machine there.

        Do nothing if a third PC has it by now.
        """
        held = self._by_address.get(int(address))
        if held is not None and held.owner != owner:
            return
        if held is not None:
            self._forget(held)
        self._declined[int(address)] = now + DECLINE_SECONDS
        self.changes += 1

    def is_unproven(self, address: IPv4Address, now: float) -> bool:
        """Return True if ``address`` is only offered, and was not probed in ``PROBE_SECONDS``.

        With another server beside us, a lease of ours proves little. The caller must probe the
        address then: for that time the answer is False.
        """
        held = self._by_address.get(int(address))
        if held is None:
            return False
        is_recent = now - (held.expires - self.lease_time) < RECENT_SECONDS
        if held.acknowledged and (self.half is None or is_recent):
            return False
        if self._probed.get(int(address), now - PROBE_SECONDS) > now - PROBE_SECONDS:
            return False
        self._probed[int(address)] = now
        return True

    def occupied(self, address: IPv4Address, now: float) -> bool:
        """Withdraw the offer of ``address``, at which an unknown machine answers.

        Return False if it is too late, because the address is leased already.
        """
        held = self._by_address.get(int(address))
        if held is not None and held.acknowledged and held.expires > now:
            # A lease of before the probe is not too late: the PC has asked again since.
            probed = self._probed.get(int(address), 0.0)
            if self.half is None or held.expires - self.lease_time >= probed:
                return False
            self.changes += 1
        if held is not None:
            self._forget(held)
        self._declined[int(address)] = now + DECLINE_SECONDS
        return True

    def held(
        self, owner: str, is_spared: Callable[[str], bool], now: float, most: int
    ) -> list[IPv4Address]:
        """Return up to ``most`` addresses that others hold and ``owner`` may have.

        Holders that are spared do not count. The caller must look for the machines: those that it
        did not look for come first, then those with the oldest leases.
        """
        found = [
            lease
            for lease in self._by_address.values()
            if lease.expires > now
            and not is_spared(lease.owner)
            and self._may_have(int(lease.address), owner)
        ]
        found.sort(key=lambda lease: (self._looked.get(int(lease.address), 0.0), lease.expires))
        addresses = [lease.address for lease in found[:most]]
        self._looked |= dict.fromkeys(map(int, addresses), now)
        return addresses

    def hand_over(self, address: IPv4Address, owner: str, now: float) -> None:
        """Offer ``owner`` the ``address`` of a holder whose machine does not answer.

        Do nothing if ``owner`` has an address by now.
        """
        own = self._by_owner.get(owner)
        if own is not None and own.expires > now:
            return
        held = self._by_address.get(int(address))
        self.changes += held is not None and held.acknowledged
        self._probed.pop(int(address), None)  # the offer is probed once more
        self._keep(Lease(owner, address, now + OFFER_SECONDS, acknowledged=False))

    def is_doubtful(self, owner: str, address: IPv4Address, now: float) -> bool:
        """Return True if ``owner`` may have ``address`` of the other server, and we do not know.

        The caller must look for the machine there before it leases the address.
        """
        if self.half is None or not (self._may_have(int(address), owner) and self.covers(address)):
            return False
        held = self._by_owner.get(owner)
        return held is None or held.address != address or held.expires <= now

    def adopt(self, owner: str, address: IPv4Address, now: float, *, proven: bool) -> None:
        """Hold ``address`` for ``owner``, which says that the other server gave it.

        ``proven``: its machine answers there. Otherwise no machine does, and a holder that we know
        keeps the address.
        """
        number = int(address)
        if not self._may_have(number, owner) or not (proven or self._is_free(number, owner, now)):
            return
        known = (self._by_address.get(int(address)), self._by_owner.get(owner))
        self.changes += any(lease is not None and lease.acknowledged for lease in known)
        self._keep(Lease(owner, address, now + OFFER_SECONDS, acknowledged=False))

    def address_of(self, owner: str) -> IPv4Address | None:
        """Return the last address of ``owner``, or None if it has none or another PC has it now."""
        held = self._by_owner.get(owner)
        return None if held is None else held.address

    def owner_of(self, address: IPv4Address) -> str | None:
        """Return the last owner of ``address``, or None if no PC had it."""
        held = self._by_address.get(int(address))
        return None if held is None else held.owner

    def reserves(self, owner: str) -> bool:
        """Return True if ``owner`` has a reservation here."""
        return owner in self._reservations

    def shorten(self, now: float) -> None:
        """End each lease as early as one of now would: the clock of its time was another one."""
        latest = now + self.lease_time
        for lease in list(self._by_address.values()):
            if lease.expires > latest:
                self._keep(replace(lease, expires=latest))

    def avoid(self, taken: Collection[IPv4Address]) -> None:
        """Never give out the addresses ``taken`` from now on, instead of those of the beginning."""
        self._taken = frozenset(map(int, taken))

    def covers(self, address: IPv4Address) -> bool:
        """Return True if this pool gives out ``address``, to any owner."""
        return self._covers(int(address))

    def _covers(self, number: int) -> bool:
        return number in self._owners or 0 <= number - self._first < self._size

    def as_json(self) -> dict[str, Any]:
        """Return all leases JSON-ready, also expired ones, by which PCs get their address again."""
        return {
            "leases": [
                {"client": lease.owner, "address": str(lease.address), "expires": lease.expires}
                for lease in self._by_address.values()
                if lease.acknowledged
            ]
        }

    def take_touched(self) -> Iterator[tuple[int, str | None]]:
        """Yield the addresses, as numbers, whose leases differ since the last call, and their owners.

        The owner of an address without a lease, or with a mere offer, is None.
        """
        touched, self._touched = self._touched, set()
        for number in touched:
            held = self._by_address.get(number)
            yield number, held.owner if held is not None and held.acknowledged else None

    def restore(self, saved: Any) -> None:
        """Take over the leases of ``as_json``. Drop addresses that the profile no longer allows.

        Raises ValueError if ``saved`` does not have that shape.
        """
        try:
            leases = [
                Lease(str(row["client"]), IPv4Address(row["address"]), float(row["expires"]), True)
                for row in saved["leases"]
            ]
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"not a list of leases: {error!r}") from error
        if not all(isfinite(lease.expires) for lease in leases):
            raise ValueError("not a list of leases: an end that is no time")
        for lease in leases:
            if self._may_have(int(lease.address), lease.owner):
                self._keep(lease)

    def _choose(self, owner: str, now: float, wanted: IPv4Address | None) -> IPv4Address | None:
        disliked, until = self._disliked.get(owner, (None, now))
        if until <= now:
            disliked = None
        for address in (self._reservations.get(owner), self.address_of(owner), wanted):
            if address is None or address == disliked:
                continue
            if self._is_free(int(address), owner, now):
                return address
        unwanted = None if disliked is None else int(disliked)
        for number in self._places(owner):
            if number in self._by_address or number == unwanted:
                continue
            if self._is_free(number, owner, now):
                return IPv4Address(number)
        others = [lease for lease in self._by_address.values() if lease.address != disliked]
        expired = [
            lease
            for lease in others
            if lease.expires <= now and self._is_free(int(lease.address), owner, now)
        ]
        offered = [
            lease
            for lease in others
            if not lease.acknowledged
            and lease.expires <= now + OFFER_SECONDS - YOUNG_SECONDS
            and self._may_have(int(lease.address), owner)
        ]
        found = expired or offered
        found.sort(key=lambda lease: (not self._is_in_own_half(int(lease.address)), lease.expires))
        return found[0].address if found else None

    def _places(self, owner: str) -> Iterator[int]:
        """Return the addresses of the range from the best one for ``owner`` on.

        By the owner's hash, so that a PC gets its address again even if the lease file is lost, and
        from another server.
        """
        first, end = self._first, self._first + self._size
        start = first + crc32(owner.encode()) % self._size

        def every() -> Iterator[int]:
            return chain(range(start, end), range(first, start))

        if self.half is None:
            return every()
        return chain(
            islice((each for each in every() if self._may_have(each, owner)), 1),
            (each for each in every() if self._is_in_own_half(each)),
            (each for each in every() if not self._is_in_own_half(each)),
        )

    def _is_in_own_half(self, number: int) -> bool:
        """Return True if the other boot server looks for places elsewhere first."""
        return self.half is None or (number - self._first) * 2 // self._size == self.half

    def _may_have(self, number: int, owner: str) -> bool:
        """Return True if the address is reserved for ``owner``, or unreserved and in the range."""
        if number in self._owners:
            return self._owners[number] == owner
        return self._covers(number) and number not in self._taken

    def _is_free(self, number: int, owner: str, now: float) -> bool:
        if not self._may_have(number, owner) or self._declined.get(number, now) > now:
            return False
        holder = self._by_address.get(number)
        return holder is None or holder.owner == owner or holder.expires <= now

    def _keep(self, lease: Lease) -> None:
        """File ``lease`` under its two keys, and remove any other lease under either."""
        number = int(lease.address)
        for old in (self._by_owner.get(lease.owner), self._by_address.get(number)):
            if old is not None:
                self._forget(old)
        self._by_owner[lease.owner] = lease
        self._by_address[number] = lease
        self._touched.add(number)

    def _forget(self, lease: Lease) -> None:
        number = int(lease.address)
        self._by_owner.pop(lease.owner, None)
        self._by_address.pop(number, None)
        self._touched.add(number)
