"""A worker whose disk takes its time: others go on, and orders of the control plane are kept."""

import contextlib
import errno
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from types import SimpleNamespace

import pytest

from netboot.pages import control
from netboot.pages.nbd.backing import Damaged, Fenced, PageFile
from netboot.pages.stores import memory
from netboot.pages.stores.memory import MemoryStore
from netboot.pages.worker import areas, stalls, worker
from tests.pages.worker.test_worker import CONNECT
from tests.support import scapy_nbd as nbd
from tests.support.slow_file import Stalled

MIB = 1 << 20
PAGE = bytes(range(256)) * 16
GREETING = b"hello"
PATIENCE_SECONDS = 60.0


class Rig:
    """A worker in a thread of ours, and its clients. Each lease has a file in ``files``."""

    def __init__(self, store: MemoryStore) -> None:
        self.orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.orders.settimeout(PATIENCE_SECONDS)
        self.files: dict[str, Stalled] = {}
        self.pages: dict[str, PageFile] = {}
        self.clients: list[socket.socket] = []
        self._store = store
        self._adopted: list[Stalled] = []
        self.thread = threading.Thread(target=worker.Worker(theirs, None).run)
        self.thread.start()
        assert self.event("ready")

    def adopt(self, descriptors: Sequence[int], size_bytes: int) -> PageFile:
        self._adopted.append(Stalled(memory.adopt(descriptors, size_bytes)))
        return self._adopted[-1]

    def attach(self, lease: str, number: int, set_number: int = 0) -> socket.socket:
        """Let the worker take over a new client."""
        client, served = socket.socketpair()
        client.settimeout(PATIENCE_SECONDS)
        self.clients.append(client)
        if lease not in self.pages:
            self.pages[lease] = self._store.create(lease, MIB)
        carried = control.carry(GREETING, b"")
        message = {**CONNECT, "lease": lease, "seat": lease, "id": number, "set": set_number}
        with served:
            descriptors = [served.fileno(), carried, *self.pages[lease].descriptors()]
            control.send(self.orders, message, descriptors)
        os.close(carried)
        return client

    def client(self, lease: str, number: int, set_number: int = 0) -> socket.socket:
        """Return a new client that is served."""
        client = self.attach(lease, number, set_number)
        assert client.recv(len(GREETING), socket.MSG_WAITALL) == GREETING
        self.files.setdefault(lease, self._adopted[-1])
        return client

    def order(self, do: str, **more: object) -> None:
        control.send(self.orders, {"do": do, **more})

    def event(self, kind: str) -> control.Message:
        """Return the next report of a kind."""
        while received := control.receive(self.orders):
            for descriptor in received[1]:
                os.close(descriptor)
            if received[0]["event"] == kind:
                return received[0]
        raise AssertionError(f"the worker has ended without {kind}")

    def stored(self, lease: str) -> bytes:
        """Return the page at 0."""
        found = bytearray(4096)
        self.pages[lease].read_into(0, memoryview(found))
        return bytes(found)


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    with closing(MemoryStore()) as store:
        made = Rig(store)
        monkeypatch.setattr(areas, "load", lambda kind: SimpleNamespace(adopt=made.adopt))
        yield made
        for file in made.files.values():
            file.release()
        with contextlib.suppress(OSError):
            made.order("stop")
        made.thread.join(PATIENCE_SECONDS)
        assert not made.thread.is_alive()
        for each in (*made.clients, made.orders):
            each.close()
        for pages in made.pages.values():
            pages.close()


def ask(client: socket.socket, command: int, offset: int, cookie: int, data: bytes = b"") -> None:
    request = nbd.Request(type=command, offset=offset, length=4096, cookie=cookie)
    client.sendall(bytes(request) + data)


def reply(client: socket.socket) -> tuple[int, int]:
    """Return cookie and error of the next reply."""
    found = nbd.SimpleReply(client.recv(16, socket.MSG_WAITALL))
    return found.cookie, found.error


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def is_silent(client: socket.socket) -> bool:
    """Return whether nothing has come from the worker."""
    return not select.select([client], [], [], 0)[0]


def test_another_request_and_another_seat_go_on_beside_a_slow_read(rig: Rig) -> None:
    slow, other = rig.client("a", 1), rig.client("b", 2)
    ask(slow, 0, 0, cookie=1)
    wait_for(lambda: rig.files["a"].held)
    for client in (slow, other):
        ask(client, 1, 4096, 2, PAGE)
        assert reply(client) == (2, 0)
        ask(client, 0, 4096, 3)
        assert reply(client) == (3, 0)
        assert client.recv(4096, socket.MSG_WAITALL) == PAGE
    rig.files["a"].release()
    assert reply(slow) == (1, 0)
    assert slow.recv(4096, socket.MSG_WAITALL) == bytes(4096)


def test_no_late_write_lands_after_a_newer_set_is_answered(rig: Rig) -> None:
    old, other = rig.client("a", 1), rig.client("b", 2)
    rig.files["a"].writes = True
    ask(old, 1, 0, 1, PAGE)
    ask(old, 1, 0, 2, PAGE[::-1])  # waits for the first one
    wait_for(lambda: rig.files["a"].held)
    ask(old, 1, 8192, 3, PAGE)
    assert reply(old) == (3, 0)  # so the second one is under way as well
    rig.order("fence", lease="a", set=1)
    new = rig.attach("a", 3, set_number=1)
    ask(new, 0, 4096, 1)
    assert rig.event("closed")["id"] == 1
    ask(other, 0, 4096, 1)
    assert reply(other) == (1, 0)
    assert is_silent(new) and rig.stored("a") == bytes(4096)
    rig.files["a"].release()
    assert new.recv(len(GREETING), socket.MSG_WAITALL) == GREETING
    assert rig.stored("a") == PAGE, "the second one never began"
    assert reply(new) == (1, 0)


def test_a_client_that_hangs_up_leaves_its_area_closed_until_its_write_is_done(rig: Rig) -> None:
    first, second = rig.client("a", 1), rig.client("a", 2)
    rig.files["a"].writes = True
    ask(first, 1, 0, 1, PAGE)
    wait_for(lambda: rig.files["a"].held)
    first.close()
    assert rig.event("closed")["id"] == 1
    ask(second, 0, 4096, 1)
    ask(second, 0, 8192, 2)
    rig.order("ping")
    rig.event("pong")
    assert is_silent(second)
    rig.files["a"].release()
    assert sorted([reply(second), second.recv(4096, socket.MSG_WAITALL) and reply(second)]) == [
        (1, 0),
        (2, 0),
    ]


@pytest.mark.parametrize("command", [0, 1], ids=["read", "write"])
def test_the_page_file_of_a_lease_that_ends_stays_open_until_it_is_done(
    rig: Rig, command: int
) -> None:
    client = rig.client("a", 1)
    file = rig.files["a"]
    file.writes = True
    ask(client, command, 0, 1, PAGE if command else b"")
    wait_for(lambda: file.held)
    rig.order("drop", lease="a")
    assert rig.event("closed")["id"] == 1
    assert not file.closed
    file.release()
    wait_for(lambda: file.closed)


def test_a_lease_moves_to_another_process_when_nothing_is_under_way(rig: Rig) -> None:
    client = rig.client("a", 1)
    file = rig.files["a"]
    file.writes = True
    ask(client, 1, 0, 7, PAGE)
    wait_for(lambda: file.held)
    rig.order("leave")
    ask(client, 0, 4096, 8)  # for the next process
    rig.order("ping")
    rig.event("pong")
    file.release()
    message = rig.event("moved")
    assert message["id"] == 1 and file.closed
    assert reply(client) == (7, 0)
    assert rig.stored("a") == PAGE
    with contextlib.suppress(ConnectionError):
        assert client.recv(1) == b"", "nothing but that was answered"


def test_a_worker_that_is_stopped_ends_when_nothing_is_under_way(rig: Rig) -> None:
    client = rig.client("a", 1)
    rig.files["a"].writes = True
    ask(client, 1, 0, 1, PAGE)
    wait_for(lambda: rig.files["a"].held)
    rig.order("stop")
    with contextlib.suppress(ConnectionError):
        assert client.recv(1) == b""
    assert rig.thread.is_alive()
    rig.files["a"].release()
    rig.thread.join(PATIENCE_SECONDS)
    assert not rig.thread.is_alive() and rig.stored("a") == PAGE


def test_a_failure_is_told_and_lost_pages_end_the_lease(rig: Rig) -> None:
    client, other = rig.client("a", 1), rig.client("b", 2)
    ask(client, 0, 0, 1)
    wait_for(lambda: rig.files["a"].held)
    rig.files["a"].release(OSError(errno.EIO, "Input/output error"))
    assert reply(client) == (1, 5)
    ask(client, 0, 0, 2)
    wait_for(lambda: rig.files["a"].held)
    rig.files["a"].release(Damaged("its page file was truncated"))
    assert rig.event("damaged")["lease"] == "a"
    assert client.recv(1) == b""
    ask(other, 0, 4096, 1)
    assert reply(other) == (1, 0)


@pytest.mark.parametrize("is_write", [True, False])
def test_a_lease_that_another_server_has_taken_over_gets_no_answer_and_may_attach_again(
    rig: Rig, is_write: bool
) -> None:
    clients, other = [rig.client("a", number) for number in (1, 2)], rig.client("b", 3)
    fenced = rig.files["a"]
    fenced.writes = True
    ask(clients[0], int(is_write), 0, 1, PAGE if is_write else b"")
    wait_for(lambda: fenced.held)
    fenced.release(Fenced("another server has taken over its pages"))
    for _ in clients:
        assert rig.event("closed")["reason"] == "another server has taken over its pages"
    assert [client.recv(16) for client in clients] == [b"", b""]
    assert fenced.closed
    ask(other, 1, 4096, 2, PAGE)
    assert reply(other) == (2, 0)
    again = rig.client("a", 4)
    ask(again, 1, 4096, 3, PAGE)
    assert reply(again) == (3, 0)


def test_a_store_that_does_not_answer_is_told_and_so_is_its_end(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stalls, "STALLED_SECONDS", 0.0)
    client = rig.client("a", 1)
    ask(client, 0, 0, cookie=7)
    wait_for(lambda: rig.files["a"].held)
    rig.order("ping")
    assert rig.event("stalled")["lease"] == "a"
    rig.files["a"].release()
    assert reply(client) == (7, 0)
    rig.order("ping")
    told = rig.event("answers")
    assert told["lease"] == "a" and told["seconds"] >= 0
