"""Silence: a PC that was served and does not go on is told, with the likeliest cause. Pure.

A packet that never comes causes no event. So each step of a boot that must have a next one begins a
wait (netboot.boot.waits), and a wait that lasts too long is told once. A step of the PC ends it.

The state of the waits is lost with the server. A step counts only after the one before it, so a new
server tells nothing of a boot that it did not see, and nothing of a PC that renews its address.
"""

from collections.abc import Callable
from dataclasses import dataclass

from netboot.boot.arch import LOADERS
from netboot.boot.client import is_played
from netboot.boot.events import BootEvent
from netboot.boot.grub import CONFIG_SUFFIX, FAILED_FILE
from netboot.boot.limits import SILENCE_WAITS
from netboot.boot.plan import swap_export
from netboot.boot.waits import BY_STEP, Step, Wait

# A server that did not run for this long has not listened: its waits are that much longer.
STALL_SECONDS = 5.0
# Firmware waits longer than this before it asks again for a file that does not go on (EDK2: 4 s).
AGAIN_SECONDS = 3.0
# Firmware repeats a question for a minute (PXE 2.1: 4, 8, 16 and 32 s), and the wait goes on.
REPEAT_SECONDS = 120.0

_BOOTING = frozenset(
    (
        *(Step.FETCHING, Step.BROKEN, Step.LOADER, Step.CHAIN),
        *(Step.TURN, Step.SCRIPT, Step.IMAGES, Step.LINUX),
    )
)
_DHCP = frozenset(
    (
        *(Step.LEFT, Step.OFFERED, Step.REQUESTED),
        *(Step.ADDRESSED, Step.ADDRESSED_HTTP, Step.BOOT_SERVER),
    )
)


@dataclass(slots=True)
class _Stand:
    """The last step of a PC on one of its two ways, boot or swap."""

    step: Step
    since: float
    extra: float = 0.0  # seconds that the PC was told to wait
    told: bool = False


@dataclass(slots=True)
class _Seat:
    boot: _Stand | None = None
    swap: _Stand | None = None
    asker: tuple[str, str] = ("", "")  # architecture and program of its last DISCOVER

    @property
    def step(self) -> Step | None:
        """The last step of its boot."""
        return None if self.boot is None else self.boot.step


@dataclass(frozen=True, slots=True)
class Silent:
    """A PC, ``mac``, that does not go on."""

    mac: str
    wait: Wait
    seconds: float

    @property
    def message(self) -> str:
        """One line: the missing step, since when, and the cause."""
        return f"{self.wait.missing} for {self.seconds:.0f} s: {self.wait.cause}"


class Silence:
    """The waits of all PCs. ``proxy``: another server gives out the addresses. ``left``: that server
    also names the boot files, and this one answers no DHCP.

    PCs for which ``is_known`` is True always have a place, and others as ``SILENCE_WAITS`` says.
    """

    def __init__(
        self,
        *,
        proxy: bool = False,
        left: bool = False,
        is_known: Callable[[str], bool] = lambda mac: False,
    ) -> None:
        self._proxy = proxy
        self._left = left
        self._is_known = is_known
        self._seats: dict[str, _Seat] = {}
        self._looked: float | None = None

    def __len__(self) -> int:
        """Return the number of PCs that have a place."""
        return len(self._seats)

    def heard(self, mac: str, step: Step, now: float, extra: float = 0.0) -> None:
        """Note a step of a boot. ``extra``: the seconds that the PC was told to wait."""
        seat = self._place(mac)
        if seat is None:
            return
        stand = seat.boot
        is_repeated = stand is not None and stand.step is step and step in _DHCP
        if stand is not None and is_repeated and now - stand.since < REPEAT_SECONDS:
            return
        seat.boot = _Stand(step, now, extra)

    def fetched(self, mac: str, name: str, now: float) -> None:
        """Note that a PC has all of the boot file ``name``."""
        step = _step_after(name)
        if step is not None:
            self.heard(mac, step, now)

    def record(self, event: BootEvent, now: float) -> None:
        """Note the step that an event shows, if it shows one."""
        mac, stage, data = event.seat, event.stage, event.data
        match stage:
            case "dhcp" | "pxe":
                self._dhcp(event, now)
            case "wait":
                self.heard(mac, Step.TURN, now, float(data.get("wait", 0)))
            case "tftp" if data.get("broken"):
                self._broke_off(mac, now, began=now - data["seconds"])
            case "http" if "bytes" not in data:  # broken off: iPXE tries again in 3 s
                self.heard(mac, Step.SCRIPT, now)
            case "init:root":
                self._reported(mac, Step.ROOT, now)
            case "lease" if "bytes_granted" in data and "area" not in data:
                self._swap(mac, Step.LEASE, now)
            case "pages:attach" if data.get("export") == swap_export(mac):
                self._swap(mac, None, now)
            case "pages:detach" if data.get("export") == swap_export(mac):
                if not data.get("connections") and not self._is_off(mac):
                    self._swap(mac, Step.AWAY, now)
            case "swap" if self._step(mac) in _BOOTING:
                self.heard(mac, Step.LINUX, now)
            case "menu" | "init:rescue":  # a person sits there
                self._ends(mac, failed=False)
            case "off":
                self._ends(mac, failed=False)
                self._swap(mac, Step.OFF, now)
            case "userland":
                self.heard(mac, Step.USERLAND, now)
            case _:
                if stage.startswith("init:"):
                    self._reported(mac, Step.LINUX, now)
                elif stage.startswith("failed:"):
                    self._ends(mac, failed=True)

    def _broke_off(self, mac: str, now: float, began: float) -> None:
        """Note that a transfer broke off, if it ``began`` with the PC's last request."""
        seat = self._seats.get(mac)
        stand = None if seat is None else seat.boot
        if (
            stand is not None
            and stand.step is Step.FETCHING
            and stand.since < began + AGAIN_SECONDS
        ):
            self.heard(mac, Step.BROKEN, now)

    def _reported(self, mac: str, step: Step, now: float) -> None:
        """Note a report of the initramfs. One that userland's report has overtaken is no step."""
        if self._step(mac) is not Step.USERLAND:
            self.heard(mac, step, now)

    def _is_off(self, mac: str) -> bool:
        """Return True if a PC said that it is shut down: its swap then goes away."""
        seat = self._seats.get(mac)
        return seat is not None and seat.swap is not None and seat.swap.step is Step.OFF

    def _step(self, mac: str) -> Step | None:
        seat = self._seats.get(mac)
        return None if seat is None else seat.step

    def _ends(self, mac: str, *, failed: bool) -> None:
        """Note that a PC waits for nothing more: it runs, or it told why it does not."""
        seat = self._seats.get(mac)
        if seat is not None:
            seat.boot = None
            if failed and seat.swap is not None and seat.swap.step is Step.LEASE:
                seat.swap = None

    def _swap(self, mac: str, step: Step | None, now: float) -> None:
        seat = self._place(mac)
        if seat is None:
            return
        seat.swap = None if step is None else _Stand(step, now)
        if seat.step in _BOOTING:  # a PC's reports wait until it has its swap
            seat.boot = _Stand(Step.LINUX, now)

    def _dhcp(self, event: BootEvent, now: float) -> None:
        kind, data, mac = event.data.get("type"), event.data, event.seat
        boots, step = "arch" in data, self._step(mac)
        if event.stage == "pxe":
            if kind == "ACK" and step in _DHCP:
                self.heard(mac, Step.BOOT_SERVER, now)
        elif kind == "DISCOVER" and boots:
            self._asked(mac, (data["arch"], data["stage"]), now)
        elif kind == "OFFER" and "file" in data:
            self.heard(mac, Step.OFFERED, now)
        elif kind == "REQUEST" and step is Step.OFFERED and (boots or self._proxy):
            self._answered(mac, Step.REQUESTED, now)
        elif kind == "ACK" and step is Step.REQUESTED and "file" in data:
            self._answered(mac, Step.ADDRESSED, now)
        elif kind in ("DISCOVER", "REQUEST") and not boots and step in _DHCP:
            # Another server's client, or a system on its disk. In proxy mode no REQUEST is ours.
            if not (self._proxy and kind == "REQUEST"):
                self._ends(mac, failed=False)
        elif kind == "NAK":
            self._ends(mac, failed=False)

    def _asked(self, mac: str, asker: tuple[str, str], now: float) -> None:
        """Note a DISCOVER. One that only repeats a question is no step."""
        seat = self._place(mac)
        waits = (Step.OFFERED, Step.LEFT)
        if seat is None or (seat.step in waits and seat.asker == asker):
            return
        seat.asker, seat.swap = asker, None  # a boot: its last swap is no longer wanted
        seat.boot = _Stand(Step.LEFT if self._left else Step.ASKED, now)

    def _answered(self, mac: str, step: Step, now: float) -> None:
        """Note a REQUEST or its answer. In proxy mode the other server answers."""
        if self._proxy or step is Step.ADDRESSED:
            by_http = self._seats[mac].asker[0].endswith("-http")
            step = Step.ADDRESSED_HTTP if by_http else Step.ADDRESSED
        self.heard(mac, step, now)

    def overdue(self, now: float) -> list[Silent]:
        """Return each PC that has not gone on in time, once. Call this about once a second."""
        gap, self._looked = now - (now if self._looked is None else self._looked), now
        found = []
        for mac, seat in list(self._seats.items()):
            for stand in (seat.boot, seat.swap):
                if stand is None:
                    continue
                stand.since += gap if gap > STALL_SECONDS else 0.0
                wait, waited = BY_STEP.get(stand.step), now - stand.since
                if wait is not None and not stand.told and waited >= wait.seconds + stand.extra:
                    stand.told = True
                    found.append(Silent(mac, wait, waited))
            if seat.swap is not None and (seat.swap.told or _is_over(seat.swap, now)):
                seat.swap = None
            if seat.boot is not None and _is_over(seat.boot, now):
                seat.boot = None
            if seat.boot is None and seat.swap is None:
                del self._seats[mac]
        return found

    def _place(self, mac: str) -> _Seat | None:
        """Return the state of a PC; None for a played one, and for a stranger without a place."""
        seat = self._seats.get(mac)
        if seat is None and not is_played(mac) and self._has_place(mac):
            seat = self._seats[mac] = _Seat()
        return seat

    def _has_place(self, mac: str) -> bool:
        return len(self._seats) < (SILENCE_WAITS.in_total or 0) or self._is_known(mac)


def _is_over(stand: _Stand, now: float) -> bool:
    """Return True if a step needs no place: it was told long ago, or nothing must follow soon."""
    is_old = now - stand.since >= REPEAT_SECONDS + stand.extra
    return is_old and (stand.told or stand.step not in BY_STEP)


def _step_after(name: str) -> Step | None:
    """Return the step of a PC that has a boot file, or None if nothing has to follow."""
    own = name.rpartition("/")[2]
    if own in LOADERS:
        return Step.LOADER
    if own.endswith(".ipxe"):
        return Step.CHAIN
    if own.endswith(CONFIG_SUFFIX):
        return None if own == FAILED_FILE else Step.SCRIPT
    return Step.IMAGES
