"""Doors: who may ask for what is a seat's. Each question has a ticket or a session, and an address.

| with | from | opens |
|---|---|---|
| a session | the seat's address, or one that is no other known seat's | all of that boot |
| a ticket, or a session that expired | the seat's address only | a new boot, and what a running PC asks |

A ticket is broadcast, so the address decides. PCs that an older release booted have a ticket only.
Linux may use another card than iPXE (a dock, a second port), so a session opens from there as well.
"""

import logging
import secrets
import time
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from netboot.boot import ticket
from netboot.boot.client import is_played
from netboot.errors import DeniedError
from netboot.host.complaints import Complaints
from netboot.serve.identity import Identity
from netboot.serve.seats import Seats

log = logging.getLogger(__name__)

UNKNOWN = "whose MAC address is not known: it is behind a router that is not in dhcp.networks"


@dataclass(slots=True)
class Doors:
    """The doors of the room with this ``secret``."""

    secret: bytes = field(repr=False)
    seats: Seats = field(repr=False)
    identity: Identity
    _complaints: Complaints = field(default_factory=lambda: Complaints(log), repr=False)

    def admit(self, text: str, address: IPv4Address, *, begins: bool = False) -> ticket.Key | None:
        """Return the ticket or session ``text`` if ``address`` may use it; None if it is not ours.

        ``begins``: to begin a boot, for which a session is not enough. Raises DeniedError, after a
        warning in the seat's history.
        """
        key = ticket.read(self.secret, text, time.time())
        if key is None or is_played(key.mac):  # what a played PC can get is one page
            return key
        if key.session and not begins:
            known = self.identity.mac_of(address)
            if known is not None and known != key.mac and self.seats.is_known(known):
                raise self._denied(key.mac, address, known)
        elif not self.identity.is_at(address, key.mac):
            raise self._denied(key.mac, address, self.identity.mac_of(address))
        if begins:
            self.seats.of(key.mac).began = True
        return key

    def begin(self, mac: str) -> str:
        """Return the session of a new boot."""
        return ticket.begin(self.secret, mac, secrets.token_bytes(ticket.NONCE_BYTES), time.time())

    def is_good(self, session: str) -> bool:
        """Return True if ``session`` is one that has not expired."""
        key = ticket.read(self.secret, session, time.time())
        return key is not None and key.session != ""

    def _denied(self, mac: str, address: IPv4Address, known: str | None) -> DeniedError:
        where = UNKNOWN if known is None else f"which has the MAC address {known}"
        message = f"asked for by {address}, {where}"
        # One event for each line of the log: else strangers would push the seat's own events out.
        # A machine with many addresses is one sender.
        if self._complaints.warn(f"{known or address} {mac}", "%s: %s", mac, message):
            self.seats.record(mac, "identity", message, address=str(address))
        return DeniedError(f"this is for {mac}, {message}")
