"""A page server is killed or replaced while clients are connected, and they notice nothing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netboot.errors import OperatorError
from netboot.pages import static, upgrade
from tests.support.nbd_client import NbdClient
from tests.support.ports import free_port

pytestmark = pytest.mark.system

PAGE = bytes(range(256)) * 16
COMMAND = (sys.executable, "-P", "-m", "netboot", "pages", "--export", "a=64MiB")


class Serving:
    """``netboot pages`` as a process of its own."""

    def __init__(self, port: int, store: str, *words: str) -> None:
        self.address = ("127.0.0.1", port)
        self._command = [*COMMAND, "--listen", f"127.0.0.1:{port}", "--store", store, *words]
        self.store = store
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline().startswith("listening")

    def workers(self) -> list[int]:
        """Return the process ids of its workers."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(child) for child in children.split()]

    def end(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Serving]]:
    running: list[Serving] = []

    def start(store: str, *words: str) -> Serving:
        running.append(Serving(free_port(), store, *words))
        return running[-1]

    yield start
    for serving in running:
        if serving.process.returncode is None:
            serving.end(signal.SIGTERM)


@pytest.mark.parametrize("kind", ["memory", "disk", "tiered"])
def test_clients_outlive_a_killed_control_plane_and_an_upgrade(
    serve: Callable[..., Serving], tmp_path: Path, kind: str
) -> None:
    stores = {"memory": "memory", "disk": f"disk:{tmp_path}"}
    server = serve(stores.get(kind, f"tiered:{tmp_path},memory=8MiB"))
    with NbdClient(server.address).attach("a") as client:
        assert client.write(0, PAGE) == 0
        pid = server.process.pid
        # Half a request: the bytes not parsed yet are passed from process to process.
        half = client.request(1, 4096, 4096)
        client.sock.sendall(half[:10])
        assert static.upgrade_static(server.address, server.store) == pid
        client.sock.sendall(half[10:] + PAGE)
        client.receive(16)
        server.end(signal.SIGKILL)
        assert client.read(4096, 4096) == PAGE
        assert client.write(8192, PAGE) == 0
        server.start()
        assert client.read(0, 12288) == PAGE * 3
        with NbdClient(server.address).attach("a") as second:
            assert second.read(0, 12288) == PAGE * 3


def test_readers_outlive_a_killed_worker_a_killed_server_and_an_upgrade(
    serve: Callable[..., Serving], tmp_path: Path
) -> None:
    root = tmp_path / "root.img"
    root.write_bytes(PAGE * 256)
    server = serve("memory", "--image", f"root={root}")
    with NbdClient(server.address).attach("root") as client:
        fresh = root.with_suffix(".new")
        fresh.write_bytes(PAGE[::-1] * 2)
        fresh.replace(root)
        assert client.read(0, 4096) == PAGE
        # From now on the path leads to another file; attached clients keep the old one.
        assert static.upgrade_static(server.address, server.store) == server.process.pid
        assert client.read(0, 4096) == PAGE
        assert client.read(255 * 4096, 4096) == PAGE
        server.end(signal.SIGKILL)
        server.start()
        assert client.read(0, 4096) == PAGE
        with NbdClient(server.address).attach("root") as new:
            assert new.read(0, 8192) == PAGE[::-1] * 2
            assert client.read(0, 4096) == PAGE
        for pid in server.workers():
            os.kill(pid, signal.SIGKILL)
        with pytest.raises((EOFError, ConnectionResetError)):
            client.receive(1)
    with NbdClient(server.address).attach("root") as again:
        assert again.read(0, 4096) == PAGE[::-1]


def test_the_workers_of_the_program_before_leave_nothing_behind(
    serve: Callable[..., Serving],
) -> None:
    server = serve("memory")
    before = set(server.workers())
    static.upgrade_static(server.address, server.store)
    deadline = time.monotonic() + 60
    while before & set(server.workers()):  # a zombie counts as a child as well
        assert time.monotonic() < deadline, "still there"
        time.sleep(0.02)
    assert len(server.workers()) == len(before)


@pytest.mark.root
def test_who_lets_clients_in_goes_before_who_moves_pages(serve: Callable[..., Serving]) -> None:
    server = serve("memory")
    with NbdClient(server.address).attach("a") as client:  # so the workers have started by now
        assert client.write(0, PAGE) == 0
    assert os.getpriority(os.PRIO_PROCESS, server.process.pid) < 0
    (worker, *_) = server.workers()
    assert os.getpriority(os.PRIO_PROCESS, worker) == 0


def test_without_a_server_there_is_nothing_to_upgrade(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="no page server to upgrade"):
        upgrade.ask(tmp_path)
    upgrade.announce(tmp_path)  # left by a server that was killed
    with pytest.raises(OperatorError, match="no page server to upgrade"):
        upgrade.ask(tmp_path)


def test_pages_without_a_name_are_wiped_when_the_server_is_stopped(
    serve: Callable[..., Serving], tmp_path: Path
) -> None:
    server = serve(f"disk:{tmp_path}")
    assert list(tmp_path.iterdir()) != []
    server.end(signal.SIGINT)
    assert list(tmp_path.iterdir()) == []


def test_listeners_are_inherited_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(upgrade.LISTENERS, "")
    assert upgrade.inherited() == []
    assert upgrade.LISTENERS not in os.environ


def test_the_end_of_the_whole_process_group_is_no_news() -> None:
    """Newcomer fault B7: each worker was told as dead with status -15."""
    command = [*COMMAND, "--listen", f"127.0.0.1:{free_port()}", "--workers", "4"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as serving:
        assert serving.stdout is not None
        assert serving.stdout.readline().startswith("listening")
        os.killpg(serving.pid, signal.SIGTERM)
        _, complaints = serving.communicate(timeout=60)
    assert (serving.returncode, complaints) == (0, "")
