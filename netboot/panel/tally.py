"""Counters over the feeds: bytes of pages, boots and their stages, for metrics.py.

They begin at zero with the panel, and count what happens while a feed is read.
"""

from collections.abc import Callable

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Histogram

from netboot.boot.stages import BY_NAME
from netboot.feed.records import Event, Record, ServerRow
from netboot.panel.records import Boot, Outcome

BOOT_BUCKETS = (1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600)  # seconds
MOST_GAP = 5.0  # seconds between two figures of a server that its rates are taken to hold for
MOST_BOOTS = 8192  # seats whose last boot is known


class Tally:
    """Counters over the feeds. A sink of records, see netboot.panel.follow."""

    def __init__(
        self, registry: CollectorRegistry, name_of: Callable[[str], str], began: float
    ) -> None:
        """``name_of``: the name of a server by its link. ``began``: events of before are not counted."""
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._name = name_of
        self._last: dict[str, float] = {}
        self._began = began
        self._boots: dict[tuple[str, str], tuple[float, Outcome]] = {}

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, ("server", *labels), registry=registry)

        self._bytes = counter("netboot_pages_bytes", "Bytes of pages that were moved.", "direction")
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
        """Note that a server's feed is read, or for which ``reason`` it is not."""
        if reason and self._last.pop(link, None) is not None:
            self._lost.labels(self._name(link)).inc()

    def take(self, link: str, record: Record) -> None:
        """Take a record of a server's feed."""
        match record:
            case ServerRow():
                self._take_figures(link, record)
            case Event():
                self._take_event(link, record)
            case _:
                pass

    def _take_figures(self, link: str, row: ServerRow) -> None:
        seconds = min(max(row.when - self._last.get(link, row.when), 0.0), MOST_GAP)
        self._last[link] = row.when
        name = self._name(link)
        self._bytes.labels(name, "read").inc(max(row.read_rate, 0) * seconds)
        self._bytes.labels(name, "written").inc(max(row.write_rate, 0) * seconds)
        self._cpu.labels(name).inc(max(row.cpu, 0) * seconds)

    def _take_event(self, link: str, event: Event) -> None:
        if event.stage == "agent:reattached" and event.when >= self._began:
            self._reattached.labels(self._name(link)).inc()

    def take_boot(self, link: str, mac: str, name: str, boot: Boot) -> None:
        """Take a boot that grew or ended, see netboot.panel.boots."""
        key = link, mac
        before = self._boots.pop(key, None)
        if before is None and len(self._boots) >= MOST_BOOTS:
            del self._boots[next(iter(self._boots))]
        self._boots[key] = boot.began, boot.outcome
        if before is not None and before[0] != boot.began and before[1] == "unfinished":
            self._outcomes.labels(self._name(link), "unfinished").inc()
        is_new = before != (boot.began, boot.outcome) and (boot.ended or 0.0) >= self._began
        if boot.outcome == "unfinished" or not is_new:
            return
        self._outcomes.labels(self._name(link), boot.outcome).inc()
        if boot.outcome == "running":
            for step in boot.stages:
                if step.stage in BY_NAME:
                    self._stages.labels(self._name(link), step.stage).observe(step.at)
