"""What is known of each PC of a room: its settings, card, token, attempts, and what it reported."""

import math
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from netboot.boot.attempts import Attempts
from netboot.boot.client import PROBE_MAC, is_played
from netboot.boot.events import BootEvent, Journal
from netboot.profile.profile import Profile, Seat
from netboot.serve.http.beacon import Beacon

TOKEN_BYTES = 16


@dataclass(slots=True)
class SeatState:
    """What is known of one PC. ``settings`` are those of the profile, merged once."""

    settings: Seat
    attempts: Attempts = field(default_factory=Attempts)
    nic: tuple[int, int] | None = None  # PCI vendor and device
    token: str = field(default="", repr=False)  # opens this boot's swap; empty before the first
    unproven: bool = False  # it was sent slices of the initramfs that have not proved good

    @property
    def mac(self) -> str:
        """The MAC address, ``aa:bb:cc:dd:ee:ff``."""
        return self.settings.mac

    @property
    def is_probe(self) -> bool:
        """Whether this is the doctor, which asks as our iPXE and waits for no turn."""
        return self.mac == PROBE_MAC

    @property
    def is_played(self) -> bool:
        """Whether this is no PC but a doctor or a storm: it is in no list, and its swap is a page."""
        return is_played(self.mac)


def new_token() -> str:
    """Return a token: 128 random bits in hexadecimal."""
    return secrets.token_hex(TOKEN_BYTES)


class Seats:
    """The seats of ``profile`` by MAC address; what happens to them goes to ``journal``."""

    def __init__(self, profile: Profile, journal: Journal) -> None:
        self._profile = profile
        self._states: dict[str, SeatState] = {}
        self.journal = journal

    def of(self, mac: str) -> SeatState:
        """Return what is known of ``mac``; nothing yet of a PC that is new here."""
        state = self._states.get(mac)
        if state is None:
            state = self._states[mac] = SeatState(self._profile.seat(mac))
        return state

    def record(self, mac: str, stage: str, message: str, **data: Any) -> None:
        """Journal an event."""
        self.journal.record(BootEvent(time.time(), mac, stage, message, data))

    def report(self, mac: str, stage: str, beacon: Beacon) -> None:
        """Journal a beacon at the time when it was made, and only once.

        A PC sends a beacon again if the answer did not come in time, so a server that stalled has
        it twice.
        """
        told = _beacons_of_this_boot(self.journal.history(mac))
        said = (stage, beacon.message, beacon.data)  # two areas of a PC may say the same at once
        if said in ((event.stage, event.message, event.data) for event in told):
            return
        when = time.time() - beacon.age
        if stage == "init:start" and "uptime" in beacon.data:
            started = BootEvent(when - beacon.data["uptime"], mac, "kernel", "Linux starts")
            self.journal.record(started)
        # A beacon's way here takes a moment, the first one's longer than the others', and beacons may
        # overtake each other: none is placed before an earlier one of this boot.
        uptime = beacon.data.get("uptime", math.inf)
        when = max([when, *(event.when for event in told if event.data["uptime"] <= uptime)])
        self.journal.record(BootEvent(when, mac, stage, beacon.message, beacon.data))

    def as_json(self) -> list[dict[str, Any]]:
        """Return the seats that had events, JSON-ready and without secrets; played PCs are left out."""
        listed = [self.of(mac) for mac in self.journal.seats() if not is_played(mac)]
        return [
            {
                "mac": seat.mac,
                "hostname": seat.settings.hostname,
                "events": [event.as_json() for event in self.journal.history(seat.mac)],
            }
            for seat in listed
        ]


def _beacons_of_this_boot(history: list[BootEvent]) -> list[BootEvent]:
    """Return the beacons after the last file that was fetched over HTTP: then Linux starts."""
    files = [number for number, event in enumerate(history) if event.stage == "http"]
    begin = files[-1] + 1 if files else 0
    return [event for event in history[begin:] if "uptime" in event.data]
