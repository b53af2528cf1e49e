"""A worker with several connections of a lease: fencing, fairness, waits for room."""

import contextlib
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from netboot.pages import control, process
from netboot.pages.exports import LeasedExports
from netboot.pages.lease import LeaseTable
from netboot.pages.nbd.backing import PageFile
from netboot.pages.stores import memory
from netboot.pages.stores.memory import MemoryStore
from netboot.pages.worker import areas, reports, worker
from netboot.pages.worker.buffers import BUFFER_BYTES
from netboot.pages.worker.governor import BURST_SECONDS, QUANTUM_BYTES
from tests.support import scapy_nbd as nbd
from tests.support.faulty_store import Full
from tests.support.nbd_client import NbdClient
from tests.support.page_server import Running, running

MIB = 1 << 20
PAGE = bytes(range(256)) * 16
SEAT, EXPORT = "52:54:00:12:34:01", "seat-525400123401"
CEILING = 4 * MIB  # bytes per second
OTHER, OTHER_EXPORT = "52:54:00:12:34:02", "seat-525400123402"

CONNECT = {
    "do": "connect",
    "id": 0,
    "lease": "a",
    "set": 0,
    "address": "",
    "export": "a",
    "store": "memory",
    "size_bytes": MIB,
    "read_only": False,
    "ceiling": None,
    "seat": "lease",
    "written": True,
    "headers": 0,
    "allocation": False,
}


@pytest.fixture
def leases() -> Iterator[Running]:
    with closing(MemoryStore()) as store:
        table = LeaseTable(64 * MIB)
        table.grant(SEAT, EXPORT, "t1", 16 * MIB, 0.0)
        table.grant(OTHER, OTHER_EXPORT, "t1", 16 * MIB, 0.0)
        with running(LeasedExports(store, table, clock=lambda: 0.0), workers=1) as server:
            yield server


def test_nothing_of_an_older_set_happens_once_a_newer_one_is_answered(leases: Running) -> None:
    first = [NbdClient(leases.address).attach(f"{EXPORT}@t1.1") for _ in range(3)]
    assert [client.write(0, PAGE) for client in first] == [0, 0, 0]
    for client in first:  # half-sent requests, not complete before the fence
        client.sock.sendall(client.request(1, 0, 8192) + bytes(4096))
    second = [NbdClient(leases.address).attach(f"{EXPORT}@t1.2") for _ in range(2)]
    assert [client.write(4096, PAGE[::-1]) for client in second] == [0, 0]
    for client in first:
        with pytest.raises((EOFError, OSError)):
            client.sock.sendall(bytes(4096))
            client.receive(1)
        client.sock.close()
    assert second[0].read(4096, 4096) == PAGE[::-1]
    assert leases.event("detach", 3).message.endswith("replaced by newer connections of its seat")
    with NbdClient(leases.address) as late:
        assert late.go(f"{EXPORT}@t1.1")[-1].sprintf("%type%") == "ERR_POLICY"
    for client in second:
        client.sock.close()


def test_a_seat_that_floods_keeps_nobody_from_reading(leases: Running) -> None:
    with NbdClient(leases.address) as flood, NbdClient(leases.address) as reader:
        flood.attach(f"{EXPORT}@t1")
        reader.attach(f"{OTHER_EXPORT}@t1")
        flood.sock.setblocking(False)
        request = memoryview(flood.request(1, 0, 128 << 10) + bytes(128 << 10))
        unsent = request

        def read() -> None:
            nonlocal unsent
            with contextlib.suppress(BlockingIOError):
                unsent = unsent[flood.sock.send(unsent) :] or request
            with contextlib.suppress(BlockingIOError):
                flood.sock.recv(1 << 20)
            assert reader.read(0, 4096) == bytes(4096)

        def shares() -> bool:
            read()
            return leases.server.waited().get("share", 0.0) > 0

        for _ in range(100):
            read()
        # On a busy machine the worker may have found both of them ready in none of 100 polls.
        wait_for(shares)


@pytest.mark.parametrize(("command", "flags"), [(6, 2), (4, 0)], ids=["zeroes", "trim"])
def test_a_storm_of_requests_that_take_long_is_no_turn(
    leases: Running, command: int, flags: int
) -> None:
    """2000 of them are 56 kB, less than a turn. They took 0.8 s, in which nobody else was served."""
    with NbdClient(leases.address) as storm, NbdClient(leases.address) as reader:
        storm.attach(f"{EXPORT}@t1")
        reader.attach(f"{OTHER_EXPORT}@t1")
        for each in (storm, reader):
            each.sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)

        def has_times() -> bool:
            reader.sock.sendall(reader.request(0, 0, 4096))
            return arrival(reader.sock, 16 + 4096) > 0

        wait_for(has_times)  # the kernel begins with them a moment later
        with stopped(*leases.server.worker_pids):  # both are there when it looks
            storm.sock.sendall(storm.request(command, 0, MIB, flags) * 2000)
            reader.sock.sendall(reader.request(0, 0, 4096))
        assert arrival(reader.sock, 16 + 4096) < arrival(storm.sock, 16 * 1000)


# Of Linux's include/uapi/asm-generic/socket.h. The value is a struct timespec.
SO_TIMESTAMPNS, TIMESPEC = 35, struct.Struct("@qq")


def arrival(sock: socket.socket, length: int) -> float:
    """Take so many bytes; return when the kernel had the last of them, however late we read.

    Zero if the kernel does not know it.
    """
    left, seconds = length, 0.0
    while left:
        data, told, _, _ = sock.recvmsg(left, socket.CMSG_SPACE(TIMESPEC.size))
        assert data
        left -= len(data)
        whole, nanoseconds = TIMESPEC.unpack(told[0][2]) if told else (0, 0)
        seconds = whole + nanoseconds / 1e9
    return seconds


@contextlib.contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """Let processes do nothing for the block."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.fixture
def limited() -> Iterator[Running]:
    """Yield a server with two seats: one with a ceiling and two areas, and one without."""
    with closing(MemoryStore()) as store:
        table = LeaseTable(64 * MIB)
        table.grant(SEAT, EXPORT, "t1", 16 * MIB, 0.0, fresh=True)
        table.grant(SEAT, f"{EXPORT}-2", "t2", 16 * MIB, 0.0, fresh=True)
        table.grant(OTHER, OTHER_EXPORT, "t1", 16 * MIB, 0.0)
        exports = LeasedExports(store, table, lambda: 0.0, {SEAT: CEILING}.get)
        with running(exports, workers=2) as server:
            yield server


def flood(client: NbdClient, seconds: float, command: int) -> tuple[int, float]:
    """Send READs or WRITEs of 4 KiB without a pause; return the bytes moved and the seconds.

    A busy machine may answer none of them in ``seconds``: then wait for the first bytes.
    """
    request = client.request(command, 0, 4096) + (PAGE if command else b"")
    moved, unsent, begin = 0, memoryview(request), time.monotonic()
    client.sock.setblocking(False)
    while (now := time.monotonic()) < begin + seconds or not moved:
        with contextlib.suppress(BlockingIOError):
            while received := len(client.sock.recv(1 << 20)):
                moved += received
        with contextlib.suppress(BlockingIOError):
            unsent = unsent[client.sock.send(unsent) :] or memoryview(request * 64)
        time.sleep(0.0005)
    client.sock.setblocking(True)
    return moved, now - begin


# The bytes beyond the ceiling that the worker may have buffered or sent.
SLACK = 2 * BUFFER_BYTES + 2 * QUANTUM_BYTES


def test_a_seat_alone_moves_no_more_than_its_ceiling(limited: Running) -> None:
    with NbdClient(limited.address).attach(f"{EXPORT}@t1") as client:
        before, begin = cpu_seconds(*limited.server.worker_pids), time.monotonic()
        moved, seconds = flood(client, 0.5, 0)
        assert 0 < moved <= CEILING * (seconds + BURST_SECONDS) + SLACK
        # The worker sleeps and does not spin.
        assert cpu_seconds(*limited.server.worker_pids) - before < seconds / 2
    wait_for(lambda: limited.server.waited().get("rate", 0.0) > seconds / 2)
    waited = limited.server.waited()
    assert waited.keys() == {"rate"} and waited["rate"] < time.monotonic() - begin


def test_a_ceiling_is_for_all_areas_and_connections_and_for_what_is_written(
    limited: Running,
) -> None:
    """Each reply of 16 bytes stands for a WRITE of 28 + 4096 bytes."""
    begin = time.monotonic()
    names = (f"{EXPORT}@t1", f"{EXPORT}@t1", f"{EXPORT}-2@t2")
    clients = [NbdClient(limited.address).attach(name) for name in names]
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda client: flood(client, 0.5, 1)[0], clients))
    seconds = time.monotonic() - begin
    for client in clients:
        client.sock.close()
    written = sum(done) // 16 * (4096 + 28 + 16)
    assert 0 < written <= CEILING * (seconds + BURST_SECONDS) + 3 * SLACK


def test_a_seat_at_its_ceiling_keeps_nobody_waiting_and_is_answered_in_the_end(
    limited: Running,
) -> None:
    with NbdClient(limited.address) as slow, NbdClient(limited.address) as other:
        slow.attach(f"{EXPORT}@t1")
        other.attach(f"{OTHER_EXPORT}@t1")
        slow.sock.sendall(slow.request(0, 0, MIB) + slow.request(0, 0, MIB))
        for _ in range(100):
            assert other.read(0, 4096) == bytes(4096)
        for cookie in (1, 2):
            assert nbd.SimpleReply(slow.receive(16)).cookie == cookie
            assert slow.receive(MIB) == bytes(MIB)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def cpu_seconds(*pids: int) -> float:
    """Return the CPU time of processes in seconds."""
    stats = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids)
    return sum(int(each[11]) + int(each[12]) for each in stats) / os.sysconf("SC_CLK_TCK")


def test_description_tells_the_generation(leases: Running) -> None:
    with NbdClient(leases.address) as client:
        replies = client.option(nbd.go(f"{EXPORT}@t1".encode(), 2))
        texts = [reply.data[2:].decode() for reply in replies if reply.data[:2] == b"\0\2"]
        assert [text.split(",")[0] for text in texts] == [f"swap of {SEAT}"]


def test_a_worker_that_does_not_answer_is_replaced(
    leases: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its PCs attached in vain ("no answer in 10 s"), and no line told it."""
    (before,) = leases.server.worker_pids
    with NbdClient(leases.address) as client, monkeypatch.context() as patch:
        assert client.attach(f"{EXPORT}@t1").write(0, PAGE) == 0
        patch.setattr(process, "PING_SECONDS", 0.02)
        os.kill(before, signal.SIGSTOP)
        leases.event("worker-died")
    with NbdClient(leases.address) as again:
        assert again.attach(f"{EXPORT}@t1").read(0, 4096) == PAGE
    assert leases.server.worker_pids != [before]
    assert f"page worker {before} left 10 pings unanswered" in caplog.text


@dataclass
class Lone:
    """A worker in a thread of ours, with one client. ``pages`` has room after ``refusals`` is 0."""

    client: socket.socket
    orders: socket.socket
    pages: Full

    def events(self) -> Iterator[control.Message]:
        """Yield the worker's reports until it ends."""
        while received := control.receive(self.orders):
            yield received[0]

    def ask(self, cookie: int, command: int, data: bytes = b"", length: int = 4096) -> None:
        request = nbd.Request(type=command, offset=0, length=len(data) or length, cookie=cookie)
        self.client.sendall(bytes(request) + data)

    def answered(self) -> int:
        """Return the cookie of the next reply, which is a success."""
        reply = nbd.SimpleReply(self.client.recv(16, socket.MSG_WAITALL))
        assert reply.error == 0
        return int(reply.cookie)


@pytest.fixture
def lone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lone]:
    files: list[Full] = []

    def adopt(descriptors: Sequence[int], size_bytes: int) -> PageFile:
        files.append(Full(memory.adopt(descriptors, size_bytes), refusals=1 << 60))
        return files[0]

    monkeypatch.setattr(areas, "load", lambda kind: SimpleNamespace(adopt=adopt))
    monkeypatch.setattr(worker, "RETRY_SECONDS", 0.001)
    monkeypatch.setattr(reports, "WARN_SECONDS", 0.0001)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client, served = socket.socketpair()
    thread = threading.Thread(target=worker.Worker(theirs, None).run)
    with closing(MemoryStore()) as store, closing(store.create("a", MIB)) as pages, ours, client:
        carried = control.carry(b"hello", b"")
        control.send(ours, CONNECT, [served.fileno(), carried, *pages.descriptors()])
        served.close()
        os.close(carried)
        thread.start()
        client.settimeout(60)
        ours.settimeout(60)
        assert client.recv(5) == b"hello"
        yield Lone(client, ours, files[0])
        control.send(ours, {"do": "stop"})
        thread.join()
        theirs.close()


def test_no_room_delays_the_answer_and_is_told(lone: Lone) -> None:
    lone.ask(7, 1, PAGE)
    assert "delayed" in (event["event"] for event in lone.events())
    lone.pages.refusals = 0
    assert lone.answered() == 7


def test_the_time_without_room_is_told_as_well_as_the_end_of_it(lone: Lone) -> None:
    begin = time.monotonic()
    lone.ask(7, 1, PAGE)
    told = next(event for event in lone.events() if event["event"] == "waited")
    lone.pages.refusals = 0
    assert lone.answered() == 7
    assert told["seconds"].keys() == {"store"} and told["lease"] == ""
    assert 0 < told["seconds"]["store"] < time.monotonic() - begin


def test_a_read_passes_the_write_that_waits(lone: Lone) -> None:
    """Swap fault 1.5: it waited behind the write, and so the whole PC did."""
    lone.ask(7, 1, PAGE)
    for cookie in (8, 9):
        lone.ask(cookie, 0)
        assert lone.answered() == cookie
        assert lone.client.recv(4096, socket.MSG_WAITALL) == bytes(4096)
    lone.pages.refusals = 0
    assert lone.answered() == 7


def test_the_end_of_a_client_that_waits_is_noticed_at_once(lone: Lone) -> None:
    """Else its write could be done after the same write of another connection."""
    lone.ask(7, 1, PAGE)
    next(event for event in lone.events() if event["event"] == "delayed")
    lone.client.close()
    closed = next(event for event in lone.events() if event["event"] == "closed")
    assert closed["reason"] == "closed by the client"
    assert lone.pages.pages.view(0, 4096) is None, "nothing was written"


@pytest.mark.parametrize("stops", [True, False], ids=["stop", "no control plane"])
def test_no_client_has_a_turn_between_the_last_orders(stops: bool) -> None:
    """A worker that stood still has several: the last one may say that its pages are old."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client, served = socket.socketpair()
    with closing(MemoryStore()) as store, closing(store.create("a", MIB)) as pages, ours, client:
        client.sendall(bytes(nbd.Request(type=1, offset=0, length=4096, cookie=1)) + PAGE)
        with served, os.fdopen(control.carry(b"", b"")) as carried:
            descriptors = [served.fileno(), carried.fileno(), *pages.descriptors()]
            control.send(ours, CONNECT, descriptors)
        for order in ("leave", "fence", "stop" if stops else "drop"):
            control.send(ours, {"do": order, "lease": "another", "set": 1})
        if not stops:
            ours.close()
        worker.Worker(theirs, None).run()
        found = bytearray(4096)
        pages.read_into(0, memoryview(found))
        assert found == bytes(4096)
