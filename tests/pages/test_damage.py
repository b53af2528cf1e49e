"""Whatever is wrong with the pages of one lease ends that lease, and nothing of the seats beside it."""

import asyncio
import errno
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from netboot.pages import control
from netboot.pages.crew import Arrival, Crew
from netboot.pages.exports import Attachment, Exports, LeasedExports
from netboot.pages.lease import LeaseTable
from netboot.pages.nbd.backing import PageFile
from netboot.pages.nbd.export import Export, Refused
from netboot.pages.nbd.handshake import Ready
from netboot.pages.nbd.name import WireName
from netboot.pages.stores import memory
from netboot.pages.stores.disk import DiskStore
from netboot.pages.stores.memory import MemoryStore
from netboot.pages.stores.store import PageStore
from netboot.pages.stores.tiered import TieredStore
from netboot.pages.worker import areas
from netboot.pages.worker.worker import Worker
from tests.support.nbd_client import NbdClient
from tests.support.page_server import Running, running

MIB = 1 << 20
SIZE = 4 * MIB
PAGE = bytes(range(256)) * 16
LONG = PAGE * 32
BESIDE = "52:54:00:00:00:99"
STORES: dict[str, Callable[[Path], PageStore]] = {
    "memory": MemoryStore,
    "disk": DiskStore,
    "tiered": lambda folder: TieredStore(folder / "disk", 64 * MIB, tmpfs=folder),
}


def half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def nothing(path: Path) -> None:
    os.truncate(path, 0)


def read_first(client: NbdClient) -> None:
    assert client.read(0, 4096) == PAGE


def read_last(client: NbdClient) -> None:
    assert client.read(SIZE - 4096, 4096) == PAGE


def read_long(client: NbdClient) -> None:
    assert client.read(SIZE - len(LONG), len(LONG)) == bytes(len(LONG) - 4096) + PAGE


def write_then_read(client: NbdClient) -> None:
    """Make the file longer again: the pages in between are holes then, and no zeros."""
    assert client.write(SIZE // 2, PAGE) == 0
    assert client.read(0, 4096) == PAGE


def rewrite_long(client: NbdClient) -> None:
    """Receive a write straight into its pages."""
    assert client.write(SIZE // 2, LONG) == 0
    assert client.read(0, 4096) == PAGE


# What somebody does to a page file, and what the PC does next.
DAMAGES = {
    "emptied, first page read": (nothing, read_first),
    "emptied, last page read": (nothing, read_last),
    "emptied, many pages read": (nothing, read_long),
    "emptied, a page written": (nothing, write_then_read),
    "emptied, many pages written": (nothing, rewrite_long),
    "halved, last page read": (half, read_last),
    "halved, many pages read": (half, read_long),
}


class Room:
    """A server with one worker, and a seat beside those whose pages are damaged."""

    def __init__(self, server: Running, store: PageStore, table: LeaseTable) -> None:
        self.server, self.store, self.table = server, store, table
        self._seats = 0
        (self.pid,) = server.server.worker_pids
        self.beside = self.attach(BESIDE, "beside", "t")
        assert self.beside.write(0, PAGE) == 0

    def grant(self, seat: str, export: str, token: str) -> str:
        """Return the generation of a new lease."""
        lease = self.server.ask(
            lambda: self.table.grant(seat, export, token, SIZE, 0.0, fresh=True)
        )
        return str(lease.generation)

    def attach(self, seat: str, export: str, token: str) -> NbdClient:
        self.grant(seat, export, token)
        return NbdClient(self.server.address).attach(f"{export}@{token}")

    def assert_unhurt(self) -> None:
        assert self.server.server.worker_pids == [self.pid]
        assert self.beside.read(0, 4096) == PAGE

    def paths(self, generation: str) -> list[Path]:
        """Return the page files of a lease, in memory or on a disk."""
        root = self.store.directory
        assert root is not None
        return sorted(root.parent.rglob(f"{generation}.pages"))


@contextmanager
def room(store: PageStore) -> Iterator[Room]:
    table = LeaseTable(1 << 30)
    with (
        closing(store),
        running(LeasedExports(store, table, clock=lambda: 0.0), workers=1) as server,
    ):
        held = Room(server, store, table)
        with held.beside:
            yield held


@pytest.mark.parametrize("kind", STORES)
def test_a_truncated_page_file_ends_its_lease_alone(kind: str, tmp_path: Path) -> None:
    """Swap fault 1.8: the worker ended by SIGBUS, and then at each re-attachment."""
    with room(STORES[kind](tmp_path)) as held:
        told, files = 0, len(held.paths(held.grant(BESIDE, "beside", "t")))
        for number, (name, (damage, use)) in enumerate(DAMAGES.items()):
            for file in range(files) if number % 3 == 0 else (files - 1,):
                export = f"seat-{number}-{file}"
                seat = f"52:54:00:00:{number:02x}:{file:02x}"
                generation = held.grant(seat, export, "t1")
                with NbdClient(held.server.address).attach(f"{export}@t1.1") as client:
                    for offset in (0, SIZE - 4096):
                        assert client.write(offset, PAGE) == 0
                    assert client.write(SIZE // 2, LONG) == 0
                    for offset in (0, SIZE - 4096):  # so that the pages are mapped
                        assert client.read(offset, 4096) == PAGE
                    client.read(SIZE // 2, len(LONG))
                    damage(held.paths(generation)[file])
                    with suppress(EOFError, ConnectionError):
                        use(client)  # right bytes, from the other file, or the end
                        client.receive(1)
                held.assert_unhurt()
                with NbdClient(held.server.address) as again:
                    reply = again.go(f"{export}@t1.2")[-1]
                    reason = f"this server no longer has the pages of {export}".encode()
                    assert (reply.sprintf("%type%"), reply.data) == ("ERR_POLICY", reason), name
                told += 1
                assert held.server.event("damaged", told).seat == seat
        held.assert_unhurt()


def test_an_idle_pc_is_refused_when_it_attaches_again(tmp_path: Path) -> None:
    with room(MemoryStore(tmp_path)) as held:
        generation = held.grant("52:54:00:00:00:01", "seat-1", "t1")
        with NbdClient(held.server.address).attach("seat-1@t1.1") as client:
            assert client.write(0, PAGE) == 0
            client.sock.sendall(client.request(2))  # NBD_CMD_DISC
        held.server.event("detach")
        half(*held.paths(generation))
        with NbdClient(held.server.address) as again:
            assert again.go("seat-1@t1.2")[-1].sprintf("%type%") == "ERR_POLICY"
        with held.attach("52:54:00:00:00:01", "seat-1", "t2") as fresh:
            assert fresh.read(0, 4096) == bytes(4096)
        held.assert_unhurt()


def test_a_removed_page_file_is_served_for_as_long_as_it_is_open(tmp_path: Path) -> None:
    with room(MemoryStore(tmp_path)) as held:
        generation = held.grant("52:54:00:00:00:01", "seat-1", "t1")
        with NbdClient(held.server.address).attach("seat-1@t1.1") as client:
            assert client.write(0, PAGE) == 0
            held.paths(generation)[0].unlink()
            os.kill(held.pid, signal.SIGKILL)
        held.server.event("worker-died")
        with NbdClient(held.server.address).attach("seat-1@t1.2") as client:
            assert client.read(0, 4096) == PAGE


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        MemoryError(),
        RuntimeError("a fault of ours"),
        FileNotFoundError(errno.ENOENT, "truncated"),
    ],
    ids=["no address space", "no memory", "a bug", "truncated"],
)
def test_pages_that_cannot_be_adopted_end_one_client(
    error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The worker reports the client as closed, keeps no descriptor, and obeys the next order."""

    def adopt(descriptors: Sequence[int], size_bytes: int) -> PageFile:
        if size_bytes == SIZE:
            raise error
        return memory.adopt(descriptors, size_bytes)

    monkeypatch.setattr(areas, "load", lambda kind: SimpleNamespace(adopt=adopt))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(60)
    thread = threading.Thread(target=Worker(theirs, None).run)
    with closing(MemoryStore(tmp_path)) as store, ours:
        thread.start()
        assert control.receive(ours) == ({"event": "ready", "ping": True}, [])
        for number, size in enumerate((SIZE, MIB)):
            client, served = socket.socketpair()
            carried = control.carry(b"hello", b"")
            message = {
                "do": "connect",
                "id": number,
                "lease": f"l{number}",
                "set": 0,
                "address": "",
                "export": "a",
                "store": "memory",
                "size_bytes": size,
                "read_only": False,
                "ceiling": None,
                "seat": "",
                "written": True,
                "headers": 0,
                "allocation": False,
            }
            with closing(store.create(f"f{number}", size)) as pages, client, served:
                control.send(ours, message, [served.fileno(), carried, *pages.descriptors()])
                os.close(carried)
                served.close()
                client.settimeout(60)
                assert client.recv(5) == (b"" if size == SIZE else b"hello")
        control.send(ours, {"do": "stop"})
        thread.join()
        theirs.close()
        events = []
        while received := control.receive(ours):
            events.append((received[0]["event"], received[0].get("id", received[0].get("lease"))))
    lost = [("damaged", "l0")] if isinstance(error, FileNotFoundError) else []
    assert events[: len(lost) + 1] == [*lost, ("closed", 0)]


@pytest.mark.parametrize("error", [FileNotFoundError(2, "truncated"), RuntimeError("a bug")])
def test_a_client_that_cannot_be_taken_over_keeps_no_other_back(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def resume(*_: object) -> None:
        raise error

    exports = cast(Exports, SimpleNamespace(resume=resume, directory=None, on_ended=None))
    moved = {"address": "10.0.0.1", "lease": "a", "set": 0}
    asyncio.run(Crew(exports, 0, None)._resume_one(moved, [0, 0]))
    assert "10.0.0.1: not taken over" in caplog.text


def test_a_lease_that_ends_while_its_fence_waits_is_given_to_no_worker() -> None:
    """Its descriptors are closed by then, and their numbers may be another lease's."""
    pages = cast(PageFile, SimpleNamespace(descriptors=lambda: pytest.fail("they are closed")))
    attachment = Attachment("l", "", Export("a", MIB), "disk", pages, 1, fences=True)
    exports = cast(Exports, SimpleNamespace(directory=None, on_ended=None))
    crew = Crew(exports, 1, None)
    ready = Ready(WireName.parse("a"), attachment.export, b"")
    sent: list[str] = []

    async def send(message: control.Message, descriptors: Sequence[int] = ()) -> None:
        sent.append(message["do"])
        if message["do"] == "fence":
            exports.on_ended("l")
        await asyncio.sleep(0)

    async def run() -> Refused | None:
        crew._workers[0].send = send  # type: ignore[method-assign]
        with closing(socket.socket()) as client:
            place = crew._clients.claims.hold("l", "10.0.0.1", None)
            arrival = Arrival(client, "10.0.0.1", ready, lambda: b"", attachment, place)
            refused = await crew._hand_over(arrival)
        await asyncio.sleep(0.001)
        return refused

    assert asyncio.run(run()) == Refused("its lease has ended")
    assert sent == ["fence", "drop"] and not crew.counters()
