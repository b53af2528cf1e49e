"""The panel's /metrics: the room and its servers, for Prometheus. A scrape does no I/O.

Gauges are read from the room when they are asked for. tally.py counts what the servers do not count
themselves. A seat has a label of its own only on request: 1,000 seats are 5,000 series.
"""

from collections import Counter as Counts
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import prometheus_client
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

import netboot
from netboot.boot.stages import BY_NAME
from netboot.feed.records import STATES
from netboot.panel.records import RoomSeat, RoomServer, RoomView
from netboot.panel.room import Room
from netboot.panel.tally import Tally

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OTHER = "other"  # a stage of another release


@dataclass(frozen=True, slots=True)
class _Gauge:
    """One figure of each server: its name without ``netboot_``, its text and its value."""

    name: str
    text: str
    of: Callable[[RoomServer], float]


SERVER_GAUGES = (
    _Gauge("pages_connections", "NBD connections.", lambda row: row.connections),
    _Gauge("pages_connections_limit", "NBD connections at most.", lambda row: row.most_connections),
    _Gauge(
        "pages_stored_bytes", "Bytes that the pages of all leases take.", lambda row: row.stored
    ),
    _Gauge("pages_capacity_bytes", "Bytes of pages that fit.", lambda row: row.capacity),
    _Gauge("pages_granted_bytes", "Bytes of swap that leases promise.", lambda row: row.granted),
    _Gauge(
        "admission_waiting_seats",
        "Seats that wait for their turn to boot.",
        lambda row: row.waiting,
    ),
    _Gauge(
        "event_loop_lag_seconds",
        "Longest delay of the event loop in a second.",
        lambda row: row.lag,
    ),
    _Gauge("http_downloads", "Files that are sent over HTTP now.", lambda row: row.downloads),
    _Gauge("server_memory_bytes", "Memory of the server's processes.", lambda row: row.memory),
    _Gauge("disk_free_bytes", "Free bytes where the pages are.", lambda row: row.disk[0]),
    _Gauge(
        "disk_size_bytes", "Size of the file system where the pages are.", lambda row: row.disk[1]
    ),
)


class RoomCollector(Collector):
    """The gauges of a room, and the counters that its servers keep."""

    def __init__(self, view: Callable[[], RoomView], *, each_seat: bool) -> None:
        self._view = view
        self._each_seat = each_seat

    def describe(self) -> Iterable[Metric]:
        """Return no metric: the collector is registered before the room has a server."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        view = self._view()
        here = [server for server in view.servers if server.connected]
        seats = {server.name: list[RoomSeat]() for server in here}
        for seat in view.seats:
            if seat.server in seats:
                seats[seat.server].append(seat)
        yield _each(
            "feed_connected",
            "1 if the panel reads the server's feed, else 0.",
            ((server.name, float(server.connected)) for server in view.servers),
        )
        yield from _builds(here)
        for gauge in SERVER_GAUGES:
            yield _each(
                gauge.name, gauge.text, [(server.name, float(gauge.of(server))) for server in here]
            )
        yield from _split(here)
        yield _latency(here)
        yield from _states(seats)
        yield from self._memory(seats)

    def _memory(self, seats: dict[str, list[RoomSeat]]) -> Iterator[Metric]:
        """Yield the memory that seats report: of each, or the sum and the worst of all."""
        labels = ("server", "mac", "name") if self._each_seat else ("server",)
        for name, text, of, together in SEAT_GAUGES:
            how = "" if self._each_seat else f" The {together.__name__} of all seats."
            metric = GaugeMetricFamily(f"netboot_{name}", text + how, labels=labels)
            for server, rows in seats.items():
                told = [(row, of(row)) for row in rows if row.report is not None]
                if self._each_seat:
                    for row, value in told:
                        metric.add_metric((server, row.mac, row.name), value)
                else:
                    values = [value for _, value in told]
                    metric.add_metric((server,), float(together([0.0, *values])))
            yield metric


def _swap_used(row: RoomSeat) -> float:
    return row.report.swap_used if row.report else 0.0


def _swap_size(row: RoomSeat) -> float:
    return row.report.swap_size if row.report else 0.0


def _available(row: RoomSeat) -> float:
    return row.report.available if row.report else 0.0


def _memory_pressure(row: RoomSeat) -> float:
    return row.report.pressure.memory_some / 100 if row.report else 0.0


def _io_pressure(row: RoomSeat) -> float:
    return row.report.pressure.io_some / 100 if row.report else 0.0


SEAT_GAUGES: tuple[
    tuple[str, str, Callable[[RoomSeat], float], Callable[[list[float]], float]], ...
] = (
    ("seat_swap_used_bytes", "Swap in use.", _swap_used, sum),
    ("seat_swap_size_bytes", "Size of the swap.", _swap_size, sum),
    ("seat_memory_available_bytes", "RAM that programs can still have.", _available, sum),
    (
        "seat_memory_pressure_ratio",
        "Part of the time in which a task waited for memory (PSI).",
        _memory_pressure,
        max,
    ),
    (
        "seat_io_pressure_ratio",
        "Part of the time in which a task waited for input or output (PSI).",
        _io_pressure,
        max,
    ),
)


def _each(name: str, text: str, values: Iterable[tuple[str, float]]) -> Metric:
    metric = GaugeMetricFamily(f"netboot_{name}", text, labels=("server",))
    for server, value in values:
        metric.add_metric((server,), value)
    return metric


def _builds(servers: Sequence[RoomServer]) -> Iterator[Metric]:
    metric = InfoMetricFamily("netboot_build", "Releases that run.", labels=("server",))
    for server in servers:
        metric.add_metric((server.name,), {"version": server.version})
    yield metric
    panel = InfoMetricFamily("netboot_panel_build", "The panel's own release.")
    panel.add_metric((), {"version": netboot.__version__})
    yield panel
    yield _each(
        "server_start_time_seconds",
        "When the server started, in seconds since the epoch.",
        ((server.name, server.started) for server in servers),
    )


@dataclass(frozen=True, slots=True)
class _Split:
    """Figures of each server by one label: the name without ``netboot_``, the label, a text and the values."""

    name: str
    label: str
    text: str
    of: Callable[[RoomServer], Mapping[str, float]]


SPLIT_GAUGES = (
    _Split(
        "tftp_transfers",
        "state",
        "TFTP transfers: unanswered by the PC yet, or sending.",
        lambda row: row.transfers,
    ),
    _Split("mirrors", "state", "Seats that are on, by their mirror.", lambda row: row.mirrors),
)
# The totals that each server keeps since its start.
SPLIT_COUNTERS = (
    _Split(
        "pages_refused", "reason", "Refusals of connections and leases.", lambda row: row.refused
    ),
    _Split("dhcp_packets", "type", "DHCP packets.", lambda row: row.packets),
    _Split(
        "pages_requests", "op", "Requests of pages that were answered.", lambda row: row.requests
    ),
    _Split(
        "pages_delayed_seconds",
        "reason",
        "Time that seats waited: for room in the store, at their byte rate, for turns of others.",
        lambda row: row.delays,
    ),
    _Split(
        "tftp_transfers_ended",
        "outcome",
        "TFTP transfers that ended, by their outcome.",
        lambda row: row.transfers_ended,
    ),
)
COUNTERS = (
    _Gauge("http_sent_bytes", "Bytes that were sent over HTTP.", lambda row: row.sent),
    _Gauge("worker_cpu_seconds", "CPU time of the page workers.", lambda row: row.worker_cpu),
)


def _split(servers: Sequence[RoomServer]) -> Iterator[Metric]:
    """Yield the figures of servers that have a label of their own, and their totals."""
    families: Iterable[tuple[type[GaugeMetricFamily | CounterMetricFamily], tuple[_Split, ...]]] = (
        (GaugeMetricFamily, SPLIT_GAUGES),
        (CounterMetricFamily, SPLIT_COUNTERS),
    )
    for family, each in families:
        for split in each:
            metric = family(f"netboot_{split.name}", split.text, labels=("server", split.label))
            for server in servers:
                for value, figure in split.of(server).items():
                    metric.add_metric((server.name, value), figure)
            yield metric
    for total in COUNTERS:
        counter = CounterMetricFamily(f"netboot_{total.name}", total.text, labels=("server",))
        for server in servers:
            counter.add_metric((server.name,), total.of(server))
        yield counter


def _latency(servers: Sequence[RoomServer]) -> Metric:
    """Return the histogram of requests. Its sum takes each request as the middle of its bucket."""
    metric = HistogramMetricFamily(
        "netboot_pages_request_seconds",
        "Time until a request of pages was answered (a sample of them).",
        labels=("server",),
    )
    for server in servers:
        count, seconds = 0, 0.0
        buckets = []
        for power, requests in enumerate(server.latency):
            count += requests
            seconds += requests * 0.75 * 2**power / 1e6
            buckets.append((repr(2**power / 1e6), float(count)))
        metric.add_metric((server.name,), [*buckets, ("+Inf", float(count))], seconds)
    return metric


def _states(seats: dict[str, list[RoomSeat]]) -> Iterator[Metric]:
    states = GaugeMetricFamily(
        "netboot_seat_states", "Seats by their state.", labels=("server", "state")
    )
    stages = GaugeMetricFamily(
        "netboot_seats", "Seats by the stage of their last event.", labels=("server", "stage")
    )
    for server, rows in seats.items():
        found = Counts(row.state for row in rows)
        for state in STATES:
            states.add_metric((server, state), found[state])
        known = Counts(row.stage if row.stage in BY_NAME else OTHER for row in rows if row.stage)
        for stage, count in sorted(known.items()):
            stages.add_metric((server, stage), count)
    yield states
    yield stages


class Metrics:
    """The metrics of a room. ``tally`` is a receiver of records, like the room itself."""

    def __init__(self, room: Room, began: float, *, each_seat: bool = False) -> None:
        """``began``: when the panel did. ``each_seat``: give the seats' memory for each MAC address."""
        self._registry = CollectorRegistry()
        self.tally = Tally(self._registry, room.server_name, began)
        self._registry.register(RoomCollector(room.view, each_seat=each_seat))
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """Return the text of /metrics, of type ``CONTENT_TYPE``."""
        return prometheus_client.generate_latest(self._registry)
