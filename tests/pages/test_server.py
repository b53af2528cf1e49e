"""The page server from a client's side: real sockets, real workers, scapy's bytes."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from netboot.boot.limits import NBD_DIALS
from netboot.errors import OperatorError
from netboot.host.sockets import IP_MTU_DISCOVER, IP_PMTUDISC_DONT
from netboot.pages import clients
from netboot.pages.clients import MAX_CONNECTIONS_OF_ADDRESS
from netboot.pages.exports import LeasedExports
from netboot.pages.lease import Lease, LeaseTable
from netboot.pages.nbd.export import Refused
from netboot.pages.room_exports import ClassroomExports
from netboot.pages.server import MAX_HANDSHAKES_OF_ADDRESS, PageServer
from netboot.pages.static import serve_static
from netboot.pages.static_exports import StaticExports
from netboot.pages.stores.memory import MemoryStore
from netboot.pages.worker.buffers import BUFFER_BYTES, MOST_POWER
from netboot.pages.worker.worker import SAMPLED
from tests.support import scapy_nbd as nbd
from tests.support.nbd_client import NbdClient
from tests.support.page_server import Running, running

pytestmark = pytest.mark.system

MIB = 1 << 20
PAGE = bytes(range(256)) * 16
SEAT, EXPORT = "52:54:00:12:34:01", "seat-525400123401"


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    with closing(MemoryStore()) as made:
        yield made


@pytest.fixture
def static(store: MemoryStore) -> Iterator[Running]:
    with running(StaticExports(store, {"a": 64 * MIB, "b": MIB}), workers=1) as server:
        yield server


@contextmanager
def leased(store: MemoryStore, table: LeaseTable, **options: Any) -> Iterator[Running]:
    with running(LeasedExports(store, table), **options) as server:
        yield server


def counted(server: Running, lease: str, **expected: int) -> bool:
    """Return whether the counters of a lease reach ``expected``, at latest after a detach."""
    counters = server.ask(server.server.counters)[lease]
    return {key: counters[key] for key in expected} == expected


def test_pages_are_shared_by_connections_and_kept_between_them(static: Running) -> None:
    with NbdClient(static.address) as first, NbdClient(static.address) as second:
        first.attach("a")
        second.attach("a")
        assert first.write(4096, PAGE) == 0
        assert second.read(4096, 4096) == PAGE
        assert second.command(3) == 0
    data = static.event("detach", 2).data
    assert (data["connections"], data["export"]) == (0, "a")
    with NbdClient(static.address).attach("a") as third:
        assert third.read(0, 8192) == bytes(4096) + PAGE
    with NbdClient(static.address).attach("b") as other:
        assert other.read(4096, 4096) == bytes(4096)
    static.event("detach", 4)
    assert counted(static, "a", reads=2, writes=1, bytes_read=3 * 4096, connections=0)
    assert [event.kind for event in static.events].count("first-write") == 1


def test_a_router_may_fragment_what_is_read(static: Running) -> None:
    (listener,) = static.server._listeners.sockets
    assert listener.getsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER) == IP_PMTUDISC_DONT


def test_a_static_export_is_served_by_all_workers(store: MemoryStore) -> None:
    """Workers see each other's writes at once. A killed worker takes half of the clients along."""
    with (
        running(StaticExports(store, {"a": MIB}), workers=2) as server,
        NbdClient(server.address).attach("a") as one,
        NbdClient(server.address).attach("a") as other,
    ):
        for turn in range(8):
            page = bytes([turn + 1]) * 4096
            assert one.write(turn * 4096, page) == 0
            assert other.read(turn * 4096, 4096) == page
            assert other.command(4, turn * 4096, 4096) == 0
            assert one.read(turn * 4096, 4096) == bytes(4096)
        os.kill(server.server.worker_pids[0], signal.SIGKILL)
        assert server.event("detach").data["connections"] == 1
        assert other.write(0, PAGE) == 0


def test_list_tells_static_names(static: Running) -> None:
    with NbdClient(static.address) as client:
        *servers, ack = client.option(bytes(nbd.Option(option=3)))
        assert [reply.data[4:] for reply in servers] == [b"a", b"b"]
        assert ack.type == 1


def test_requests_sent_before_the_handshakes_answer_are_done(static: Running) -> None:
    with NbdClient(static.address) as client:
        client.sock.sendall(nbd.go(b"a") + client.request(1, 0, 4096) + PAGE)
        replies = nbd.option_replies(client.receive(20 + 12 + 20))
        assert [reply.type for reply in replies] == [3, 1]
        assert nbd.SimpleReply(client.receive(16)).error == 0
        assert client.read(0, 4096) == PAGE


def test_largest_write_and_read_go_through_small_buffers(static: Running) -> None:
    payload = os.urandom(MIB) * 32
    with NbdClient(static.address).attach("a") as client:
        assert client.write(12345, payload) == 0
        assert client.read(12345, len(payload)) == payload
        assert client.command(4, 0, 64 * MIB) == 0
        assert client.read(12345, 4096) == bytes(4096)
        assert client.command(6, 0, 64 * MIB, flags=2) == 0


def test_refused_write_keeps_the_stream_in_step(static: Running) -> None:
    with NbdClient(static.address).attach("b") as client:
        assert client.write(MIB - 1, bytes(3 * MIB)) == 28
        assert client.read(MIB - 1, 1) == b"\0"


def test_client_that_does_not_read_holds_up_nobody_and_loses_nothing(static: Running) -> None:
    with NbdClient(static.address) as lazy, NbdClient(static.address) as busy:
        lazy.attach("a")
        busy.attach("a")
        assert busy.write(0, PAGE) == 0
        # 64 MiB of replies: far more than the buffers of the sockets and the worker hold.
        query = b"".join(lazy.request(0, 0, 4096) for _ in range(256))
        query += b"".join(lazy.request(0, 0, 16 * MIB) for _ in range(4))
        lazy.sock.sendall(query)
        for _ in range(50):
            assert busy.read(0, 4096) == PAGE
        for cookie in range(1, 261):
            assert nbd.SimpleReply(lazy.receive(16)).cookie == cookie
            data = lazy.receive(4096 if cookie <= 256 else 16 * MIB)
            assert data.startswith(PAGE)


def test_disc_and_bad_bytes_end_the_connection(static: Running) -> None:
    with NbdClient(static.address).attach("a") as client:
        client.sock.sendall(client.request(3) + client.request(2))
        client.receive(16)
        with pytest.raises(EOFError):
            client.receive(1)
    assert static.event("detach").message == "a: disconnected by the client"
    with NbdClient(static.address).attach("a") as client:
        client.sock.sendall(bytes(28))
        with pytest.raises((EOFError, ConnectionResetError)):
            client.receive(1)
    assert "magic" in static.event("detach", 2).message


def test_killed_worker_is_replaced_and_pages_stay(static: Running) -> None:
    (pid,) = static.server.worker_pids
    with NbdClient(static.address).attach("a") as client:
        assert client.write(0, PAGE) == 0
        os.kill(pid, signal.SIGKILL)
        with pytest.raises((EOFError, ConnectionResetError)):
            client.receive(1)
    with NbdClient(static.address).attach("a") as client:
        assert client.read(0, 4096) == PAGE
    static.event("worker-died")
    assert static.event("detach").message == "a: its page worker died"
    assert static.server.worker_pids != [pid]


def test_a_worker_that_somebody_terminates_is_told_and_replaced(static: Running) -> None:
    (pid,) = static.server.worker_pids
    os.kill(pid, signal.SIGTERM)
    static.event("worker-died")
    with NbdClient(static.address).attach("a") as client:
        assert client.read(0, 4096) == bytes(4096)


def test_a_worker_is_replaced_although_the_folder_of_pages_is_gone(tmp_path: Path) -> None:
    """Swap fault 1.10: the timer that starts the next one failed, and nobody started it again."""
    store = MemoryStore(tmp_path)
    with running(StaticExports(store, {"a": MIB}), workers=1) as server:
        with NbdClient(server.address).attach("a") as client:
            assert client.write(0, PAGE) == 0
        shutil.rmtree(store.directory)
        os.kill(server.server.worker_pids[0], signal.SIGKILL)
        server.event("worker-died")
        with NbdClient(server.address).attach("a") as client:
            assert client.read(0, 4096) == PAGE, "its page file is still open"


def test_wrong_tokens_and_unknown_names_are_told(store: MemoryStore) -> None:
    table = LeaseTable(MIB)
    table.grant(SEAT, EXPORT, "right", MIB, 0.0)
    with leased(store, table, workers=1) as server:
        with NbdClient(server.address) as client:
            for name in (f"{EXPORT}@wrong", "other@right"):
                reply = client.go(name)[-1]
                reason = b"no such export, or wrong token"
                assert (reply.sprintf("%type%"), reply.data) == ("ERR_UNKNOWN", reason)
            assert client.option(bytes(nbd.Option(option=3)))[-1].sprintf("%type%") == "ERR_POLICY"
            client.attach(f"{EXPORT}@right")
        assert server.event("refused").data["export"] == EXPORT
        assert [event.kind for event in server.events].count("refused") == 1, "one a minute"
        attached = server.event("attach")
        assert (attached.seat, attached.data["address"]) == (SEAT, "127.0.0.1")
        assert not any("right" in str(event) or "wrong@" in str(event) for event in server.events)


def test_new_boot_of_a_seat_wipes_the_old_lease(store: MemoryStore) -> None:
    table = LeaseTable(MIB)
    table.grant(SEAT, EXPORT, "t1", MIB, 0.0)
    with leased(store, table, workers=2) as server:
        with NbdClient(server.address).attach(f"{EXPORT}@t1") as old:
            assert old.write(0, PAGE) == 0
            table.grant(SEAT, EXPORT, "t2", MIB, 1.0)
            with NbdClient(server.address) as asking:
                asking.option(nbd.go(f"{EXPORT}@t2".encode(), option=6))
                assert old.read(0, 4096) == PAGE  # INFO does not fence
            with NbdClient(server.address) as early:
                reply = early.go(f"{EXPORT}@t2")[-1]
                assert reply.data == b"another PC with this address is running"
                with pytest.raises(EOFError):
                    early.receive(1)
            event = server.event("in-use")
            assert (event.seat, event.data["running"]) == (SEAT, ["127.0.0.1"])
            assert old.read(0, 4096) == PAGE
        with NbdClient(server.address).attach(f"{EXPORT}@t2") as new:
            assert new.read(0, 4096) == bytes(4096)
        assert len(store.names()) == 1


def test_an_agent_replaces_its_own_live_connections(store: MemoryStore) -> None:
    table = LeaseTable(MIB)
    table.grant(SEAT, EXPORT, "t1", MIB, 0.0)
    with (
        leased(store, table, workers=1) as server,
        NbdClient(server.address).attach(f"{EXPORT}@t1.1") as old,
        NbdClient(server.address).attach(f"{EXPORT}@t1.2") as new,
    ):
        with pytest.raises((EOFError, ConnectionResetError)):
            old.receive(1)
        assert new.write(0, PAGE) == 0


def test_a_lease_that_is_hung_up_on_can_be_attached_again_with_its_pages(
    store: MemoryStore,
) -> None:
    table = LeaseTable(MIB)
    lease = table.grant(SEAT, EXPORT, "t1", MIB, 0.0)
    assert isinstance(lease, Lease)
    with (
        leased(store, table, workers=2) as server,
        NbdClient(server.address).attach(f"{EXPORT}@t1.7") as first,
        NbdClient(server.address).attach(f"{EXPORT}@t1.7") as second,
    ):
        assert first.write(0, PAGE) == 0
        server.hang_up(lease.generation)
        for client in (first, second):
            with pytest.raises((EOFError, ConnectionResetError)):
                client.receive(1)
        server.event("detach", 2)
        with NbdClient(server.address).attach(f"{EXPORT}@t1.8") as again:
            assert again.read(0, 4096) == PAGE


def test_an_area_that_was_given_back_takes_no_memory(store: MemoryStore) -> None:
    table = LeaseTable(64 * MIB)
    table.grant(SEAT, f"{EXPORT}-2", "t", 64 * MIB, 0.0, fresh=True)
    with leased(store, table, workers=1) as server:
        (pid,) = server.server.worker_pids
        with NbdClient(server.address).attach(f"{EXPORT}-2@t") as client:
            assert client.write(0, bytes(range(256)) * (32 * MIB // 256)) == 0
            assert isinstance(server.ask(lambda: table.end(f"{EXPORT}-2")), Refused)
            (generation,) = store.names()
        assert server.event("detach").data["connections"] == 0
        assert server.ask(lambda: table.end(f"{EXPORT}-2")) is None
        assert store.names() == []
        end = time.monotonic() + 60
        while generation in Path(f"/proc/{pid}/maps").read_text() and time.monotonic() < end:
            time.sleep(0.01)  # the order reaches the worker a moment later
        assert generation not in Path(f"/proc/{pid}/maps").read_text()


def test_silent_client_is_hung_up_on(store: MemoryStore) -> None:
    exports = StaticExports(store, {"a": MIB})
    with (
        running(exports, workers=1, handshake_seconds=0.1) as server,
        socket.create_connection(server.address, timeout=60) as silent,
    ):
        assert len(silent.recv(18)) == 18
        assert silent.recv(1) == b""


def test_connections_of_one_address_are_limited(static: Running) -> None:
    clients = [NbdClient(static.address).attach("a") for _ in range(MAX_CONNECTIONS_OF_ADDRESS)]
    with NbdClient(static.address) as surplus:
        reason = b"this address has 128 connections, the limit for one"
        assert surplus.go("a")[-1].data == reason
    assert "this address has 128 connections" in static.event("refused").message
    for client in clients:
        client.sock.close()
    static.event("detach", len(clients))
    with NbdClient(static.address).attach("a") as client:
        assert client.read(0, 1) == b"\0"


def test_connections_are_limited_in_total(static: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netboot.pages.clients.MAX_CONNECTIONS", 3)
    monkeypatch.setattr("netboot.pages.clients.KEPT_CONNECTIONS", 1)
    with NbdClient(static.address).attach("a"), NbdClient(static.address).attach("a"):
        with NbdClient(static.address) as surplus:
            told = b"the server is full: 2 of 2 connections are taken; come again in 10 s"
            assert surplus.go("a")[-1].data == told
        assert static.event("refused").message == f"a: {told.decode()}"


def test_places_are_kept_for_leases_that_were_attached_before(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netboot.pages.clients.MAX_CONNECTIONS", 2)
    monkeypatch.setattr("netboot.pages.clients.KEPT_CONNECTIONS", 1)
    table = LeaseTable(3 * MIB)
    for seat in "abc":
        table.grant(seat, f"seat-{seat}", "t", MIB, time.time(), connections=1)
    with leased(store, table, workers=1) as server:
        NbdClient(server.address).attach("seat-a@t.1").sock.close()
        server.event("detach")
        with NbdClient(server.address).attach("seat-b@t.1"):
            with NbdClient(server.address) as surplus:
                assert surplus.go("seat-c@t.1")[-1].data.startswith(b"the server is full: 1 of 1")
            with NbdClient(server.address).attach("seat-a@t.2") as again:
                assert again.write(0, PAGE) == 0
            with NbdClient(server.address).attach("seat-b@t.2") as again:
                assert again.write(0, PAGE) == 0


def test_a_seat_gets_all_its_connections_or_one_refusal(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("netboot.pages.clients.MAX_CONNECTIONS", 5)
    monkeypatch.setattr("netboot.pages.clients.KEPT_CONNECTIONS", 0)
    caplog.set_level("INFO")
    table = LeaseTable(4 * MIB)
    for seat in "abcd":
        table.grant(seat, f"seat-{seat}", "t", MIB, time.time(), connections=2)
    told = b"the server is full: 4 of 5 connections are taken; come again in 10 s"
    with leased(store, table, workers=1) as server:
        first, second = (NbdClient(server.address).attach(f"seat-{seat}@t.1") for seat in "ab")
        for _ in range(2):
            for seat in "cd":
                with NbdClient(server.address) as refused:
                    assert refused.go(f"seat-{seat}@t.1")[-1].data == told
        others = [NbdClient(server.address).attach(f"seat-{seat}@t.1") for seat in "ab"]
        with NbdClient(server.address).attach("seat-a@t.2") as again:
            assert again.write(0, PAGE) == 0
        for client in (second, others[1]):
            client.sock.close()
        server.event("detach", 4)
        with NbdClient(server.address).attach("seat-c@t.2") as third:
            assert third.write(0, PAGE) == 0
        event = server.event("refused")
        assert (event.message, event.data) == (
            f"seat-c and 1 more: {told.decode()}",
            {"refused": 2},
        )
        for client in (first, others[0]):
            client.sock.close()
    assert caplog.text.count("the server is full") == 1


def test_a_set_has_as_many_connections_as_its_lease_says_and_a_newer_set_counts_anew(
    store: MemoryStore,
) -> None:
    table = LeaseTable(MIB)
    table.grant(SEAT, EXPORT, "t", MIB, 0.0, connections=3)
    reason = f"{EXPORT} has 3 connections, the most for one area"
    with leased(store, table, workers=1) as server:
        for number in (1, 2):
            name = f"{EXPORT}@t.{number}"
            clients = [NbdClient(server.address).attach(name) for _ in range(3)]
            with NbdClient(server.address) as surplus:
                assert surplus.go(name)[-1].data.decode() == reason
                with pytest.raises(EOFError):
                    surplus.receive(1)
            assert clients[-1].read(0, 1) == b"\0"
            for client in clients:
                client.sock.close()
        event = server.event("refused")
        assert (event.seat, event.message) == (SEAT, f"127.0.0.1: {reason}")


def test_the_seat_with_most_readers_of_images_makes_room_for_another(
    store: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netboot.pages.clients.MAX_IMAGES", 4)
    (tmp_path / "image").write_bytes(PAGE)
    tickets = [f"{letter * 12}x" for letter in "abc"]  # each begins with its seat's MAC address
    room = ClassroomExports(
        LeasedExports(store, LeaseTable(MIB)),
        StaticExports(store, {}, {"image": tmp_path / "image"}),
        dict.fromkeys(tickets, "image").get,
    )
    greedy, modest, late = (f"image@{ticket}" for ticket in tickets)
    with running(room, workers=1) as server:
        held = [NbdClient(server.address).attach(greedy) for _ in range(4)]
        honest = [NbdClient(server.address).attach(modest) for _ in range(2)]
        assert "has the most connections" in server.event("detach", 2).message
        assert [client.read(0, 4096) for client in held[2:] + honest] == [PAGE] * 4
        with NbdClient(server.address) as surplus:
            assert surplus.go(greedy)[-1].data == b"4 connections read images, the limit"
        with NbdClient(server.address).attach(late) as client:
            assert client.read(0, 4096) == PAGE
        server.event("detach", 4)  # the oldest of those with two, and ``late`` itself
        for client in held + honest:
            client.sock.close()


def test_the_oldest_handshake_is_hung_up_on_for_a_newer_one(static: Running) -> None:
    """16 of an address at a time. One that has the right name is served."""
    silent = [socket.create_connection(static.address) for _ in range(MAX_HANDSHAKES_OF_ADDRESS)]
    for sock in silent:
        sock.settimeout(60)
        assert len(sock.recv(18)) == 18
    with NbdClient(static.address).attach("a") as client:
        assert client.read(0, 1) == b"\0"
    assert silent[0].recv(1) == b""
    silent[1].setblocking(False)
    with pytest.raises(BlockingIOError):
        silent[1].recv(1)
    assert "16 handshakes are not done" in static.event("refused").message
    for sock in silent:
        sock.close()


def test_an_address_that_dials_without_end_is_hung_up_on(static: Running) -> None:
    """It costs the event loop little; a second later it may attach again."""
    most = NBD_DIALS.per_address or 0
    begin = time.monotonic()
    greeted = 0
    for _ in range(3 * most):
        with socket.create_connection(static.address) as sock:
            sock.settimeout(60)
            with contextlib.suppress(ConnectionResetError):
                greeted += len(sock.recv(18)) == 18
    seconds = int(time.monotonic() - begin) + 2
    assert most <= greeted <= most * seconds
    time.sleep(1)
    with NbdClient(static.address).attach("a") as client:
        assert client.read(0, 1) == b"\0"


def test_a_machine_whose_handshakes_wait_makes_room_for_others(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have named their exports, and wait for probes of older connections."""
    monkeypatch.setattr("netboot.pages.server.MAX_HANDSHAKES", 9)
    machines = iter(["modest"] * 4 + ["greedy"] * 5 + ["late"] * 2)
    exports = StaticExports(store, {"a": MIB})
    with running(exports, workers=1, holder=lambda _: next(machines)) as server:
        server.ask(server.server._settled.clear)
        waiting = [NbdClient(server.address) for _ in range(9)]
        for client in waiting:
            client.sock.sendall(nbd.go(b"a"))
        named = server.server._guests
        wait_for(lambda: sum(guest.named for guest in named.values()) == 9)
        with NbdClient(server.address) as late:
            late.sock.sendall(nbd.go(b"a"))
            assert waiting[4].sock.recv(1) == b"", "the oldest of the greedy machine"
            with socket.create_connection(server.address) as sock:
                sock.settimeout(60)
                assert sock.recv(18) == b"", "4 are those of a PC with four areas"
            server.ask(server.server._settled.set)
            for client in [*waiting[:4], *waiting[5:], late]:
                assert client.receive(4)
        for client in waiting:
            client.sock.close()


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_fault_of_ours_costs_one_client(
    static: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Faults in the place of a guest, and in the callback of events."""
    with monkeypatch.context() as patch:
        patch.setattr(static.server, "_make_place", {}.__getitem__)
        with socket.create_connection(static.address) as sock:
            sock.settimeout(60)
            assert sock.recv(18) == b"", "hung up on"
    with monkeypatch.context() as patch:
        patch.setattr(static, "tell", {}.__getitem__)
        with NbdClient(static.address).attach("a") as client:
            assert client.read(0, 1) == b"\0"
    with NbdClient(static.address).attach("b") as client:
        assert client.read(0, 1) == b"\0"
    static.event("attach")
    assert "cannot welcome a client" in caplog.text
    assert "an event of kind attach is lost" in caplog.text


def test_what_a_worker_holds_is_bounded_whatever_clients_send(store: MemoryStore) -> None:
    """Half of the clients request 128 MiB and read nothing; the others stop in a 32 MiB WRITE."""
    with running(StaticExports(store, {"a": 64 * MIB}), workers=1) as server:
        (pid,) = server.server.worker_pids
        with NbdClient(server.address).attach("a") as busy:
            assert busy.read(0, 4096) == bytes(4096)
            before = anonymous_bytes(pid)
            clients = [NbdClient(server.address).attach("a") for _ in range(16)]
            for client in clients[:8]:
                client.sock.sendall(b"".join(client.request(0, 0, 32 * MIB) for _ in range(4)))
            for client in clients[8:]:
                client.sock.sendall(client.request(1, 0, 32 * MIB) + bytes(3 * MIB))
            for _ in range(100):
                assert busy.read(63 * MIB, 4096) == bytes(4096)
            held = anonymous_bytes(pid) - before
            assert held < (16 + 1) * 2 * BUFFER_BYTES + 4 * MIB  # and Python's own memory
        for client in clients:
            client.sock.close()


def anonymous_bytes(pid: int) -> int:
    """Return the memory of a process, in bytes, without mapped files."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("RssAnon:"))
    return int(line.split()[1]) << 10


def test_port_in_use_is_the_operators_mistake(store: MemoryStore) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = PageServer(StaticExports(store, {}), listen=[taken.getsockname()])
        with pytest.raises(OperatorError, match="cannot serve pages on 127.0.0.1"):
            asyncio.run(server.start())
    with pytest.raises(OperatorError, match="expected more than 0"):
        StaticExports(store, {"a": 0})


def test_serve_static_says_where_and_cleans_up() -> None:
    async def serve() -> str:
        lines: asyncio.Queue[str] = asyncio.Queue()
        task = asyncio.create_task(
            serve_static(("127.0.0.1", 0), {"a": MIB}, "memory", lines.put_nowait)
        )
        line = await lines.get()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return line

    assert asyncio.run(serve()).startswith("listening on 127.0.0.1:")


def test_a_seat_for_which_no_descriptor_is_left_is_refused_and_told(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The fence of its set counts all the same, and its lease is not in use afterwards."""
    table = LeaseTable(MIB)
    table.grant(SEAT, EXPORT, "t1", MIB, time.time())
    with (
        leased(store, table, workers=1) as server,
        NbdClient(server.address).attach(f"{EXPORT}@t1.1") as first,
    ):
        assert first.write(0, PAGE) == 0
        with monkeypatch.context() as full:
            full.setattr(clients, "KEPT_DESCRIPTORS", 1 << 40)
            with NbdClient(server.address) as second:
                reply = second.go(f"{EXPORT}@t1.2")[-1]
        assert b"files, which all are in use: raise that limit" in reply.data
        # The worker obeys the fence meanwhile: the refusal does not wait for it.
        with pytest.raises((EOFError, ConnectionError)):
            while server.ask(lambda: table.is_in_use(EXPORT)):
                first.read(0, 4096)
            first.read(0, 4096)
        server.event("detach")
        assert not server.ask(lambda: table.is_in_use(EXPORT))
        with NbdClient(server.address).attach(f"{EXPORT}@t1.2") as third:
            assert third.read(0, 4096) == PAGE
    told = [each for each in caplog.records if each.levelname == "WARNING"]
    assert [EXPORT in each.getMessage() for each in told] == [True]


def test_addresses_come_and_go_and_clients_stay(store: MemoryStore) -> None:
    with running(StaticExports(store, {"a": MIB})) as server:
        listening = server.server
        client = NbdClient(server.address).attach("a")
        (port,) = (port for _, port in listening.addresses)
        second = ("127.0.0.2", port)
        server.ask(lambda: listening.follow([("127.0.0.1", 0), second]))
        assert listening.addresses == [server.address, second]
        with closing(NbdClient(second).attach("a").sock):
            client.write(0, b"x" * 4096)

        server.ask(lambda: listening.follow([second]))
        server.ask(lambda: None)  # the listener is closed when its task has ended
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(server.address)
        with socket.create_server(server.address):  # as long as another program has that address
            with pytest.raises(OperatorError, match="cannot serve pages on 127.0.0.1"):
                server.ask(lambda: listening.follow([server.address, second]))
            assert listening.addresses == [second]
        assert client.read(0, 4096) == b"x" * 4096
        client.sock.close()


def test_a_few_turns_are_timed(static: Running) -> None:
    with NbdClient(static.address).attach("b") as client:
        for _ in range(3 * SAMPLED):
            assert client.read(0, 4096) == bytes(4096)
    static.event("detach", 1)
    timed = static.ask(static.server.latency)
    assert len(timed) == MOST_POWER + 1 and 1 <= sum(timed) <= 5
