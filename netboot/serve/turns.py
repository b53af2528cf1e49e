"""Turns: which slices of the initramfs a seat gets, and when it may download its images."""

import logging
import time
from dataclasses import asdict, dataclass

from netboot.boot.admission import Admission, Turn
from netboot.boot.client import Client
from netboot.boot.plan import BootPlan, features
from netboot.profile.profile import Seat
from netboot.serve.boot_files import BootFiles
from netboot.serve.seats import Seats, SeatState

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Turns:
    """The downloads of the room's ``files``, of which ``admission`` knows all that are under way."""

    files: BootFiles
    seats: Seats
    admission: Admission

    def slices(self, seat: SeatState, settings: Seat) -> dict[str, tuple[str, ...]]:
        """Return the slices of the initramfs for a seat, by the processors that it may have.

        ``settings`` are those of its boot.

        Empty means the whole initramfs: always after a boot that sent no beacon, or in which the
        initramfs was damaged, and while it is not certain which card the PC has.
        """
        if seat.unproven or time.monotonic() < seat.other_nic_until:
            return {}
        wanted = features(settings)
        found = {
            name: each.choose(seat.nic, wanted) for name, each in self.files.catalogues.items()
        }
        return {name: files for name, files in found.items() if files}

    def sent(self, seat: SeatState, client: Client, chosen: dict[str, tuple[str, ...]]) -> None:
        """Note that a seat is sent these slices. They are unproven until its first beacon."""
        mac, nic = seat.mac, seat.nic
        if nic is not None:
            served = [
                row.name for row in client.arch.processors if row.name in self.files.catalogues
            ]
            lacking = [self.files.catalogues[name].complaint(nic) for name in served]
            # Images of another processor may have the missing part; only iPXE knows the processor.
            if lacking and all(lacking):
                log.warning("%s: %s", seat.settings.hostname, lacking[0])
                self.seats.record(mac, "initramfs", lacking[0], card=f"{nic[0]:04x}:{nic[1]:04x}")
        if seat.unproven:
            self.seats.record(mac, "initramfs", "the last boot did not finish; sending all drivers")
        seat.unproven = bool(chosen)

    def turn(self, seat: SeatState, plan: BootPlan) -> Turn:
        """Return a seat's turn to download."""
        if seat.is_probe:
            return Turn(0, 0)
        return self.admission.ask(seat.mac, self.size(plan), time.monotonic())

    def size(self, plan: BootPlan) -> int:
        """Return the bytes that a PC downloads. Of several processors' images the largest count."""
        sizes = [
            sum(
                self.files.size(path.split("/", 2)[2])
                for path in (each.kernel_path, *each.initrd_paths)
            )
            for each in plan.images
        ]
        return max(sizes, default=0)

    def may_download(self, seat: SeatState, name: str, patience: float) -> bool:
        """Return True if a seat may fetch its unified image ``name`` now.

        No script can tell firmware to wait. It is not answered, asks again, and gives up: so it may
        download after ``patience`` seconds at the latest.
        """
        mac, now = seat.mac, time.monotonic()
        if seat.is_probe or self.admission.is_admitted(mac, now):
            return True
        if seat.held_since is None or now - seat.held_since > 2 * patience:  # of another boot
            seat.held_since = now
        at_last = now - seat.held_since >= patience
        turn = self.admission.ask(mac, self.files.size(name), now, at_last=at_last)
        if turn.wait:
            if seat.held_since == now:
                message = f"{turn.wait} s, PCs in front: {turn.before}"
                self.seats.record(mac, "wait", message, **asdict(turn))
            return False
        seat.held_since = None
        self.admission.begun(mac)
        return True
