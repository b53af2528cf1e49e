"""What a worker does for several connections of a lease: fencing, fairness, waiting for room."""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from types import SimpleNamespace

import pytest

from netboot.pages import control, memory, worker
from netboot.pages.exports import LeasedExports
from netboot.pages.lease import LeaseTable
from netboot.pages.memory import MemoryStore
from netboot.pages.store import PageFile
from tests.support import scapy_nbd as nbd
from tests.support.faulty_store import Full
from tests.support.nbd_client import NbdClient
from tests.support.page_server import Running, running

MIB = 1 << 20
PAGE = bytes(range(256)) * 16
SEAT, EXPORT = "52:54:00:12:34:01", "seat-525400123401"
OTHER, OTHER_EXPORT = "52:54:00:12:34:02", "seat-525400123402"


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
    for client in first:  # begun, and never ended before the fence
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
        for _ in range(100):
            with contextlib.suppress(BlockingIOError):
                unsent = unsent[flood.sock.send(unsent) :] or request
            with contextlib.suppress(BlockingIOError):
                flood.sock.recv(1 << 20)
            assert reader.read(0, 4096) == bytes(4096)


def test_description_tells_the_generation(leases: Running) -> None:
    with NbdClient(leases.address) as client:
        replies = client.option(nbd.go(f"{EXPORT}@t1".encode(), 2))
        texts = [reply.data[2:].decode() for reply in replies if reply.data[:2] == b"\0\2"]
        assert [text.split(",")[0] for text in texts] == [f"swap of {SEAT}"]


def test_no_room_delays_the_answer_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def adopt(descriptors: Sequence[int], size_bytes: int) -> PageFile:
        return Full(memory.adopt(descriptors, size_bytes), refusals=10)

    monkeypatch.setattr(worker, "load", lambda kind: SimpleNamespace(adopt=adopt))
    monkeypatch.setattr(worker, "RETRY_SECONDS", 0.001)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client, served = socket.socketpair()
    thread = threading.Thread(target=worker.Worker(theirs, None).run)
    message = {
        "do": "connect",
        "id": 0,
        "lease": "a",
        "set": 0,
        "address": "",
        "export": "a",
        "store": "memory",
        "size_bytes": MIB,
        "read_only": False,
        "written": True,
        "headers": 0,
        "allocation": False,
    }
    monkeypatch.setattr(worker, "WARN_SECONDS", 0.0001)
    with closing(MemoryStore()) as store, closing(store.create("a", MIB)) as pages, ours, client:
        carried = control.carry(b"hello", b"")
        control.send(ours, message, [served.fileno(), carried, *pages.descriptors()])
        served.close()
        os.close(carried)
        thread.start()
        client.settimeout(10)
        request = nbd.Request(type=1, offset=0, length=4096, cookie=7)
        client.sendall(bytes(request) + PAGE)
        assert client.recv(5) == b"hello"
        assert nbd.SimpleReply(client.recv(16)).error == 0
        control.send(ours, {"do": "stop"})
        thread.join()
        theirs.close()
        events = []
        while (received := control.receive(ours)) and received[0]["event"] != "counters":
            events.append(received[0]["event"])
        assert events[0] == "ready"
        assert "delayed" in events
