"""Events of the page server, as the journal of the room tells them."""

import logging
from ipaddress import IPv4Address

from netboot.boot.events import Journal
from netboot.pages.server import PageEvent
from netboot.serve.identity import Identity
from netboot.serve.room import Room

log = logging.getLogger(__name__)


class PageEvents:
    """Notes what happens to the swap of each seat, and who else uses its address."""

    def __init__(self, room: Room, identity: Identity, journal: Journal) -> None:
        self._room = room
        self._identity = identity
        self._journal = journal
        self._attached_by: dict[str, str] = {}  # MAC addresses by the addresses with swap in use

    def note(self, event: PageEvent) -> None:
        """Journal an event of the page server. A refused client is known by its address only.

        A server that looks at this one is refused too, but is no seat.
        """
        mac = event.seat
        if mac and event.kind in ("attach", "detach"):
            self._watch_address(event)
        if not mac and "address" in event.data:
            mac = self._identity.seat_at(IPv4Address(event.data["address"])) or ""
        if mac:
            if event.kind == "attach":
                self._journal.prove(mac)
            self._room.record(mac, f"pages:{event.kind}", event.message, **event.data)

    def _watch_address(self, event: PageEvent) -> None:
        """Warn if the address of a connection that ends has another MAC address than it had."""
        address = event.data["address"]
        known = self._identity.mac_of(IPv4Address(address))
        before = self._attached_by.get(address)
        if event.kind == "attach" and known is not None:
            self._attached_by[address] = known
        elif before is not None and known not in (None, before):
            message = f"its address {address} had the MAC address {before}, and has {known} now"
            log.warning("%s: %s: another machine has taken it", event.seat, message)
            self._room.record(event.seat, "identity", message, address=address)
        if event.kind == "detach" and not event.data["connections"]:
            self._attached_by.pop(address, None)
