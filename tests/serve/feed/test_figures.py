"""The figures of each second, against a page server made of numbers."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from netboot.boot.admission import Admission
from netboot.boot.events import BootEvent
from netboot.feed.records import Pages, ServerRow
from netboot.host import processes
from netboot.pages.lease import Lease, LeaseTable
from netboot.pages.nbd.name import WireName
from netboot.serve.feed import figures as figures_module
from netboot.serve.feed import usage
from netboot.serve.feed.figures import Figures, Told

MIB = 1 << 20
SEAT, OTHER = "52:54:00:12:34:01", "52:54:00:12:34:02"
COUNTERS = ("reads", "writes", "trims", "bytes_read", "bytes_written", "connections")


class FakePages:
    def __init__(self) -> None:
        self.done: dict[str, tuple[int, ...]] = {}
        self.owners: dict[str, str] = {}
        self.delays: dict[str, float] = {}

    def counters(self) -> dict[str, dict[str, int]]:
        return {lease: dict(zip(COUNTERS, done, strict=True)) for lease, done in self.done.items()}

    def seats(self) -> dict[str, str]:
        return self.owners

    def latency(self) -> tuple[int, ...]:
        return (0, 3, 1)

    def waited(self) -> dict[str, float]:
        return self.delays

    @property
    def connections(self) -> int:
        return sum(done[-1] for done in self.done.values())

    @property
    def worker_pids(self) -> Sequence[int]:
        return [os.getpid(), 1 << 22]  # the second one is no process


def lease_of(table: LeaseTable, seat: str, export: str) -> str:
    lease = table.grant(seat, export, "t", MIB, 0.0, fresh=True)
    assert isinstance(lease, Lease)
    table.attach(WireName.parse(f"{export}@t"), 0.0)
    return lease.generation


def take(figures: Figures, when: float) -> tuple[dict[str, Pages], ServerRow]:
    return asyncio.run(figures.take(when))


class Ticks:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


def test_a_seat_has_the_sum_of_its_leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks, table, pages = Ticks(monkeypatch), LeaseTable(64 * MIB), FakePages()
    first, second = lease_of(table, SEAT, "a"), lease_of(table, SEAT, "b")
    for name in (first, second):
        (tmp_path / f"{name}.pages").write_bytes(bytes(8192))
    pages.owners = {first: SEAT, second: SEAT, "image-1": ""}
    pages.done = {
        first: (1, 2, 3, 4096, 8192, 2),
        second: (0, 0, 0, 0, 0, 1),
        "image-1": (9, 0, 0, 999, 0, 5),
    }
    figures = Figures(pages, table, Admission(None), [tmp_path])
    ticks.now += 2.0
    rows, server = take(figures, 50.0)
    assert rows == {SEAT: Pages(3, 2 * MIB, 16384, 4096, 8192, 2048.0, 4096.0)}
    assert (server.when, server.connections, server.stored) == (50.0, 8, 16384)
    assert (server.requests_rate, server.read_rate, server.write_rate) == (7.5, 2547.5, 4096.0)
    assert (server.granted, server.capacity) == (2 * MIB, 64 * MIB)
    assert server.memory > MIB and 0 < server.disk[0] <= server.disk[1]
    assert server.latency == (0, 3, 1)
    assert server.most_connections == 5120 and server.waiting == 0
    ticks.now += 1.0
    rows, server = take(figures, 51.0)
    assert rows[SEAT] == Pages(3, 2 * MIB, 16384, 4096, 8192), "nothing moved"
    assert (server.requests_rate, server.read_rate) == (0.0, 0.0)
    assert server.requests == {"read": 10, "write": 2, "trim": 3}, "of all leases, since the start"
    pages.done, pages.owners = {}, {}
    assert take(figures, 52.0)[1].requests == server.requests, "the leases have ended"


def test_delays_are_a_total_by_reason_and_the_sum_of_a_second(tmp_path: Path) -> None:
    pages = FakePages()
    figures = Figures(pages, LeaseTable(64 * MIB), Admission(None), [tmp_path])
    pages.delays = {"rate": 2.0}
    assert take(figures, 50.0)[1].delayed == 2.0
    pages.delays = {"rate": 2.5, "store": 0.25}
    _, server = take(figures, 51.0)
    assert (server.delays, server.delayed) == ({"rate": 2.5, "store": 0.25}, 0.75)
    assert take(figures, 52.0)[1].delayed == 0.0


class FakeTraffic:
    """An HTTP server and a TFTP server."""

    sent_bytes, downloads = 5000, 3
    ended: ClassVar = Counter({"done": 2})

    def transfers(self) -> dict[str, int]:
        return {"unanswered": 1, "sending": 0}


def test_what_is_sent_is_told_once_these_servers_run(tmp_path: Path) -> None:
    figures = Figures(FakePages(), LeaseTable(64 * MIB), Admission(None), [tmp_path])
    _, server = take(figures, 50.0)
    assert (server.sent, server.downloads, server.transfers) == (0, 0, {})
    figures.http = figures.tftp = FakeTraffic()
    _, server = take(figures, 51.0)
    assert (server.sent, server.downloads) == (5000, 3)
    assert server.transfers == {"unanswered": 1, "sending": 0}
    assert server.transfers_ended == {"done": 2}


def test_a_new_lease_takes_nothing_from_what_its_seat_has_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks, table, pages = Ticks(monkeypatch), LeaseTable(64 * MIB), FakePages()
    figures, rows = Figures(pages, table, Admission(None), [tmp_path]), dict[str, Pages]()
    for lease in ("a", "b"):
        pages.owners, pages.done = {lease: SEAT}, {lease: (1, 1, 0, 4096, 4096, 1)}
        ticks.now += 1.0
        rows, _ = take(figures, 0.0)
    assert (rows[SEAT].read, rows[SEAT].written) == (8192, 8192)
    pages.owners, pages.done = {}, {}
    assert take(figures, 0.0)[0] == {}, "it has no lease any more"


def test_a_few_files_are_looked_at_in_each_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []

    def stored(paths: Sequence[str]) -> int:
        looked.extend(paths)
        return 4096

    monkeypatch.setattr(figures_module, "stored", stored)
    table = LeaseTable(1 << 40)
    names = {lease_of(table, f"seat{number}", f"e{number}") for number in range(200)}
    figures = Figures(FakePages(), table, Admission(None), [tmp_path])
    for _ in range(figures_module.ROUND):
        before = len(looked)
        take(figures, 0.0)
        assert len(looked) - before == 40
    assert {Path(path).stem for path in looked} == names
    assert take(figures, 0.0)[1].stored == 200 * 4096


def test_events_are_counted_by_what_they_tell() -> None:
    told = Told()
    for stage, message, data in (
        ("dhcp", "DISCOVER", {"type": "DISCOVER"}),
        ("dhcp", "OFFER", {"type": "OFFER"}),
        ("pxe", "a damaged packet got no answer", {}),
        ("pages:refused", "x", {}),
        ("lease", "refused: no room", {}),
        ("lease", "swap of 1 MiB granted", {}),
        ("http", "a: refused: there is no such file", {}),
        ("identity", "x", {}),
    ):
        told.count(BootEvent(0.0, SEAT, stage, message, data))
    assert told.packets == {"DISCOVER": 1, "OFFER": 1, "damaged": 1}
    assert told.refused == {"pages": 1, "lease": 1, "http": 1, "identity": 1}


def test_what_the_kernel_does_not_know_is_nothing(tmp_path: Path) -> None:
    assert usage.disk(tmp_path / "none") == (0, 0)
    assert usage.stored([str(tmp_path / "none")]) == 0
    processor = usage.Processor()
    assert processor.take([os.getpid()]) == 0.0
    sum(range(1_000_000))
    assert processor.take([]) > 0.0
    assert processor.of_workers == 0.0


def test_the_workers_have_a_total_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    spent = {1: 5.0, 2: 1.0}
    monkeypatch.setattr(processes, "own_cpu_seconds", spent.__getitem__)
    processor = usage.Processor()
    processor.take([1, 2])
    spent[1] = 5.5
    processor.take([1])  # the other one died
    spent[3] = 0.25
    processor.take([1, 3])
    assert processor.of_workers == 6.75
