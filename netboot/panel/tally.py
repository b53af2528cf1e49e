"""Counters of what the feeds tell: requests, bytes, boots and their stages, for metrics.py.

They begin at zero with the panel, and count what happens while a feed is read.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Histogram

from netboot.boot.stages import BY_NAME
from netboot.feed.records import Event, Record, SeatRow, ServerRow

BOOT_BUCKETS = (1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600)  # seconds
MOST_GAP = 5.0  # seconds between two figures of a server that its rates are taken to hold for
MOST_BOOTS = 8192  # seats whose boot is looked at
MOST_STAGES = 100  # events of one boot


@dataclass(slots=True)
class _Boot:
    """The boot of one seat, as far as it is counted."""

    name: str = ""
    is_counted: bool = True
    events: deque[tuple[str, float]] = field(default_factory=lambda: deque(maxlen=MOST_STAGES))


class Tally:
    """Counters of what the feeds tell. A receiver of records, see netboot.panel.follow."""

    def __init__(self, registry: CollectorRegistry, name_of: Callable[[str], str]) -> None:
        """``name_of``: the name of a server by its link."""
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._name = name_of
        self._last: dict[str, float] = {}
        self._boots: dict[tuple[str, str], _Boot] = {}

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, ("server", *labels), registry=registry)

        self._requests = counter("netboot_pages_requests", "Requests of pages that were answered.")
        self._bytes = counter("netboot_pages_bytes", "Bytes of pages that were moved.", "direction")
        self._delayed = counter(
            "netboot_pages_delayed_seconds", "Time that pages waited for fairness."
        )
        self._cpu = counter("netboot_server_cpu_seconds", "CPU time of a server's processes.")
        self._outcomes = counter("netboot_boots", "Boots that ended, by their outcome.", "outcome")
        self._reattached = counter("netboot_seat_reattached", "Times that lost swap was back.")
        self._lost = counter("netboot_feed_interruptions", "Times that a server's feed was lost.")
        self._stages = Histogram(
            "netboot_boot_stage_seconds",
            "Time from the beginning of a boot to its first event of a stage.",
            ("server", "stage"),
            buckets=BOOT_BUCKETS,
            registry=registry,
        )

    def connected(self, link: str, reason: str) -> None:
        """Take that a server's feed is read (``reason`` empty) or why it is not."""
        if reason and self._last.pop(link, None) is not None:
            self._lost.labels(self._name(link)).inc()

    def take(self, link: str, record: Record) -> None:
        """Take a record of a server's feed."""
        match record:
            case ServerRow():
                self._take_figures(link, record)
            case SeatRow():
                self._take_row(link, record)
            case Event():
                self._take_event(link, record)
            case _:
                pass

    def _take_figures(self, link: str, row: ServerRow) -> None:
        seconds = min(max(row.when - self._last.get(link, row.when), 0.0), MOST_GAP)
        self._last[link] = row.when
        name = self._name(link)
        self._requests.labels(name).inc(max(row.requests_rate, 0) * seconds)
        self._bytes.labels(name, "read").inc(max(row.read_rate, 0) * seconds)
        self._bytes.labels(name, "written").inc(max(row.write_rate, 0) * seconds)
        self._cpu.labels(name).inc(max(row.cpu, 0) * seconds)
        self._delayed.labels(name).inc(max(row.delayed, 0))

    def _take_event(self, link: str, event: Event) -> None:
        if event.stage == "agent:reattached":
            self._reattached.labels(self._name(link)).inc()
        boot = self._boots.get((link, event.seat))
        if boot is not None and event.stage in BY_NAME:
            boot.events.append((event.stage, event.when))

    def _take_row(self, link: str, row: SeatRow) -> None:
        boot = self._boots.get((link, row.mac))
        is_running = row.state in ("running", "short")
        if boot is None:
            if len(self._boots) >= MOST_BOOTS:
                del self._boots[next(iter(self._boots))]
            # A boot that ran before this panel is not counted; one that goes on is.
            boot = self._boots[link, row.mac] = _Boot(
                row.boot, row.state not in ("booting", "waiting")
            )
        if row.boot != boot.name:
            if not boot.is_counted:
                self._end(link, boot, row, "unfinished")
            boot.name, boot.is_counted = row.boot, not row.boot
        if boot.is_counted:
            return
        if is_running:
            self._end(link, boot, row, "running")
        elif row.stage.startswith("failed:"):
            self._end(link, boot, row, "failed")

    def _end(self, link: str, boot: _Boot, row: SeatRow, outcome: str) -> None:
        boot.is_counted = True
        self._outcomes.labels(self._name(link), outcome).inc()
        if outcome == "running":
            first: dict[str, float] = {}
            for stage, when in boot.events:
                if when >= row.booted:
                    first.setdefault(stage, when)
            for stage, when in first.items():
                self._stages.labels(self._name(link), stage).observe(when - row.booted)
            boot.events.clear()
