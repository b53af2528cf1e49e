"""Servers and workers that stand still and go on: no page ever becomes older.

A client writes versions of its pages, attaches again after each loss, and knows what was answered.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from netboot.errors import OperatorError
from netboot.pages import control
from netboot.pages.stores.disk import CLOSED, WRITER, DiskStore
from netboot.pages.stores.folder import Folder
from tests.support.leasing import EXPORT, NAME
from tests.support.nbd_client import NbdClient
from tests.support.ports import free_port

pytestmark = pytest.mark.system

PAGES = 32
SHORT_SECONDS = 0.05  # between the pings of a server that gives a worker up soon
LONG_SECONDS = 60.0
PAGE_BYTES = 4096


def wait_for(condition: Callable[[], bool], seconds: float = LONG_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    """Return whether a process has ended; one that nobody reaped has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


class Serving:
    """The server of tests/support/leasing.py, with pages in ``folder``.

    ``machine`` has no locks in common with others (32 hexadecimal digits).
    """

    def __init__(self, kind: str, folder: Path, ping: float, machine: str = "") -> None:
        self.folder = folder / f"netboot-kept-{NAME}"
        self.address = ("127.0.0.1", free_port())
        self.token = f"of{machine}"
        words = [kind, str(folder), *map(str, self.address), self.token, str(ping)]
        words += ["apart"] if machine else []
        self._command = [sys.executable, "-P", "-m", "tests.support.leasing", *words]
        self._variables = {"PYTHONPATH": "."} | ({"NETBOOT_BOOT_ID": machine} if machine else {})
        self._left: set[int] = set()
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, text=True, env={**os.environ, **self._variables}
        )
        assert self.process.stdout is not None
        if self.process.stdout.readline() != "listening\n":
            self.process.stdout.close()
            raise ChildProcessError(self.process.wait(60))

    def worker(self) -> int:
        """Return the one worker. A busy machine may have one more that is given up."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        found: list[int] = []

        def is_alone() -> bool:
            found[:] = map(int, children.read_text().split())
            return len(found) == 1

        wait_for(is_alone)
        self._left.update(found)
        return found[0]

    def end(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def close(self) -> None:
        for pid in self._left:
            if not is_gone(pid) and b"netboot" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGCONT)
            self.end(signal.SIGKILL)


class Model:
    """A PC's pages as they were answered, and the connection that it uses now."""

    def __init__(self, server: Serving) -> None:
        self._address, self._token = server.address, server.token
        self._set = 0
        self.version = 0
        self.attach()

    def try_attach(self) -> bool:
        """Give the connection up, if there is one, and attach with a higher set."""
        self._set += 1
        with suppress(OSError, EOFError), ExitStack() as undo:
            client = undo.enter_context(NbdClient(self._address))
            if client.go(f"{EXPORT}@{self._token}.{self._set:x}")[-1].type == 1:
                self.client = client
                undo.pop_all()
                return True
        return False

    def attach(self) -> None:
        wait_for(self.try_attach)

    def page(self, number: int, version: int) -> bytes:
        return (version << 16 | number).to_bytes(8, "big") * (PAGE_BYTES // 8)

    def send_all(self) -> None:
        """Send the next version of all pages, without waiting for answers."""
        self.version += 1
        for number in range(PAGES):
            header = self.client.request(1, number * PAGE_BYTES, PAGE_BYTES)
            self.client.sock.sendall(header + self.page(number, self.version))

    def write_all(self) -> None:
        """Write the next version of all pages. A server on a busy machine may lose a connection."""
        while True:
            with suppress(OSError, EOFError):
                self.send_all()
                self.client.receive(16 * PAGES)
                return
            self.close()
            self.attach()

    def check(self) -> None:
        """Read all pages: each has the version that was answered last."""
        for number in range(PAGES):
            found = b""
            while not found:
                with suppress(OSError, EOFError):
                    found = self.client.read(number * PAGE_BYTES, PAGE_BYTES)
                    break
                self.close()
                self.attach()
            assert found == self.page(number, self.version), number

    def close(self) -> None:
        self.client.sock.close()


@pytest.fixture(params=["memory", "disk", "tiered"])
def serve(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Serving]]:
    running: list[Serving] = []

    def start(ping: float = 1.0) -> Serving:
        running.append(Serving(request.param, tmp_path, ping))
        return running[-1]

    yield start
    for serving in running:
        serving.close()


def stop(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)


def go_on(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def test_a_worker_that_stands_still_writes_nothing_late(serve: Callable[..., Serving]) -> None:
    """It is dead before its PC is served by another one."""
    server = serve(SHORT_SECONDS)
    with closing(Model(server)) as model, closing(model.client.sock):
        model.write_all()
        worker = server.worker()
        stop(worker)
        model.send_all()
        model.attach()
        assert is_gone(worker)
        model.write_all()
        time.sleep(0.2)
        model.check()


def test_a_server_that_stands_still_writes_nothing_late(serve: Callable[..., Serving]) -> None:
    """All its processes, as when its machine is suspended. They go on in any order."""
    server = serve()
    with closing(Model(server)) as model:
        for order in (1, -1):
            model.write_all()
            pids = [server.process.pid, server.worker()][::order]
            stop(*pids)
            with closing(model.client.sock):
                model.send_all()  # and gives up: the new set waits in the listening socket
            go_on(pids[0])
            time.sleep(0.1)
            go_on(pids[1])
            model.attach()
            model.write_all()
            time.sleep(0.2)
            model.check()


def test_a_worker_left_by_a_killed_server_writes_nothing_late(
    serve: Callable[..., Serving],
) -> None:
    server = serve(SHORT_SECONDS)
    with closing(Model(server)) as model, closing(model.client.sock):
        model.write_all()
        worker = server.worker()
        stop(worker)
        model.send_all()
        server.end(signal.SIGKILL)
        server.start()
        model.attach()
        assert is_gone(worker)
        model.write_all()
        time.sleep(0.2)
        model.check()


def test_a_worker_that_no_server_finds_keeps_its_pages_from_all(
    serve: Callable[..., Serving],
) -> None:
    """It stood still with a request; its next server could not tell that it lives.

    Its PC was served by another worker, and then the old one stored the old page over the new one.
    """
    server = serve()
    with closing(Model(server)) as model, closing(model.client.sock) as given_up:
        model.write_all()
        worker = server.worker()
        stop(worker)
        model.send_all()
        server.end(signal.SIGKILL)
        for name in control.meetings(server.folder):
            (server.folder / name).unlink()
        server.start()
        assert not model.try_attach(), "the page file is locked"
        given_up.close()
        go_on(worker)
        model.attach()
        assert is_gone(worker) or not server_has_open(server, worker)
        model.write_all()
        time.sleep(0.2)
        model.check()


def server_has_open(server: Serving, pid: int) -> bool:
    """Return whether a process has a page file of the server open."""
    paths = [os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir()]
    return any(path.startswith(str(server.folder)) and ".pages" in path for path in paths)


def test_a_second_server_does_not_start_while_the_first_stands_still(
    serve: Callable[..., Serving],
) -> None:
    server = serve()
    with closing(Model(server)) as model:
        model.write_all()
        stop(server.process.pid, server.worker())
        with pytest.raises(OperatorError, match="another server keeps its pages in"):
            Folder(server.folder.parent, NAME)
        go_on(server.process.pid, server.worker())
        model.check()


@pytest.mark.parametrize("serve", ["disk"], indirect=True)
def test_a_server_that_ends_beside_a_left_worker_does_not_say_that_its_disk_is_whole(
    serve: Callable[..., Serving], tmp_path: Path
) -> None:
    """The left one goes on writing. On another machine its pages would be believed."""
    server = serve()
    with closing(Model(server)) as model:
        model.write_all()
        server.worker()
        server.end(signal.SIGKILL)
        store = DiskStore(tmp_path, NAME)
        store.close()
        assert (server.folder / WRITER).read_text() != CLOSED
        model.write_all()
        model.check()


FIRST, SECOND = "1" * 32, "2" * 32


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Callable[[str], Serving]]:
    """Return how to start a server of a machine, with the same folder and without its locks."""
    running: list[Serving] = []

    def start(machine: str) -> Serving:
        running.append(Serving("disk", tmp_path, 1.0, machine))
        return running[-1]

    yield start
    for serving in running:
        serving.close()


def test_a_server_of_another_machine_does_not_take_the_folder_of_one_that_lives(
    apart: Callable[[str], Serving], capfd: pytest.CaptureFixture[str]
) -> None:
    first = apart(FIRST)
    with closing(Model(first)) as model:
        model.write_all()
        with pytest.raises(ChildProcessError):
            apart(SECOND)
        said = capfd.readouterr().err
        assert f"another server keeps its pages in {first.folder}: process" in said
        model.check()
        model.write_all()


def test_a_server_that_stood_still_ends_when_its_folder_was_taken(
    apart: Callable[[str], Serving],
) -> None:
    """Stopped with requests, as when its machine is suspended, and continued beside its successor."""
    first = apart(FIRST)
    with closing(Model(first)) as model, closing(model.client.sock):
        model.write_all()
        pids = [first.process.pid, first.worker()]
        stop(*pids)
        model.send_all()
        for name in control.meetings(first.folder):
            (first.folder / name).unlink()  # no process of another machine answers there
        second = apart(SECOND)
        with closing(Model(second)) as again:
            again.write_all()
            state = (second.folder / "state-leases.json").read_text()
            go_on(*reversed(pids))
            wait_for(lambda: all(map(is_gone, pids)))
            again.check()
            assert (second.folder / "state-leases.json").read_text() == state
            second.end(signal.SIGKILL)
            second.start()
            again.close()
            again.attach()
            again.check()


@pytest.mark.nightly
@pytest.mark.long
@pytest.mark.timeout(300)
def test_after_a_minute_nothing_is_late(serve: Callable[..., Serving]) -> None:
    """With the patience of a real server: ten pings, a second apart."""
    server = serve()
    with closing(Model(server)) as model:
        for whole in (True, False):
            model.write_all()
            worker = server.worker()
            pids = [server.process.pid, worker] if whole else [worker]
            stop(*pids)
            with closing(model.client.sock):
                model.send_all()
            time.sleep(60)
            with suppress(ProcessLookupError):
                go_on(*pids)
            model.attach()
            model.write_all()
            time.sleep(1)
            model.check()
