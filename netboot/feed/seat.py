"""One seat of the room: its row, out of its life and of what is known of its PC. Pure."""

import re
from dataclasses import dataclass, replace

from netboot.boot.arch import BY_NAME as ARCHITECTURES
from netboot.feed.judging import ALIVE, SHORT_PERCENT
from netboot.feed.life import Life
from netboot.feed.records import Event, Hardware, Mirror, Pages, Report, SeatRow, State, Trouble
from netboot.feed.steps import figure
from netboot.feed.troubles import MAX_TEXT

MAX_WORD = 60  # characters of a fact that a PC tells
_ADDRESS = re.compile(r"[0-9a-fA-F.:]{2,45}")
MAX_KIB = 2**40
FACTS = frozenset(
    ("dhcp", "initramfs", "init:start", "init:hardware", "init:network", "pages:attach")
)
_KERNEL = re.compile(r"Linux (\S{1,60})$")

# Troubles that no event tells, but the state does.
SHORT, LOST = "short", "lost"
REMEDIES = {
    SHORT: "Close programs on the PC, or give it more RAM. If its swap is full, set a larger `swap.size`.",
    LOST: "If the PC is on, look at its screen, its cable and the switch.",
}


@dataclass(frozen=True, slots=True)
class Known:
    """Facts of a seat that the server itself knows; empty texts are unknown. ``card``: PCI ids, ``8086:100e``.

    ``mirrored``: its profile has its swap on two servers.
    """

    uuid: str = ""
    card: str = ""
    address: str = ""
    image: str = ""
    digest: str = ""
    mirrored: bool = False


NOTHING = Known()


class SeatState:
    """The row of one seat, and its life. The row is made when it is asked for: most events change it."""

    __slots__ = (
        *(
            "mac",
            "name",
            "groups",
            "named",
            "life",
            "state",
            "since",
            "stage",
            "message",
            "told_at",
        ),
        *("address", "known", "hardware", "pages", "trouble", "is_new", "_row"),
    )

    def __init__(self, mac: str, name: str, groups: tuple[str, ...], *, named: bool) -> None:
        self.mac, self.name, self.groups, self.named = mac, name, groups, named
        self.life = Life(mac)
        self.state: State = "unknown"
        self.since = 0.0
        self.stage, self.message, self.told_at = "", "", 0.0  # of its last event
        self.address, self.known, self.hardware = "", NOTHING, Hardware()
        self.pages = Pages()
        self.trouble: Trouble | None = None
        self.is_new = True  # since the last tick
        self._row: SeatRow | None = None

    def changed(self) -> None:
        """Note that the row has changed."""
        self.is_new, self._row = True, None

    @property
    def row(self) -> SeatRow:
        """The row as it is now."""
        if self._row is None:
            boot = self.life.current
            self._row = SeatRow(
                mac=self.mac,
                name=self.name,
                groups=self.groups,
                named=self.named,
                state=self.state,
                since=self.since,
                seen=self.life.seen,
                booted=0.0 if boot is None else boot.began,
                boot="" if boot is None else boot.name,
                stage=self.stage,
                message=self.message,
                address=self.address,
                uuid=self.known.uuid,
                image=self.known.image,
                digest=self.known.digest,
                hardware=self.hardware,
                pages=self.pages,
                report=self.life.report,
                trouble=self.trouble,
                mirror=self.mirror,
            )
        return self._row

    @property
    def mirror(self) -> Mirror:
        """The state of its swap's mirror; empty without one, and for a seat that is off."""
        boot, report = self.life.current, self.life.report
        if boot is None or self.state not in ALIVE:
            return ""
        if boot.mirror:
            return boot.mirror
        if not (self.known.mirrored and boot.reported and report and report.areas):
            return ""
        return "unknown" if boot.presumed else "whole"

    def know(self, known: Known) -> None:
        """Take what the server knows. Facts that it does not know now stay as they are."""
        if known in (NOTHING, self.known):
            return
        before, self.known = (
            self.known,
            Known(
                known.uuid or self.known.uuid,
                known.card or self.known.card,
                known.address or self.known.address,
                known.image or self.known.image,
                known.digest or self.known.digest,
                known.mirrored or self.known.mirrored,
            ),
        )
        if self.known == before:
            return
        self.address = known.address or self.address
        if self.known.card != self.hardware.card:
            self.hardware = replace(self.hardware, card=self.known.card or self.hardware.card)
        self.changed()

    def take(self, event: Event, now: float) -> None:
        """Take an event. Its facts may be of any type and length: a PC tells them."""
        if event.stage in FACTS:
            self._learn(event)
        self.life.event(event, now)
        if event.when >= self.told_at:
            self.told_at = event.when
            self.stage, self.message = event.stage[:MAX_WORD], event.message[:MAX_TEXT]
        self.changed()
        self.judge(now, event.when)

    def _learn(self, event: Event) -> None:
        data, stage, hardware = event.data, event.stage, self.hardware

        def word(key: str) -> str:
            value = data.get(key)
            return value[:MAX_WORD] if isinstance(value, str) else ""

        if stage == "dhcp":
            if word("arch") in ARCHITECTURES and word("arch") != hardware.arch:
                self.hardware = replace(hardware, arch=word("arch"))
        elif stage == "init:start":
            kernel, ram = _KERNEL.search(event.message), figure(data, "ram_kib") or 0
            memory = int(ram) << 10 if 0 < ram < MAX_KIB else hardware.memory
            self.hardware = replace(
                hardware, memory=memory, kernel=kernel[1] if kernel else hardware.kernel
            )
        elif stage == "initramfs":
            self.hardware = replace(hardware, card=word("card") or hardware.card)
        elif stage in ("init:hardware", "init:network"):
            self.hardware = replace(hardware, driver=word("driver") or hardware.driver)
        if stage in ("dhcp", "init:network", "pages:attach"):
            address = word("address")
            if address and _ADDRESS.fullmatch(address):
                self.address = address

    def take_report(self, report: Report) -> None:
        """Take a report of its own."""
        self.life.take_report(report, report.when)
        if not self.hardware.memory and report.memory > 0:
            self.hardware = replace(self.hardware, memory=report.memory)
        self.changed()
        self.judge(report.when)

    def shift(self, seconds: float, now: float) -> None:
        """Forgive a time in which the server stood still, or by which its clock was set."""
        self.life.shift(seconds, now)
        if seconds < 0:
            self.told_at, self.since = min(self.told_at, now), min(self.since, now)
            self.changed()

    def judge(self, now: float, at: float | None = None) -> None:
        """Set state and trouble. ``at``: the time of the event that made it necessary."""
        state = self.life.judge(now)
        if state != self.state:
            self.state = state
            self.since = max(self.since, now if at is None else min(at, now))
            self.changed()
        trouble = self._trouble(now)
        if trouble != self.trouble:
            self.trouble = trouble
            self.changed()

    def _trouble(self, now: float) -> Trouble | None:
        """Return the gravest trouble, and of two the newest. A state's own trouble is the least."""
        worst = self.life.trouble(now)
        if worst is not None or self.state not in REMEDIES:
            return worst
        report, boot = self.life.report, self.life.current
        text = "the PC did not report"
        if self.state == LOST and boot is not None and boot.cut is not None:
            text = "the PC has no connection to its swap"
        elif self.state == SHORT and report is not None:
            text = "the kernel ended a program, because memory ran out"
            if report.pressure.memory_some >= SHORT_PERCENT:
                text = "programs wait for memory"
        return Trouble(self.since, self.state, text, REMEDIES[self.state])
