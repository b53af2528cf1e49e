"""One boot of a seat, and the state that it is in: most of what ends a boot is that nothing more comes. Pure."""

from dataclasses import dataclass, field
from enum import IntEnum, auto

from netboot.feed.records import Mirror, Report, State
from netboot.feed.troubles import Troubles

# Three reports are missing. A seat without reports asks for orders once a minute.
REPORT_SILENCE, ORDER_SILENCE = 30.0, 180.0
BOOT_SILENCE = 600.0  # longer than any wait that netboot.boot.silence tells of
LONG_SILENCE = 1800.0  # a PC that was lost is off
ORDERED_SILENCE = 20.0  # until a PC without swap counts as gone after an order
POWEROFF_SECONDS, REBOOT_SECONDS = 150.0, 300.0  # for which an order explains that a PC is gone
SETTLE_SECONDS = 5.0  # in which a packet of a PC that is off may still arrive
SHORT_PERCENT = 10.0  # of the time in which some task waited for memory (PSI)
KILLED_SECONDS = 60.0
MAX_MIRRORS = 4  # areas of a PC; it may name any device
WORST: tuple[Mirror, ...] = ("degraded", "resyncing", "whole")
ALIVE: frozenset[State] = frozenset(("booting", "waiting", "running", "short"))


class Phase(IntEnum):
    """How far a boot got."""

    ASKING = auto()
    LOADING = auto()  # a boot loader, or a script
    FETCHED = auto()  # a part of the system
    LINUX = auto()
    RUNNING = auto()


@dataclass(slots=True)
class Boot:
    """One boot. ``began`` is 0 if it is not known, and so are other times.

    ``proven``: more than DHCP, which anybody can send in the seat's name. ``presumed``: the server saw it
    run, and not how it booted.
    """

    began: float
    phase: Phase
    step: float  # when its last step was
    proven: bool = False
    presumed: bool = False
    kernel: float = 0.0  # when Linux started
    failed: bool = False
    wait_until: float = 0.0
    reported: float = 0.0  # when its first report came
    ordered: tuple[str, float] = ("", 0.0)
    connections: dict[str, int] = field(default_factory=dict)  # by export
    attached: dict[str, float] = field(default_factory=dict)  # when last
    cut: float | None = None  # when the last connection to its swap ended
    clean: bool = False  # it said that it goes
    elsewhere: bool = False  # another server of its pool has its swap, as it said
    mirrors: dict[str, Mirror] = field(default_factory=dict)  # by device, of told changes
    over: float | None = None  # when it was judged to be off
    kills: int | None = None  # that its last report told
    killed: float = 0.0
    troubles: Troubles = field(default_factory=Troubles)

    @property
    def name(self) -> str:
        """A name that no other boot of the seat has; empty if its begin is not known."""
        return boot_name(self.began) if self.began else ""

    @property
    def mirror(self) -> Mirror:
        """The worst state of its mirrors; empty if it told of no change."""
        return min(self.mirrors.values(), key=WORST.index, default="")

    @property
    def degraded(self) -> bool:
        """True if its mirror goes on with another server."""
        return self.mirror in ("degraded", "resyncing")

    def note_mirror(self, device: str, state: Mirror) -> None:
        """Note the state of the mirror on ``device``; empty if it is no more."""
        known = device in self.mirrors or len(self.mirrors) < MAX_MIRRORS
        if state and known:
            self.mirrors[device] = state
        elif not state:
            self.mirrors.pop(device, None)

    @property
    def may_run_on(self) -> bool:
        """True if nothing has shown yet that the PC left this boot."""
        is_open = self.cut is None and self.over is None and not self.ordered[0]
        return self.phase >= Phase.LINUX and is_open and not self.failed

    def took_step(self, when: float, phase: Phase) -> None:
        """Note a step that the PC took in this boot, which is in ``phase`` at least."""
        self.phase, self.step = max(self.phase, phase), max(self.step, when)
        self.proven, self.failed, self.wait_until = True, False, 0.0

    def clamp(self, now: float) -> None:
        """Move the times after ``now`` to it: the server's clock was set back."""
        self.step, self.kernel = min(self.step, now), min(self.kernel, now)
        self.reported, self.killed = min(self.reported, now), min(self.killed, now)
        self.wait_until = min(self.wait_until, now)
        self.ordered = self.ordered[0], min(self.ordered[1], now)
        self.attached = {export: min(when, now) for export, when in self.attached.items()}
        self.cut = None if self.cut is None else min(self.cut, now)
        self.over = None if self.over is None else min(self.over, now - SETTLE_SECONDS - 1)
        self.troubles.clamp(now)


def boot_name(began: float) -> str:
    """Return the name of the boot that began then, in seconds since the epoch."""
    return f"{round(began * 1000):x}"


def judge(boot: Boot, heard: float, report: Report | None, now: float) -> State:
    """Return the state of a boot of a seat that was ``heard`` last at that time."""
    if boot.over is not None:
        return "off"
    silent = now - heard
    order, since = boot.ordered[0], now - boot.ordered[1]
    is_gone = boot.cut is not None or silent > ORDERED_SILENCE
    if boot.phase is not Phase.RUNNING:
        if order == "poweroff" and is_gone and since < POWEROFF_SECONDS:
            return "off"
        return _booting(boot, silent, now)
    limit = REPORT_SILENCE if boot.reported else ORDER_SILENCE
    # Without reports, a connection that the page server has not given up is a sign of life.
    is_silent = silent > limit and bool(boot.reported or not boot.connections)
    goes_on = boot.degraded or boot.elsewhere
    cut = None if goes_on and not is_silent else boot.cut
    if cut is not None and boot.clean and heard > cut + SETTLE_SECONDS:
        cut = None  # it gave its swap back, and runs
    is_gone = cut is not None or silent > ORDERED_SILENCE
    if order == "poweroff" and is_gone and since < POWEROFF_SECONDS:
        return "off"
    if order == "reboot" and is_gone and since < REBOOT_SECONDS:
        return "booting"
    if cut is not None and boot.clean:
        return "off"
    if cut is not None or is_silent:
        return "off" if silent > LONG_SILENCE else "lost"
    return "short" if is_short(boot, report, now) else "running"


def _booting(boot: Boot, silent: float, now: float) -> State:
    if silent > LONG_SILENCE + (0.0 if boot.failed else BOOT_SILENCE):
        return "off"
    if boot.failed or silent > BOOT_SILENCE:
        return "lost"
    return "waiting" if now < boot.wait_until else "booting"


def is_short(boot: Boot, report: Report | None, now: float) -> bool:
    """Return True if programs wait for memory, or the kernel ended one a moment ago."""
    if report is None or not boot.reported:
        return False
    killed = bool(boot.killed) and now - boot.killed < KILLED_SECONDS
    return killed or report.pressure.memory_some >= SHORT_PERCENT
