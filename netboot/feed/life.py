"""The life of one seat: its boots, out of its events, its reports and what its pages do. Pure.

Anybody on the LAN can send a DHCP packet in a seat's name. So a boot of which no other step was seen is not
proven. The boot before it counts on, until the seat is silent. If that one shows a sign of life, there was
no other boot.
"""

from typing import Any

from netboot.boot.events import OF_OTHERS
from netboot.boot.plan import swap_export
from netboot.feed.judging import ALIVE, SETTLE_SECONDS, Boot, Phase, judge
from netboot.feed.records import Event, Mirror, Pages, Report, State, Trouble
from netboot.feed.steps import NO_END, figure, is_loader_file, is_step
from netboot.feed.troubles import FAILED, INIT, Troubles, kind_of

# Firmware repeats a question for a minute (PXE 2.1), and people look at an error for another one.
REPEAT_SECONDS = 120.0
OVERTAKEN_SECONDS = 300.0  # of reports without userland: that event is lost
REPLACED_SECONDS = 30.0  # in which the connections of a lease end that another one replaced
TURN_SECONDS = 3.0  # from the end of a wait until the PC's next step is seen
SAME_KERNEL_SECONDS = 10.0  # an init that started again tells of the same kernel

# The ends of a lease's connections when a newer lease has them.
REPLACED = ("its lease has ended", "replaced by newer connections of its seat")
# What the agents of a mirror's two legs tell. An area without a mirror is renewed, too. A further area
# that was given back is no more.
FRESH_LEG = "agent:renewed"
MIRROR_CHANGES: dict[str, Mirror] = {
    "agent:degraded": "degraded",
    FRESH_LEG: "resyncing",
    "agent:resynced": "whole",
    "agent:returned": "",
}
BACK = ("agent:reattached", FRESH_LEG)  # with the server, if that may be another one
BACK_SECONDS = 5.0  # from an attachment until the agent tells of it
MIRROR_ENDS = ("agent:resynced", "agent:returned")
CLEAN = "disconnected by the client"  # netboot.pages.worker.connection: NBD_CMD_DISC
ORDERS = ("reboot", "poweroff")
QUESTIONS = ("DISCOVER", "REQUEST", "INFORM")


class Life:
    """The boots of one seat. ``now`` is the server's clock; an event may have happened before.

    ``seen``: when anything was received in its name last.
    """

    def __init__(self, mac: str) -> None:
        self.boot: Boot | None = None
        self.report: Report | None = None
        self.seen = 0.0
        self._others = Troubles()  # what lasts over a boot
        self._heard = 0.0  # last sign of life
        self._swap = swap_export(mac)
        self._before: Boot | None = None  # while the boot is not proven
        self._pages = Pages()

    @property
    def current(self) -> Boot | None:
        """The boot that counts."""
        return self.boot if self._before is None else self._before

    def trouble(self, now: float) -> Trouble | None:
        """Return the gravest trouble, and of two the newest."""
        worst = self._others.worst(now)
        boot = self.current
        found = None if boot is None else boot.troubles.worst(now)
        if worst is None or (found is not None and found[0] >= worst[0]):
            worst = found
        return None if worst is None else worst[1]

    def event(self, event: Event, now: float) -> None:
        """Take an event."""
        step = is_step(event)
        if "uptime" in event.data and event.stage != "kernel":
            self._revive()
        self._follow(event)
        if step:
            self.seen = max(self.seen, now)
        if step and (event.stage not in OF_OTHERS or self._may_be_asked()):
            self._alive(now)
        kind, boot = kind_of(event), self.boot
        if event.stage == "pages:away" and (boot is None or boot.cut is None or boot.elsewhere):
            kind = None  # of the boot before, whose connections end late
        if boot is None or (kind is not None and kind.lasts):
            self._others.note(event, kind, is_step=step)
            return
        self._others.note(event, None, is_step=step)
        # The trouble of one mirror lasts although another one is whole.
        if boot.over is None and not (boot.degraded and event.stage in MIRROR_ENDS):
            boot.troubles.note(event, kind, is_step=step)

    def take_report(self, report: Report, now: float) -> None:
        """Take a seat's own report. Its system runs, but maybe not yet its userland."""
        boot = self._signed(now)
        boot.phase = max(boot.phase, Phase.LINUX)  # of a boot that failed the agent reports too
        boot.reported = boot.reported or now
        if boot.phase is Phase.LINUX and now - boot.reported > OVERTAKEN_SECONDS:
            boot.phase = Phase.RUNNING
        known = 0 if boot.kills is None and not boot.presumed else boot.kills
        if known is not None and report.oom_kills > known:
            boot.killed = now
        boot.kills = report.oom_kills
        self.report = report

    def asked_orders(self, now: float) -> None:
        """Note that the seat's userland asks for orders."""
        self._signed(now).took_step(now, Phase.RUNNING)

    def take_pages(self, pages: Pages, now: float) -> None:
        """Take the figures of a seat's pages: a seat that reads or writes is alive."""
        before, self._pages = self._pages, pages
        moved = pages.read > before.read or pages.written > before.written
        if (self.boot is None and pages.connections > 0) or (moved and self._may_move()):
            self._signed(now)

    def shift(self, seconds: float, now: float) -> None:
        """Forgive a time in which the server stood still, or by which its clock was set."""
        self._heard = min(self._heard + seconds, now)
        if seconds < 0:
            self.seen = min(self.seen, now)
            self._others.clamp(now)
            for boot in (self.boot, self._before):
                if boot is not None:
                    boot.clamp(now)

    def judge(self, now: float) -> State:
        """Return the state at the time ``now``. Note if the seat is off."""
        if self._before is not None:
            state = judge(self._before, self._heard, self.report, now)
            if state in ALIVE:
                return state
            self._before = None
        boot = self.boot
        if boot is None:
            return "unknown"
        state = judge(boot, self._heard, self.report, now)
        if state == "off" and boot.over is None:
            boot.over = now
            boot.troubles.clear()
        return state

    # Signs of life.

    def _may_be_asked(self) -> bool:
        """Return True if a packet that anybody can send counts as a sign of life."""
        is_running = self.boot is not None and self.boot.phase is Phase.RUNNING
        return self._before is None and not is_running

    def _may_move(self) -> bool:
        boot = self.current
        return boot is not None and boot.phase >= Phase.LINUX and boot.over is None

    def _revive(self) -> None:
        """Note that the boot before goes on: somebody asked DHCP in its name."""
        if self._before is not None:
            self.boot, self._before = self._before, None

    def _signed(self, now: float) -> Boot:
        """Return the boot that shows a sign of life, a presumed one if none is known."""
        self._revive()
        if self.boot is None or not self.boot.proven:
            self.boot = Boot(0.0, Phase.RUNNING, now, proven=True, presumed=True)
        self._alive(now)
        return self.boot

    def _alive(self, now: float) -> None:
        self.seen = max(self.seen, now)
        boot = self.boot
        if boot is not None and boot.over is not None:
            if now - boot.over <= SETTLE_SECONDS:
                return
            boot.over, boot.ordered = None, ("", 0.0)
        self._heard = max(self._heard, now)

    # The steps of a boot.

    def _begin(self, when: float, phase: Phase, *, proven: bool = True) -> Boot:
        if proven:
            self._before = None
        elif self.boot is not None and self.boot.proven:
            self._before = self.boot if self.boot.may_run_on else None
        self.boot = Boot(when, phase, when, proven=proven)
        return self.boot

    def _step(self, boot: Boot, when: float, phase: Phase) -> None:
        boot.took_step(when, phase)
        self._before = None

    def _follow(self, event: Event) -> None:
        stage, when, data = event.stage, event.when, event.data
        match stage:
            case "dhcp" | "pxe":
                self._asked(event)
            case "loader":
                if self.boot is not None and self.boot.phase > Phase.ASKING:
                    self._begin(when, Phase.ASKING, proven=False)
            case "tftp" | "http":
                self._fetched(event)
            case "wait":
                seconds = max(figure(data, "wait") or 0.0, 0.0)
                self._loading(when, Phase.LOADING).wait_until = when + seconds + TURN_SECONDS
            case "kernel":
                self._started(when)
            case "order":
                words = str(data.get("order", event.message)).split()
                if self.boot is not None and words and words[0] in ORDERS:
                    self.boot.ordered = (words[0], when)
            case "off":
                if self.boot is not None:
                    boots_again = data.get("how") in ("reboot", "kexec")
                    self.boot.ordered = ("reboot" if boots_again else "poweroff", when)
            case "pages:attach":
                self._attached(data, when)
            case "pages:detach":
                self._detached(event)
            case _:
                self._reported(event)

    def _asked(self, event: Event) -> None:
        """Follow a packet of DHCP. Only the question of firmware or a loader begins a boot."""
        data, when, boot = event.data, event.when, self.boot
        if data.get("type") not in QUESTIONS or "arch" not in data:
            return
        if boot is not None and boot.phase < Phase.FETCHED and not boot.failed:
            is_late = when - max(boot.step, boot.wait_until) > REPEAT_SECONDS
            # A firmware that asks again after its loader: the loader gave up, or the PC was reset.
            is_firmware = data.get("stage") == "firmware" and data["type"] == "DISCOVER"
            if not is_late and not (is_firmware and boot.phase is Phase.LOADING):
                boot.step = max(boot.step, when)
                return
        self._begin(when, Phase.ASKING, proven=False)

    def _loading(self, when: float, phase: Phase) -> Boot:
        """Return the boot that a request for a file belongs to; a seat that runs begins one."""
        boot = self.boot
        if boot is None or boot.phase >= Phase.LINUX or boot.over is not None:
            boot = self._begin(when, phase)
        self._step(boot, when, phase)
        return boot

    def _fetched(self, event: Event) -> None:
        data, boot = event.data, self.boot
        if not isinstance(data.get("file"), str):
            return
        name = data["file"].rpartition("/")[2]
        is_loader = is_loader_file(name)
        is_whole = bool(figure(data, "bytes")) and not data.get("broken")
        if boot is not None and event.when <= boot.kernel:
            return  # told late
        waits = 0.0 if boot is None else boot.wait_until
        boot = self._loading(
            event.when, Phase.FETCHED if is_whole and not is_loader else Phase.LOADING
        )
        if is_loader and waits > event.when:
            boot.wait_until = waits  # the script that tells the PC to wait is a file as well

    def _started(self, when: float) -> None:
        """Follow the start of Linux, which the server computes from the PC's first report."""
        boot = self.boot
        if boot is not None and boot.kernel and abs(when - boot.kernel) <= SAME_KERNEL_SECONDS:
            return
        # If it is another kernel, no request of this boot was seen.
        if boot is None or boot.kernel or boot.phase is Phase.RUNNING or boot.over is not None:
            boot = self._begin(when, Phase.LINUX)
        self._step(boot, when, Phase.LINUX)
        boot.kernel = when

    def _reported(self, event: Event) -> None:
        """Follow a report of the PC, or another event of the server."""
        stage, when, boot = event.stage, event.when, self.boot
        uptime = figure(event.data, "uptime")
        began = when if uptime is None else max(when - uptime, 0.0)
        if stage.startswith(FAILED) and stage not in NO_END:
            if boot is None:
                boot = self._begin(began, Phase.LINUX)
            if boot.phase is not Phase.RUNNING:
                self._step(boot, when, boot.phase)
                boot.failed = True
        elif stage == "userland":
            if boot is None or boot.over is not None:
                boot = self._begin(began, Phase.LINUX)
            self._step(boot, when, Phase.RUNNING)
        elif stage.startswith(INIT):
            if boot is None or boot.presumed:
                boot = self._begin(began, Phase.LINUX)
            if boot.phase is not Phase.RUNNING:
                self._step(boot, when, Phase.LINUX)
        elif uptime is not None and stage != "swap":
            boot = self._signed(when)
            if stage in BACK and "server" in event.data:
                boot.elsewhere = self._went_elsewhere(boot, event)
            device = str(event.data.get("device", ""))
            lacks_one = boot.mirrors.get(device, "whole") != "whole"
            if stage in MIRROR_CHANGES and (stage != FRESH_LEG or lacks_one):
                boot.note_mirror(device, MIRROR_CHANGES[stage])
        if uptime is not None and self.boot is not None and self.boot.presumed:
            self.boot.began = self.boot.began or began

    # Connections.

    def _went_elsewhere(self, boot: Boot, event: Event) -> bool:
        """Return whether a seat that is attached again has another server of its pool (ADR 22)."""
        lost = event.when - (figure(event.data, "seconds") or 0.0) - BACK_SECONDS
        return boot.attached.get(self._swap, 0.0) < lost

    def _attached(self, data: dict[str, Any], when: float) -> None:
        export = data.get("export")
        if not isinstance(export, str):
            return
        boot = self._signed(when)
        boot.phase = max(boot.phase, Phase.LINUX)
        # The server counts an image's connections for all seats together.
        count = figure(data, "connections") if self._is_own(export) else None
        boot.connections[export] = int(count or boot.connections.get(export, 0) + 1)
        boot.attached[export] = when
        if export == self._swap or self._swap not in boot.attached:
            boot.cut, boot.clean, boot.elsewhere = None, False, False

    def _is_own(self, export: str) -> bool:
        return export.startswith(self._swap)

    def _detached(self, event: Event) -> None:
        export, boot = event.data.get("export"), self.current
        if boot is None or not isinstance(export, str) or export not in boot.connections:
            return  # of a boot before, whose end is noticed late
        is_replaced = event.message.endswith(REPLACED)
        if is_replaced and event.when - boot.attached[export] < REPLACED_SECONDS:
            return
        left = boot.connections[export] - 1
        if self._is_own(export):
            left = int(figure(event.data, "connections") or 0)
        if left > 0:
            boot.connections[export] = left
            return
        del boot.connections[export]
        if export == self._swap or (self._swap not in boot.attached and not boot.connections):
            boot.cut, boot.clean = event.when, event.message.endswith(CLEAN)
