"""The figures of each second: the pages of each seat, and the server as a whole."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Protocol

from netboot.boot.admission import Admission
from netboot.boot.events import BootEvent
from netboot.boot.limits import NBD_CONNECTIONS
from netboot.feed.records import Pages, ServerRow
from netboot.pages.lease import LeaseTable
from netboot.pages.stores.folder import SUFFIX
from netboot.serve.feed.usage import Lag, Processor, disk, resident, stored

ROUND = 5  # seconds in which each page file is looked at once
AT_ONCE = 100  # leases or seats between two visits to the event loop
LEAST_LOOKED_AT = 20  # page files in a second


class Counted(Protocol):
    """The page server as the feed needs it."""

    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """Return the counters by lease."""

    def seats(self) -> Mapping[str, str]:
        """Return the seat of each of these leases, empty for none."""

    def latency(self) -> tuple[int, ...]:
        """Return how many timed turns there were by the power of two of their microseconds."""

    def waited(self) -> Mapping[str, float]:
        """Return for how many seconds seats waited, by reason."""

    @property
    def connections(self) -> int:
        """The number of connections."""

    @property
    def worker_pids(self) -> Sequence[int]:
        """The processes of the page workers."""


class Sending(Protocol):
    """The HTTP server as the feed needs it."""

    @property
    def sent_bytes(self) -> int:
        """The bytes of all answers since the start."""

    @property
    def downloads(self) -> int:
        """The number of files that are sent now."""


class Transferring(Protocol):
    """The TFTP server as the feed needs it."""

    def transfers(self) -> Mapping[str, int]:
        """Return how many transfers there are now, by their state."""

    @property
    def ended(self) -> Mapping[str, int]:
        """The numbers of transfers that have ended, by how they did."""


@dataclass(slots=True)
class _Done:
    """The work done for a lease, or for a seat, since the server's start. ``reads`` and so on: requests."""

    reads: int = 0
    writes: int = 0
    trims: int = 0
    read: int = 0
    written: int = 0


@dataclass(slots=True)
class Told:
    """Counts of the events of seats."""

    refused: Counter[str] = field(default_factory=Counter)
    packets: Counter[str] = field(default_factory=Counter)

    def count(self, event: BootEvent) -> None:
        """Count an event: a DHCP message by its type, a refusal by the part that refused."""
        stage = event.stage
        if stage in ("dhcp", "pxe"):
            self.packets[str(event.data.get("type", "damaged"))] += 1
        elif stage == "pages:refused":
            self.refused["pages"] += 1
        elif stage == "identity" or (
            stage in ("lease", "http", "tftp") and "refused: " in event.message
        ):
            self.refused[stage] += 1


class Figures:
    """Takes the figures of the page server ``pages`` and of this process.

    ``folders`` have the page files, the last one is on the disk that counts. Call ``take`` each second.
    ``http`` and ``tftp`` are None as long as these servers do not run.
    """

    def __init__(
        self, pages: Counted, table: LeaseTable, admission: Admission, folders: Sequence[Path]
    ) -> None:
        self._pages = pages
        self._table = table
        self._admission = admission
        self._folders = folders
        self.lag = Lag()
        self.told = Told()
        self.http: Sending | None = None
        self.tftp: Transferring | None = None
        self._done = _Done()  # for all
        self._waited = 0.0
        self._processor = Processor()
        self._leases: dict[str, _Done] = {}
        self._seats: dict[str, _Done] = {}
        self._stored: dict[str, int] = {}  # by page file
        self._unseen: list[str] = []  # page files that this round has not looked at yet
        self._share = LEAST_LOOKED_AT
        self._at = time.monotonic()

    async def take(self, when: float) -> tuple[dict[str, Pages], ServerRow]:
        """Return the pages of each seat with swap, and the server. ``when``: seconds since the epoch.

        PCs are answered in between.
        """
        now = time.monotonic()
        elapsed, self._at = max(now - self._at, 1e-3), now
        counters, owners = self._pages.counters(), self._pages.seats()
        moved: dict[str, _Done] = {}
        connections: Counter[str] = Counter()
        total = _Done()
        await asyncio.sleep(0)
        for number, (lease, counted) in enumerate(counters.items()):
            if number % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
            step = self._step(lease, counted)
            seat = owners.get(lease, "")
            _add(total, step)
            if seat:
                connections[seat] += counted["connections"]
                _add(moved.setdefault(seat, _Done()), step)
        for lease in self._leases.keys() - counters.keys():
            del self._leases[lease]
        await asyncio.sleep(0)
        held = self._table.holdings()
        self._look(generation for _, files in held.values() for generation in files)
        await asyncio.sleep(0)
        found: dict[str, Pages] = {}
        for seat in held.keys() | moved.keys():
            if len(found) % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
            found[seat] = self._row(
                seat, moved.get(seat), connections[seat], held.get(seat), elapsed
            )
        for seat in self._seats.keys() - found.keys():
            del self._seats[seat]
        return found, self._server(when, total, elapsed)

    def _step(self, lease: str, counted: Mapping[str, int]) -> _Done:
        """Return the work since the last second."""
        before = self._leases.get(lease, _Done())
        now = self._leases[lease] = _Done(
            counted["reads"],
            counted["writes"],
            counted["trims"],
            counted["bytes_read"],
            counted["bytes_written"],
        )
        return _Done(
            max(0, now.reads - before.reads),
            max(0, now.writes - before.writes),
            max(0, now.trims - before.trims),
            max(0, now.read - before.read),
            max(0, now.written - before.written),
        )

    def _row(
        self,
        seat: str,
        step: _Done | None,
        connections: int,
        held: tuple[int, list[str]] | None,
        elapsed: float,
    ) -> Pages:
        granted, files = held or (0, [])
        done = self._seats.setdefault(seat, _Done())
        step = step or _Done()
        _add(done, step)
        return Pages(
            connections=connections,
            granted=granted,
            stored=sum(self._stored.get(each, 0) for each in files),
            read=done.read,
            written=done.written,
            read_rate=round(step.read / elapsed, 1),
            write_rate=round(step.written / elapsed, 1),
        )

    def _look(self, generations: Iterable[str]) -> None:
        """Look at some page files. A room of 1,000 takes 0.5 ms a second so, and 3 ms at once."""
        if not self._unseen:
            self._unseen = list(generations)
            known = set(self._unseen)
            self._stored = {key: size for key, size in self._stored.items() if key in known}
            self._share = max(LEAST_LOOKED_AT, -(-len(self._unseen) // ROUND))
        for generation in islice(reversed(self._unseen), self._share):
            paths = (f"{folder}/{generation}{SUFFIX}" for folder in self._folders)
            self._stored[generation] = stored(paths)
        del self._unseen[-self._share :]

    def _server(self, when: float, total: _Done, elapsed: float) -> ServerRow:
        done, http, tftp = self._done, self.http, self.tftp
        _add(done, total)
        requests = total.reads + total.writes + total.trims
        delays = {reason: round(seconds, 3) for reason, seconds in self._pages.waited().items()}
        delayed, self._waited = sum(delays.values()) - self._waited, sum(delays.values())
        return ServerRow(
            when=when,
            cpu=round(self._processor.take(self._pages.worker_pids), 4),
            memory=resident(),
            lag=round(self.lag.take(), 6),
            granted=self._table.granted_bytes,
            capacity=self._table.capacity_bytes,
            stored=sum(self._stored.values()),
            connections=self._pages.connections,
            most_connections=NBD_CONNECTIONS.in_total or 0,
            requests_rate=round(requests / elapsed, 1),
            read_rate=round(total.read / elapsed, 1),
            write_rate=round(total.written / elapsed, 1),
            delayed=round(delayed, 3),
            latency=self._pages.latency(),
            waiting=self._admission.waiting(time.monotonic()),
            disk=disk(self._folders[-1]) if self._folders else (0, 0),
            refused=dict(self.told.refused),
            packets=dict(self.told.packets),
            requests={"read": done.reads, "write": done.writes, "trim": done.trims},
            delays=delays,
            worker_cpu=round(self._processor.of_workers, 2),
            sent=0 if http is None else http.sent_bytes,
            downloads=0 if http is None else http.downloads,
            transfers={} if tftp is None else dict(tftp.transfers()),
            transfers_ended={} if tftp is None else dict(tftp.ended),
        )


def _add(total: _Done, step: _Done) -> None:
    total.reads += step.reads
    total.writes += step.writes
    total.trims += step.trims
    total.read += step.read
    total.written += step.written
