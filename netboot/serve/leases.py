"""Swap leases as seats ask for them over HTTP, and the one codec for the server's answer.

The answer is a line: ``size=BYTES``, ``size=BYTES token=TOKEN``, ``ended`` or ``refused=REASON``.
The swap agent (initramfs/agent/area.c), the shell (initramfs/swap.sh), the doctor and the storm
read it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from netboot.boot.limits import LEASE_RAM, LEASE_SHARE
from netboot.boot.plan import kept_export, swap_export
from netboot.errors import AnswerError
from netboot.pages.kept_exports import KeptExports
from netboot.pages.lease import PLAYED, LeaseTable
from netboot.pages.nbd.export import Refused
from netboot.profile.sections import PAGE
from netboot.serve.http.lease_request import LeaseRequest
from netboot.serve.seats import Seats, SeatState, new_token

# A server that has lost its room refuses a PC: half of a few pages would be no swap at all.
LEAST_SHARE_BYTES = 1 << 20
MOST_AREAS = 4  # of a seat: swap.grow is at most 3
DRAINED = "this server is drained: it takes no new swap; another one of swap.servers does"
IN_USE = "in use"  # part of the reason why a lease with connections cannot end (pages/lease.py)


@dataclass(frozen=True, slots=True)
class Granted:
    """Swap of ``size_bytes``. ``token`` is set for a fresh lease and for a further area only."""

    size_bytes: int
    token: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """The lease has ended."""


Answer = Granted | Ended | Refused


def serialize(answer: Answer) -> str:
    """Return the line to send to a seat, without its newline."""
    match answer:
        case Granted(size_bytes, token):
            return f"size={size_bytes} token={token}" if token else f"size={size_bytes}"
        case Ended():
            return "ended"
        case Refused():
            return f"refused={answer.reason}"


def parse(line: str) -> Answer:
    """Parse a server's answer. Raises AnswerError if it has none of the four forms."""
    line = line.strip()
    if line == "ended":
        return Ended()
    if line.startswith("refused="):
        return Refused(line.removeprefix("refused="))
    granted = re.fullmatch(r"size=([0-9]+)(?: token=(\w+))?", line, re.ASCII)
    if granted is None:
        raise AnswerError(f"lease: expected size=BYTES or refused=REASON, found {line[:80]!r}")
    return Granted(int(granted[1]), granted[2] or "")


class Leases:
    """Grants and ends the leases of ``table`` for the PCs of ``seats``. ``now`` is in seconds."""

    def __init__(self, seats: Seats, table: LeaseTable, now: Callable[[], float]) -> None:
        self._seats = seats
        self._table = table
        self._now = now
        self.kept: KeptExports | None = None  # the areas in which seats keep files
        self.drained = False  # see netboot.serve.draining

    def grant(self, mac: str, request: LeaseRequest, token: str = "") -> Granted | Refused:
        """Grant a seat its swap, of a size that its profile derives from its RAM.

        ``token`` is that of its boot, empty if the PC did not say which boot. A PC that the profile
        does not name is one of few from its address (LeaseTable).
        """
        seat = self._seats.of(mac)
        ram_bytes = min(request.ram_bytes, LEASE_RAM.per_address or request.ram_bytes)
        asker = PLAYED if seat.is_played else "" if seat.is_named else request.address
        if request.area == 0:
            return self._keep(seat)
        if self.drained:
            return self._turn_away(swap_export(mac, request.area))
        begins = _is_new_boot(seat, request.session)
        if request.area > 1:
            return self._further(seat, request.area, ram_bytes, asker)
        size, cut = self._size(seat, ram_bytes, asker)
        if request.fresh:
            token = new_token()
        if not token:
            return Refused("this boot began before the server was upgraded; boot again")
        export = swap_export(mac)
        granted = self._table.grant(
            mac,
            export,
            token,
            size,
            self._now(),
            fresh=request.fresh and not begins,
            connections=seat.settings.swap.connections,
            asker=asker,
        )
        if isinstance(granted, Refused):
            heaviest, held = self._table.heaviest()
            most = f"; {heaviest} holds most, {held >> 20} MiB" if heaviest else ""
            self._seats.record(mac, "lease", f"refused: {granted.reason}{most}")
            return granted
        message = f"swap of {size >> 20} MiB granted{cut}"
        self._seats.record(mac, "lease", message, bytes_granted=size)
        return Granted(size, token if request.fresh else "")

    def _turn_away(self, export: str) -> Refused:
        """Refuse swap on this server. No refusal is journaled: the seat goes to the next server.

        A seat that asks for ``export``, and has no connection, needs its pages here no longer: it
        boots, or its agent has taken this leg out of its mirror. Its other areas stay.
        """
        if self._table.has(export):
            self._table.end(export)
        return Refused(DRAINED)

    def _size(self, seat: SeatState, ram_bytes: int, asker: str) -> tuple[int, str]:
        """Return the bytes of a seat's area, and the reason if they are fewer than it asked for."""
        swap = seat.settings.swap
        asked = PAGE if seat.is_played else swap.area_bytes_for(ram_bytes)
        most = self._table.capacity_bytes * (LEASE_SHARE.per_address or 0) // 100 // PAGE * PAGE
        if asked <= most or not asker or swap.size.bytes is not None or most < LEAST_SHARE_BYTES:
            return asked, ""
        return most, f", of {asked >> 20} asked: half of swap.capacity; name the PC in clients"

    def _further(self, seat: SeatState, area: int, ram_bytes: int, asker: str) -> Granted | Refused:
        # No refusal is journaled here: the seat asks again and again, and reports the first one.
        swap = seat.settings.swap
        if area > 1 + swap.grow:
            return Refused(f"no area {area}: swap.grow is {swap.grow}")
        (size, _), token = self._size(seat, ram_bytes, asker), new_token()
        export = swap_export(seat.mac, area)
        granted = self._table.grant(
            seat.mac,
            export,
            token,
            size,
            self._now(),
            fresh=True,
            connections=swap.connections,
            asker=asker,
        )
        if isinstance(granted, Refused):
            return granted
        message = f"area {area}: swap of {size >> 20} MiB granted"
        self._seats.record(seat.mac, "lease", message, bytes_granted=size, area=area)
        return Granted(size, token)

    def _keep(self, seat: SeatState) -> Granted | Refused:
        """Let a boot of a seat attach the area in which it keeps files."""
        size = seat.settings.root.persist
        if size is None or self.kept is None or seat.is_played:
            return Refused("nothing is kept for this PC: its profile has no root.persist")
        token = new_token()
        granted = self.kept.grant(
            seat.mac, kept_export(seat.mac), token, size, is_named=seat.is_named
        )
        if isinstance(granted, Refused):
            self._seats.record(seat.mac, "lease", f"refused: {granted.reason}")
            return granted
        size = granted.size_bytes
        message = f"files are kept in {size >> 20} MiB"
        self._seats.record(seat.mac, "lease", message, bytes_granted=size, area=0)
        return Granted(size, token)

    def delete_kept(self, mac: str) -> str:
        """Delete the files that a seat keeps. Return the refusal; empty if they are gone."""
        export = kept_export(mac)
        used = 0 if self.kept is None else self.kept.used_bytes(export)
        try:
            refused = self.kept and self.kept.delete(export)
        except OSError as error:
            return f"the server cannot delete its file: {error.strerror}"
        if self.kept is None or refused is not None:
            return refused.reason if refused else "this server keeps no files of PCs"
        self._seats.record(
            mac, "lease", f"the files that it kept are deleted: {used >> 20} MiB", area=0
        )
        return ""

    def end_all(self, mac: str) -> str:
        """End all leases of a seat that is off. Return the refusal; empty if there are none any more.

        The areas in which it keeps files stay.
        """
        exports = [swap_export(mac, area) for area in range(1, MOST_AREAS + 1)]
        if any(map(self._table.is_in_use, exports)):
            return (
                "its swap is in use: switch it off, and wait up to a minute until that is noticed"
            )
        for export in exports:
            self._table.end(export)
        return ""

    def end(self, mac: str, area: int) -> Ended | Refused:
        """End the lease of a further area that its seat has given back.

        A seat keeps its first area for as long as it is on, unless the PC is only played.
        """
        if area == 0:
            return Refused("area 0 cannot end: files are kept")
        if area == 1 and not self._seats.of(mac).is_played:
            return Refused("area 1 cannot end: a seat keeps its first area while it is on")
        refused = self._table.end(swap_export(mac, area))
        if refused is not None:
            return refused
        self._seats.record(mac, "lease", f"area {area}: given back", area=area)
        return Ended()


def _is_new_boot(seat: SeatState, session: str) -> bool:
    """Note the boot that asks for swap. Return True if an earlier one of this PC asked here before.

    A PC with several page servers asks each of them for fresh leases only, which end no others. So
    its first area has to end those that an earlier boot had in addition. A server that was started
    since then does not know that boot, and keeps its areas until they expire.
    """
    before, seat.swap_session = seat.swap_session, session
    return before not in ("", session)
