"""The swap agent exchanges its token for a key, against the real page server.

A proxy between the two loses an answer, or ends the server, at a moment of the exchange. There is no
NBD driver here. So an agent ends after GO and before swapon, and HOLDER stands in for one that stays.
A PC of a storm must do the same.
"""

import asyncio
import http.server
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from pathlib import Path

import pytest

from netboot.errors import AnswerError
from netboot.pages.exports import LeasedExports
from netboot.pages.kept import KeptTable
from netboot.pages.kept_exports import KeptExports, new_key
from netboot.pages.lease import UNKNOWN, Lease, LeaseTable
from netboot.pages.leasefile import STATE_FILE
from netboot.pages.nbd import client
from netboot.pages.nbd.client import RefusedError, SwapEntry
from netboot.pages.nbd.export import Export
from netboot.pages.nbd.name import WireName
from netboot.pages.stores.disk import DiskStore
from netboot.serve.leases import Granted, serialize
from tests.initramfs.test_agent import (
    CANNOT_CONNECT,
    GO,
    INFO,
    KERNEL_REFUSED,
    OK,
    REFUSED,
    SANITIZERS,
    SOURCES,
    WARNINGS,
    Server,
    run,
    words,
)
from tests.support.nbd_client import NbdClient
from tests.support.page_server import PATIENCE_SECONDS, Running, running

pytestmark = pytest.mark.system

MIB = 1 << 20
SEAT, EXPORT = "52:54:00:12:34:01", "seat-1"
OPTIONS = {"INFO": INFO, "GO": GO}

# Tries to attach for each line of its input, as the resident agent does, and prints the exit code.
HOLDER = r"""
#include "agent.h"
#include "report.h"
#include "session.h"
#include "types.h"
#include <stdio.h>
#include <unistd.h>

int main(int count, char **words)
{
    static struct target target = {.host = "127.0.0.1", .export = "seat-1", .trades = 1, .timeout = 5};
    struct export export;
    unsigned connections = 2;
    int fds[2], code;
    char line;

    target.port = words[count - 2];
    target.token = words[count - 1];
    while (read(0, &line, 1) == 1) {
        code = open_sessions(&target, next_set(), now_ms() + 5000, fds, &connections, &export);
        if (code == OK)
            close_sessions(fds, connections);
        dprintf(1, "%d\n", code);
    }
    return 0;
}
"""


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("agent") / "agent"
    subprocess.run(["gcc", *WARNINGS, *SANITIZERS, "-o", path, *SOURCES], check=True)
    return path


@pytest.fixture(scope="module")
def holder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("holder")
    (folder / "holder.c").write_text(HOLDER)
    sources = [source for source in SOURCES if source.name != "agent.c"]
    options = [*WARNINGS, *SANITIZERS, "-I", str(SOURCES[0].parent), "-o", str(folder / "holder")]
    subprocess.run(["gcc", *options, str(folder / "holder.c"), *sources], check=True)
    return folder / "holder"


class Agent:
    """A holder that runs."""

    def __init__(self, program: Path, port: int, token: str) -> None:
        self._process = subprocess.Popen(
            [program, str(port), token], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def attach(self) -> int:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def end(self) -> None:
        self._process.communicate(timeout=60)


class Played:
    """The agent of a PC that is played."""

    def __init__(self, port: int, token: str) -> None:
        self._set = 0
        self._entry = SwapEntry("127.0.0.1", port, EXPORT, token)

    def attach(self) -> int:
        return asyncio.run(self._attach())

    async def _attach(self) -> int:
        self._set += 1
        self._entry.begin_set(self._set)
        with ExitStack() as stack:
            try:
                for _ in range(2):
                    stack.enter_context(closing(await self._entry.connect()))
            except RefusedError:
                return REFUSED
            except AnswerError as error:
                sys.stderr.write(f"{error}\n")
                return CANNOT_CONNECT
        return OK


class Proxy:
    """Carries bytes to ``address``. ``cut`` ends one connection at an option, and does ``then``."""

    def __init__(self) -> None:
        self.address = ("127.0.0.1", 0)
        self.heard: list[int] = []  # the options
        self._cut: tuple[int, bool, Callable[[], None]] | None = None
        self._answered, self._done = threading.Event(), threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, option: int, *, answered: bool, then: Callable[[], None]) -> None:
        self._cut = option, answered, then

    def wait(self) -> None:
        """Wait until the connection was cut, and ``then`` is done."""
        assert self._done.wait(PATIENCE_SECONDS)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                threading.Thread(target=self._carry, args=(peer,), daemon=True).start()

    def _carry(self, peer: socket.socket) -> None:
        with peer, suppress(OSError), socket.create_connection(self.address) as server:
            back = threading.Event()
            back.set()
            threading.Thread(target=self._back, args=(server, peer, back), daemon=True).start()
            while data := peer.recv(4096):
                at = data.find(b"IHAVEOPT")
                (option,) = struct.unpack_from(">I", data, at + 8) if at >= 0 else (0,)
                self.heard += [option] if option else []
                if self._cut is None or option != self._cut[0]:
                    server.sendall(data)
                    continue
                (_, answered, then), self._cut = self._cut, None
                back.clear()
                if answered:
                    server.sendall(data)
                    assert self._answered.wait(PATIENCE_SECONDS)
                server.shutdown(socket.SHUT_RDWR)  # the other thread still reads from it
                then()
                self._done.set()
                return

    def _back(self, server: socket.socket, peer: socket.socket, back: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(4096):
                if back.is_set():
                    peer.sendall(data)
                else:
                    self._answered.set()
            if back.is_set():
                peer.shutdown(socket.SHUT_RDWR)


class KeylessTable(LeaseTable):
    """The table of a release without keys."""

    def use_keys(self, new_key: Callable[[str], str]) -> None:
        pass


class Place:
    """A page server that can be restarted, and the proxy before it."""

    def __init__(self, folder: Path) -> None:
        self.proxy = Proxy()
        self._folder = folder
        self._saved = b""
        self.start()

    def start(self, kind: type[LeaseTable] = LeaseTable) -> None:
        self._store = DiskStore(self._folder, "room")
        self.table = kind(64 * MIB)
        self.exports = LeasedExports(self._store, self.table)
        self._context: AbstractContextManager[Running] = running(self.exports, workers=1)
        self.server = self._context.__enter__()
        self.proxy.address = self.server.address

    def stop(self) -> None:
        self.server.ask(self.exports.files.keeper.flush)
        self._context.__exit__(None, None, None)
        self.exports.close()
        self._store.close()

    def restart(self, kind: type[LeaseTable] = LeaseTable) -> None:
        self.stop()
        self.start(kind)

    def save(self) -> None:
        self._saved = self._state.read_bytes()

    def restart_without_the_last_save(self) -> None:
        self.stop()
        self._state.write_bytes(self._saved)
        self.start()

    @property
    def _state(self) -> Path:
        assert self.exports.directory is not None
        return self.exports.directory / STATE_FILE

    def grant(self, token: str, *, fresh: bool = False) -> None:
        def now() -> object:
            return self.table.grant(SEAT, EXPORT, token, MIB, time.time(), fresh=fresh)

        assert isinstance(self.server.ask(now), Lease)
        assert self.server.ask(self.exports.files.keeper.flush), "as the answer over HTTP waits"

    def key(self, token: str) -> str:
        found = self.exports.find(WireName.parse(f"{EXPORT}@{token}.0"))
        return found.key if isinstance(found, Export) else ""

    def takes(self, secret: str) -> bool:
        """Return whether a stranger's GO with ``secret`` and the highest set is answered at all."""
        with NbdClient(self.server.address) as asking:
            reply = asking.go(f"{EXPORT}@{secret}.{(1 << 64) - 1:x}")[-1]
        return bool(reply.sprintf("%type%") != "ERR_UNKNOWN")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    found = Place(tmp_path)
    found.grant("t1")
    yield found
    found.stop()
    found.proxy.close()


@pytest.fixture(params=["real", "played"])
def start(
    place: Place, holder: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Agent | Played]]:
    """Return how to start an agent that has the boot's token and stays."""
    monkeypatch.setattr(client, "SECONDS", 10.0)  # as STEP_MS in stream.c
    with ExitStack() as stack:

        def begin() -> Agent | Played:
            if request.param == "played":
                return Played(place.proxy.port, "t1")
            agent = Agent(holder, place.proxy.port, "t1")
            stack.callback(agent.end)
            return agent

        yield begin


def test_the_token_is_dead_after_the_first_attachment(
    place: Place, start: Callable[[], Agent | Played]
) -> None:
    key, agent = place.key("t1"), start()
    assert agent.attach() == OK
    assert place.proxy.heard == [INFO, GO, GO], "once for all connections"
    assert place.key("t1") == "" and not place.takes("t1")
    assert agent.attach() == OK
    assert place.proxy.heard == [INFO, GO, GO, GO, GO], "attached again with the key alone"
    assert place.takes(key)


def nothing(_: Place) -> None:
    pass


@pytest.mark.parametrize("then", [nothing, Place.restart, Place.restart_without_the_last_save])
@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("option", OPTIONS)
def test_a_lost_answer_strands_no_agent(
    place: Place,
    start: Callable[[], Agent | Played],
    option: str,
    answered: bool,
    then: Callable[[Place], None],
) -> None:
    """The server may restart at that moment, and may not have saved that the key was used."""
    place.save()
    agent = start()
    place.proxy.cut(OPTIONS[option], answered=answered, then=lambda: then(place))
    assert agent.attach() == CANNOT_CONNECT
    place.proxy.wait()
    assert agent.attach() == OK
    assert not place.takes("t1")
    place.restart()
    assert agent.attach() == OK
    assert not place.takes("t1")


@pytest.mark.parametrize("option", OPTIONS)
def test_a_lost_answer_may_be_followed_by_an_older_release(
    place: Place, start: Callable[[], Agent | Played], option: str
) -> None:
    agent = start()
    place.proxy.cut(OPTIONS[option], answered=True, then=lambda: place.restart(KeylessTable))
    assert agent.attach() == CANNOT_CONNECT
    place.proxy.wait()
    assert [agent.attach(), agent.attach()] == [OK, OK]


def test_an_agent_goes_on_over_an_upgrade_and_a_rollback(
    place: Place, start: Callable[[], Agent | Played]
) -> None:
    place.restart(KeylessTable)
    agent = start()
    assert agent.attach() == OK
    place.restart()
    assert agent.attach() == OK
    place.restart(KeylessTable)
    assert agent.attach() == OK
    place.restart()
    assert agent.attach() == OK
    assert not place.takes("t1")


def attach(agent: Path, place: Place, lease: Server | None = None) -> tuple[int, str]:
    """Run an agent; return its status and its complaints."""
    done = run(
        agent,
        *words("attach", place.proxy.port, connections=2),
        token="t1",
        lease=None if lease is None else f"{lease.port}/lease/t?ram=1&fresh=1",
    )
    return done.returncode, done.stderr


@pytest.fixture
def lease() -> Iterator[Server]:
    """Tell all who ask the token t2."""
    server = Server(f"HTTP/1.0 200 OK\r\n\r\n{serialize(Granted(MIB, 't2'))}\n".encode())
    yield server
    server.stop()


@pytest.mark.parametrize("answered", [False, True])
def test_an_agent_that_ends_before_it_used_the_key_leaves_the_token(
    agent: Path, place: Place, answered: bool
) -> None:
    place.proxy.cut(INFO, answered=answered, then=lambda: None)
    assert attach(agent, place)[0] == CANNOT_CONNECT
    place.proxy.wait()
    assert attach(agent, place)[0] == KERNEL_REFUSED, "attached"


def test_an_agent_that_ends_between_go_and_swapon_is_followed_by_one_with_a_fresh_lease(
    agent: Path, place: Place, lease: Server
) -> None:
    """Init starts the next one, with the same words."""
    code, complaints = attach(agent, place)
    assert code == KERNEL_REFUSED and "NBD" in complaints
    assert attach(agent, place)[0] == REFUSED, "without a place that grants leases"
    place.grant("t2", fresh=True)
    code, complaints = attach(agent, place, lease)
    assert code == KERNEL_REFUSED, complaints
    assert complaints.startswith("no such export, or wrong token\n")
    assert not place.takes("t1") and not place.takes("t2")


def test_the_answer_to_go_is_lost_and_the_agent_ends(
    agent: Path, place: Place, lease: Server
) -> None:
    place.proxy.cut(GO, answered=True, then=lambda: None)
    assert attach(agent, place)[0] == CANNOT_CONNECT
    place.proxy.wait()
    place.grant("t2", fresh=True)
    assert attach(agent, place, lease)[0] == KERNEL_REFUSED


def test_neither_the_token_nor_the_key_is_ever_printed(agent: Path, place: Place) -> None:
    key = place.key("t1")
    for complaints in (attach(agent, place)[1], attach(agent, place)[1]):
        assert key not in complaints and "t1" not in complaints


@pytest.mark.parametrize("secret", ["t1", "guess", "", "t1@", "T1"])
def test_a_dead_token_is_refused_like_a_wrong_one(
    place: Place, start: Callable[[], Agent | Played], secret: str
) -> None:
    assert start().attach() == OK
    with NbdClient(place.server.address) as asking:
        for option in OPTIONS.values():
            ask = struct.pack(">I", len(secret) + 7) + f"{EXPORT}@{secret}".encode()
            asking.sock.sendall(
                b"IHAVEOPT"
                + struct.pack(">II", option, len(ask) + 4)
                + ask
                + struct.pack(">HH", 1, 2)
            )
            (reply,) = asking.option(b"")
            assert bytes(reply.data) == b"no such export, or wrong token"
            assert reply.sprintf("%type%") == "ERR_UNKNOWN"


def test_an_agent_for_kept_files_uses_its_key_too(agent: Path, tmp_path: Path) -> None:
    table = KeptTable(MIB, new_key)
    exports = KeptExports(tmp_path / "persist", table)
    table.grant(SEAT, EXPORT, "cafe", MIB, 0.0)
    with running(exports) as server:
        line = words("attach", server.address[1], export=EXPORT, use="keep", connections=2)
        done = run(agent, *line, token="cafe")
        assert done.returncode == KERNEL_REFUSED, done.stderr  # there is no NBD driver here
    assert table.find(WireName.parse(f"{EXPORT}@cafe.f")) == UNKNOWN, "the key was used"
    assert [lease.size_bytes for lease in table.leases()] == [MIB]


class Grants:
    """The part of a server that grants leases, at two addresses with one port."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.asked: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host = self.request.getsockname()[0]
                outer.asked.append(host)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(answers[host].encode())

            def log_message(self, *_: object) -> None:
                pass

        self.servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)]
        self.port = self.servers[0].server_port
        self.servers.append(http.server.ThreadingHTTPServer(("127.0.0.2", self.port), Handler))
        for each in self.servers:
            threading.Thread(target=each.serve_forever, daemon=True).start()

    def close(self) -> None:
        for each in self.servers:
            each.shutdown()
            each.server_close()


@pytest.mark.parametrize("first", ["refused=no room", f"size={MIB} token=dead"])
def test_an_agent_of_a_pool_gets_its_lease_from_the_other_server(
    agent: Path, tmp_path: Path, first: str
) -> None:
    """The first one has no room, or refuses the lease that it granted."""
    table = LeaseTable(64 * MIB)
    grants = Grants({"127.0.0.1": first, "127.0.0.2": f"size={MIB} token=cafe"})
    with closing(DiskStore(tmp_path, "room")) as store:
        exports = LeasedExports(store, table)
        table.grant(SEAT, EXPORT, "cafe", MIB, 0.0)
        with running(exports, "127.0.0.2", workers=1) as server:
            line = words("attach", server.address[1], export=EXPORT, connections=2)
            line = [*line, "host=127.0.0.1,127.0.0.2", "layout=any"]
            line.remove("host=127.0.0.1")
            done = run(agent, *line, lease=f"{grants.port}/lease")
            assert done.returncode == KERNEL_REFUSED, done.stderr  # there is no NBD driver here
        exports.close()
    grants.close()
    assert grants.asked == ["127.0.0.1", "127.0.0.2"]
    assert table.find(WireName.parse(f"{EXPORT}@cafe.f")) == UNKNOWN, "the key was used"
