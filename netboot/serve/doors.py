"""Doors: who may ask for what is a seat's. The address that asks decides.

| with | from | opens |
|---|---|---|
| a session | the seat's address, or one that is no other known seat's | all of that boot |
| a ticket, or a session that expired | the seat's address only | what a running PC asks |
| any of them, a MAC address, or nothing | the seat's address only | a new boot, if the PC does not run |

PCs that 0.1.0 booted have a ticket only. Linux may use another card than iPXE (a dock, a second
port), so a session opens from there as well. Users of a seat ask from its address, too: so a PC
that runs begins no boot unless its firmware or its loader asked DHCP, for which users lack the
right.
"""

import logging
import secrets
import time
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from netboot.boot import ticket
from netboot.boot.client import is_played
from netboot.boot.keyring import Keyring
from netboot.errors import DeniedError
from netboot.host.complaints import Complaints
from netboot.serve.identity import Identity
from netboot.serve.seats import Seats

log = logging.getLogger(__name__)

UNKNOWN = "whose MAC address is not known: it is behind a router that is not in dhcp.networks"
RUNS = "which begins a boot, but this PC runs, and its firmware did not ask DHCP again"


# The words for a file that the server does not give (docs/troubleshooting.md).
SHOWS = {
    "tftp": "a TFTP error, PXE-E3B (BIOS) or PXE-E23 (UEFI)",
    "http": "'No such file or directory' (iPXE) or an HTTP error (UEFI)",
}


@dataclass(slots=True)
class Doors:
    """The doors of the room with these ``keys``."""

    keys: Keyring = field(repr=False)
    seats: Seats = field(repr=False)
    identity: Identity
    _complaints: Complaints = field(default_factory=lambda: Complaints(log), repr=False)

    def admit(self, text: str, address: IPv4Address) -> ticket.Key | None:
        """Return the ticket or session ``text`` if ``address`` may use it; None if it is not ours.

        Note that its PC runs: Linux asks. Raises DeniedError, after a warning in the seat's history.
        """
        key = self._admitted(text, address)
        if key is not None and not is_played(key.mac):
            self.seats.of(key.mac).heard(time.monotonic(), str(address))
        return key

    def open(self, who: str, address: IPv4Address, *, begins: bool = False) -> ticket.Key | None:
        """Return the seat of a loader that asks for a boot file; None if ``who`` is not ours.

        ``who`` is a ticket, a session or a MAC address, or empty (see ticket.split). ``begins``: to
        begin a boot, for which a session is not enough. Raises DeniedError, after a warning in the
        seat's history.
        """
        if who and not ticket.is_mac(who):
            key = self._admitted(who, address, begins=begins)
        else:
            key = ticket.Key(who or self._at(address))
            if not is_played(key.mac) and not self.identity.is_at(address, key.mac):
                raise self._denied(key.mac, address, self._where(address))
        if key is not None and begins and not is_played(key.mac):
            if self.seats.runs(key.mac, time.monotonic()):
                raise self._denied(key.mac, address, RUNS)
            self.seats.of(key.mac).began = True
        return key

    def refused(
        self,
        mac: str | None,
        address: IPv4Address,
        door: str,
        name: str,
        reason: str,
        *,
        stage: str = "",
    ) -> None:
        """Tell of a boot file that was refused: a warning, and an event of the seat if it is known.

        ``door`` is tftp or http, and the event's stage if there is no other. ``name`` is the file
        that ``address`` asked for. A machine is told of once a minute.
        """
        told = f"{ticket.redacted(name)}: refused: {reason}; the PC shows: {SHOWS[door]}"
        machine = mac or self.identity.mac_of(address)
        where = f"{machine} at {address}" if machine else f"{address}"
        is_told = self._complaints.warn(
            machine or str(address), "%s: %s: %s", door.upper(), where, told
        )
        if mac is not None and is_told:
            self.seats.record(mac, stage or door, told, file=ticket.redacted(name), bytes=0)

    def begin(self, mac: str) -> str:
        """Return the session of a new boot."""
        return self.keys.begin(mac, secrets.token_bytes(ticket.NONCE_BYTES), time.time())

    def is_good(self, session: str) -> bool:
        """Return True if ``session`` is one that has not expired."""
        key = self.keys.read(session, self.identity.earliest())
        return key is not None and key.session != ""

    def _admitted(
        self, text: str, address: IPv4Address, *, begins: bool = False
    ) -> ticket.Key | None:
        key = self.keys.read(text, self.identity.earliest())
        if key is None or is_played(key.mac):  # what a played PC can get is one page
            return key
        if key.session and not begins:
            known = self.identity.mac_of(address)
            if known is not None and known != key.mac and self.seats.is_known(known):
                raise self._denied(key.mac, address, self._where(address))
        elif not self.identity.is_at(address, key.mac):
            raise self._denied(key.mac, address, self._where(address))
        return key

    def _at(self, address: IPv4Address) -> str:
        """Return the MAC address at ``address``. Raises DeniedError, after a warning."""
        mac = self.identity.mac_of(address)
        if mac is None:
            message = f"refused a boot file to {address}, {UNKNOWN}"
            self._complaints.warn(str(address), "%s", message)
            raise DeniedError(message)
        return mac

    def _where(self, address: IPv4Address) -> str:
        known = self.identity.mac_of(address)
        return UNKNOWN if known is None else f"which has the MAC address {known}"

    def _denied(self, mac: str, address: IPv4Address, where: str) -> DeniedError:
        message = f"refused a request of {address}, {where}"
        # One event for each line of the log: else strangers would push the seat's own events out. A
        # machine with many addresses is one sender, and one that makes up MAC addresses has one line.
        machine = self.identity.mac_of(address) or str(address)
        sender = f"{machine} {mac}" if self.seats.is_known(mac) else machine
        if self._complaints.warn(sender, "%s: %s", mac, message):
            self.seats.record(mac, "identity", message, address=str(address))
        return DeniedError(f"this is for {mac}: {message}")
