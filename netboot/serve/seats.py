"""The state of each PC of a room: its settings, card, token, attempts and reports."""

import itertools
import json
import logging
import math
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from netboot.boot.attempts import Attempts
from netboot.boot.client import PROBE_MAC, Client, is_played
from netboot.boot.events import BootEvent, Journal
from netboot.boot.flapping import STAGE as FLAPPING
from netboot.boot.flapping import Flapping
from netboot.boot.limits import JOURNAL_STRANGERS, STATUS_BYTES
from netboot.feed.records import Report
from netboot.host.complaints import Complaints
from netboot.profile.profile import Profile, Seat
from netboot.roots.uses import Use
from netboot.serve.http.beacon import Beacon

TOKEN_BYTES = 16
# From the packet that names the card to the script, with all waits for a turn.
OTHER_NIC_SECONDS = 600.0
# A PC that runs asks for orders each minute, and after a failure 15 s later.
RUNNING_SECONDS = 120.0

log = logging.getLogger(__name__)


@dataclass(slots=True)
class SeatState:
    """The state of one PC. ``settings`` are those of the profile, merged once."""

    settings: Seat
    is_named: bool = False  # in the profile's ``clients``
    attempts: Attempts = field(default_factory=Attempts)
    nic: tuple[int, int] | None = None  # PCI vendor and device
    other_nic_until: float = 0.0  # while DHCP packets named another card too, by time.monotonic()
    machine: str = ""  # its UUID
    address: str = ""  # from which its Linux asked last
    session: str = field(default="", repr=False)  # of its last boot, for loaders that read twice
    swap_session: str = field(default="", repr=False)  # of the boot that asked for swap last
    began: bool = False  # a boot, from its own address
    has_run: bool = False  # the Linux of that boot has asked
    held_since: float | None = None  # while its firmware waits for its turn, by time.monotonic()
    unproven: bool = False  # the slices that it was sent are damaged, or no beacon came since
    # Its firmware or a loader asked DHCP, from a port that needs privilege, and no Linux asked since.
    is_expected: bool = False
    heard_at: float = -math.inf  # when its Linux asked last, by time.monotonic()
    report: Report | None = None  # the last one of its Linux

    @property
    def mac(self) -> str:
        """The MAC address, ``aa:bb:cc:dd:ee:ff``."""
        return self.settings.mac

    def told_nic(self, nic: tuple[int, int], now: float) -> None:
        """Note the card that a DHCP packet names. Anybody can send one in the seat's name."""
        if self.nic not in (None, nic):
            self.other_nic_until = now + OTHER_NIC_SECONDS
        self.nic = nic

    def heard(self, now: float, address: str = "") -> None:
        """Note that its Linux asks."""
        self.is_expected, self.has_run, self.heard_at = False, True, now
        self.address = address or self.address

    @property
    def is_probe(self) -> bool:
        """True if this is the doctor, which asks as our iPXE does and waits for no turn."""
        return self.mac == PROBE_MAC

    @property
    def is_played(self) -> bool:
        """True for a doctor or a storm instead of a real PC: in no list, with a page of swap."""
        return is_played(self.mac)


def _machine(uuid: str, nic: tuple[int, int] | None) -> str:
    words = [f"UUID {uuid}"] if uuid else []
    return ", ".join(words + ([f"card {nic[0]:04x}:{nic[1]:04x}"] if nic else []))


def _is_other(seat: SeatState, client: Client) -> bool:
    """Return True if a client is certainly another machine than the one that asked before.

    Cards decide only if a UUID is missing. One PC may use its MAC address with two cards: its own, and
    that of a dock.
    """
    if client.machine and seat.machine:
        return client.machine != seat.machine
    return None not in (client.nic, seat.nic) and client.nic != seat.nic


def new_token() -> str:
    """Return a token: 128 random bits in hexadecimal."""
    return secrets.token_hex(TOKEN_BYTES)


class Seats:
    """The seats of ``profile`` by MAC address. Their events go to ``journal``.

    Seats of the profile, seats with a lease (``in_use``) and seats in the journal keep their state.
    ``is_connected`` tells whether a seat has connections to its swap, and ``use_of`` the version of a
    root image that it runs.
    """

    def __init__(
        self,
        profile: Profile,
        journal: Journal,
        in_use: Callable[[str], bool] = lambda mac: False,
        is_connected: Callable[[str], bool] = lambda mac: False,
        use_of: Callable[[str], Use | None] = lambda mac: None,
    ) -> None:
        self._profile = profile
        self._in_use = in_use
        self._is_connected = is_connected
        self._use_of = use_of
        self._states: dict[str, SeatState] = {}
        self._most = self._spare = len(profile.clients) + 2 * (JOURNAL_STRANGERS.in_total or 0)
        self._complaints = Complaints(log)
        self.flapping = Flapping()
        self.journal = journal
        journal.in_use = in_use

    def of(self, mac: str) -> SeatState:
        """Return the state of ``mac``, an empty one if the PC is new here."""
        state = self._states.get(mac)
        if state is None:
            if len(self._states) >= self._most:
                self._forget_strangers()
            state = SeatState(self._profile.seat_of(mac), self._profile.names(mac))
            self._states[mac] = state
        return state

    def peek(self, mac: str) -> SeatState | None:
        """Return the state of ``mac``; None if there is none."""
        return self._states.get(mac)

    def number(self) -> int:
        """Return the number of seats whose state is kept."""
        return len(self._states)

    def _forget_strangers(self) -> None:
        """Forget the seats that only sent a packet, and that the journal has forgotten, too."""
        self._states = {
            mac: state
            for mac, state in self._states.items()
            if mac in self._profile.clients or mac in self.journal or self._in_use(mac)
        }
        # Not again before as many are new: this looks at each of them.
        self._most = max(self._spare, 2 * len(self._states))

    def is_known(self, mac: str) -> bool:
        """Return True if ``mac`` is a seat: in the profile, or booted by this server."""
        state = self._states.get(mac)
        return mac in self._profile.clients or (state is not None and state.began)

    def runs(self, mac: str, now: float) -> bool:
        """Return True if a PC runs, as far as we know, and its firmware has not asked DHCP since.

        ``now`` is time.monotonic().
        """
        state = self.of(mac)
        if state.is_expected:
            return False
        return now - state.heard_at < RUNNING_SECONDS or self._is_connected(mac)

    def record(self, mac: str, stage: str, message: str, **data: Any) -> None:
        """Journal an event."""
        self.journal.record(BootEvent(time.time(), mac, stage, message, data))

    def met(self, client: Client) -> SeatState:
        """Note the card and the machine that ask, and return the state of their seat.

        Warn if it is another machine than before.
        """
        seat = self.of(client.mac)
        if _is_other(seat, client):
            now, before = _machine(client.machine, client.nic), _machine(seat.machine, seat.nic)
            message = f"another PC asks with this MAC address: {now}; before it was {before}"
            if self._complaints.warn(client.mac, "%s: %s", client.mac, message):
                data = {"machine": client.machine, "before": seat.machine}
                self.record(client.mac, "twin", message, **data)
        seat.machine = client.machine or seat.machine
        if client.nic is not None:
            seat.told_nic(client.nic, time.monotonic())
        return seat

    def report(self, mac: str, stage: str, beacon: Beacon) -> None:
        """Journal a beacon once, at the time when the PC made it.

        A PC sends a beacon again if the answer is late, so a server that stalled gets it twice.
        """
        self.journal.prove(mac)
        told = _beacons_of_this_boot(self.journal.history(mac))
        said = (stage, beacon.message, beacon.data)  # two areas of a PC may report at once
        if said in ((event.stage, event.message, event.data) for event in told):
            return
        when = time.time() - beacon.age
        if stage == "init:start" and "uptime" in beacon.data:
            started = BootEvent(when - beacon.data["uptime"], mac, "kernel", "Linux starts")
            self.journal.record(started)
        # A beacon takes a moment to arrive, the first one longer than the next, and beacons may
        # overtake each other. None is placed before an earlier beacon of this boot.
        uptime = beacon.data.get("uptime", math.inf)
        when = max([when, *(event.when for event in told if event.data["uptime"] <= uptime)])
        self.journal.record(BootEvent(when, mac, stage, beacon.message, beacon.data))

    def count(self) -> int:
        """Return the number of seats with events. Played PCs are in no list."""
        return sum(not is_played(mac) for mac in self.journal.seats())

    def overview(self, most_bytes: int = STATUS_BYTES.in_total or 0) -> str:
        """Return the seats with their last events, and the number of those left out, as JSON.

        Seats of the profile and seats that boot come first. Played PCs are in no list. 1500 seats
        take 4 ms.
        """
        rows: list[str] = []
        left_out = 0
        for mac in self.journal.seats():
            if is_played(mac):
                continue
            row = self._row(mac, self._last(mac))
            most_bytes -= len(row)
            if most_bytes > 0:
                rows.append(row)
            else:
                left_out += 1
        return f'"seats": [{", ".join(rows)}], "left_out": {left_out}'

    def _last(self, mac: str) -> str:
        """Return the last event of a seat as JSON; the last summary while its swap flaps."""
        if self.flapping.is_flapping(mac):
            told = zip(self.journal.history(mac), self.journal.texts(mac), strict=True)
            summaries = [text for event, text in told if event.stage == FLAPPING]
            if summaries:
                return summaries[-1]
        return self.journal.last_text(mac)

    def history(self, mac: str, most_bytes: int = STATUS_BYTES.in_total or 0) -> str | None:
        """Return a seat with its last events as JSON; None if there are none."""
        texts = self.journal.texts(mac)
        if is_played(mac) or not texts:
            return None
        sizes = itertools.accumulate(len(text) for text in reversed(texts))
        fit = sum(size <= most_bytes for size in sizes)
        return self._row(mac, ", ".join(texts[len(texts) - fit :]))

    def _row(self, mac: str, events: str) -> str:
        hostname, use = json.dumps(self._profile.hostname(mac)), self._use_of(mac)
        image = (
            "" if use is None else f'"image": {json.dumps(use.label)}, "digest": "{use.short}", '
        )
        seat = self.peek(mac)
        report = None if seat is None else seat.report
        copied = f'"copied": {report.copied}, ' if report is not None and report.copied >= 0 else ""
        return f'{{"mac": "{mac}", "hostname": {hostname}, {image}{copied}"events": [{events}]}}'


def _beacons_of_this_boot(history: list[BootEvent]) -> list[BootEvent]:
    """Return the beacons after the last file fetched over HTTP: Linux starts after that file."""
    files = [number for number, event in enumerate(history) if event.stage == "http"]
    begin = files[-1] + 1 if files else 0
    return [event for event in history[begin:] if "uptime" in event.data]
