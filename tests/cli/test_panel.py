"""``netboot panel``: one process that starts, shows a played room, and ends; and its mistakes."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from netboot.cli.feeds import PANEL_STATE
from netboot.cli.panel import tell_password
from netboot.feed.records import Plan
from tests import ROOT
from tests.panel.feeding import Feeding, a_room, fed, figures, mac_of
from tests.support.command import plain

pytestmark = pytest.mark.system
SECONDS = 60.0  # on a busy machine


class Server:
    """A played server in a thread of its own."""

    def __init__(self, place: Path | None, **options: Any) -> None:
        self._place, self._options = place, options
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))

    async def _run(self) -> None:
        async with fed(self._place, **self._options) as self.feeding:
            self.feeding.plan = Plan((("pc-000", "pc-001"),))
            self.feeding.send(*a_room(10, time.time()), figures(time.time()))
            self._up.set()
            await self._end.wait()

    def call(self, work: Callable[[Feeding], object]) -> None:
        """Call ``work`` with the server, in its thread."""
        self._loop.call_soon_threadsafe(work, self.feeding)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
        self._loop.close()


class Panel:
    """A panel in a process of its own."""

    def __init__(self, folder: Path, *words: str, **environment: str) -> None:
        self.state = folder / "panel"
        place = ("--listen", "127.0.0.1:0", "--state", str(self.state), "--json")
        command = [sys.executable, "-P", "-m", "netboot", "panel", *place, *words]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def said(self) -> dict[str, Any]:
        """Return the next line of its output."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            pytest.fail(self.process.communicate()[1], pytrace=False)
        found: dict[str, Any] = json.loads(line)
        return found

    def ready(self) -> None:
        """Wait until browsers are answered."""
        while "ready" not in (line := self.said()):
            pass
        self.port = line["ready"]["port"]

    def get(self, path: str) -> Any:
        """Return the JSON at a path."""
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self.port}{path}", timeout=SECONDS
        ) as answer:
            return json.load(answer)

    def until(self, path: str, is_so: Callable[[Any], object]) -> Any:
        """Return the JSON at a path, when it is so."""
        deadline = time.monotonic() + SECONDS
        while not is_so(found := self.get(path)):
            assert time.monotonic() < deadline, found
            time.sleep(0.1)
        return found

    def end(self) -> tuple[int, str]:
        """End it. Return its status, and all that it said of errors."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS), self.process.communicate()[1]


@contextlib.contextmanager
def running(folder: Path, *words: str, **environment: str) -> Iterator[Panel]:
    panel = Panel(folder, *words, **environment)
    try:
        yield panel
    finally:
        if panel.process.poll() is None:
            panel.process.kill()
        panel.process.communicate()


def refused(folder: Path, *words: str) -> str:
    """Return the lines of a panel that does not start."""
    with running(folder, *words) as panel:
        output, errors = panel.process.communicate(timeout=SECONDS)
        assert (panel.process.returncode, output) == (2, ""), errors
        return plain(errors)


def has_rows(room: Any) -> bool:
    return len(room["seats"]) == 10


def test_it_shows_the_room_and_ends_in_order(tmp_path: Path) -> None:
    place = tmp_path / "feed.sock"
    with Server(place) as server, running(tmp_path, "--feed", str(place)) as panel:
        account = panel.said()["account"]
        assert account["name"] == "operator" and len(account["password"]) >= 12
        panel.ready()
        room = panel.until("/api/v1/room", has_rows)
        assert room["plan"] == [["pc-000", "pc-001"]]
        assert [each["name"] for each in room["servers"]] == ["school"]
        assert panel.get("/health")["status"] == "ok"
        with urllib.request.urlopen(f"http://127.0.0.1:{panel.port}/metrics") as answer:
            assert b'netboot_seat_states{server="school",state="running"} 3.0' in answer.read()
        server.call(lambda feeding: feeding.send(feeding.event(1, "agent:lost", "hung up")))
        panel.until(f"/api/v1/seats/{mac_of(1)}", lambda seat: seat["events"])
        assert panel.end() == (0, "")


def test_the_password_is_told_once_and_the_history_stays(tmp_path: Path) -> None:
    place = tmp_path / "feed.sock"
    with Server(place):
        with running(tmp_path, "--feed", str(place)) as panel:
            password = panel.said()["account"]["password"]
            panel.ready()
            panel.until("/api/v1/inventory", lambda rows: len(rows) >= 8)
            assert panel.end()[0] == 0
        with running(tmp_path, "--feed", str(place)) as panel:
            ready = panel.said()["ready"]
            assert "history.sqlite" in ready["history"]
            panel.port = ready["port"]
            panel.until("/api/v1/inventory", lambda rows: len(rows) >= 8)
    assert password not in (tmp_path / "panel/panel-accounts.json").read_text()


def test_the_way_to_another_password_names_the_folder_of_the_panel(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tell_password("hush", tmp_path / "my panel", as_json=False)
    told = capsys.readouterr().out
    assert told.endswith(f"netboot panel user passwd operator --state '{tmp_path}/my panel'\n")
    tell_password("hush", PANEL_STATE, as_json=False)
    assert capsys.readouterr().out.endswith("netboot panel user passwd operator\n")


def test_it_has_no_rights_and_tells_systemd_that_it_is_ready(tmp_path: Path) -> None:
    place = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(place))
        systemd.settimeout(SECONDS)
        with running(tmp_path, NOTIFY_SOCKET=str(place)) as panel:
            assert systemd.recv(100) == b"READY=1"
            status = Path(f"/proc/{panel.process.pid}/status").read_text()
            assert "CapEff:\t0000000000000000" in status and "NoNewPrivs:\t1" in status


@pytest.mark.root
def test_started_by_root_it_is_the_owner_of_its_state_folder() -> None:
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)  # pytest's own is root's alone
        folder.chmod(0o711)
        (folder / "panel").mkdir()
        os.chown(folder / "panel", 65534, 65534)
        panel = stack.enter_context(running(folder))
        panel.ready()
        status = Path(f"/proc/{panel.process.pid}/status").read_text()
        assert "Uid:\t65534\t65534\t65534\t65534" in status
        assert (panel.state / "history.sqlite").stat().st_uid == 65534


def test_servers_that_are_away_and_refuse_are_told_once_each_and_found_later(
    tmp_path: Path,
) -> None:
    key, wrong = tmp_path / "panel.key", tmp_path / "wrong.key"
    key.write_text("a" * 64)
    wrong.write_text("b" * 64)
    for path in (key, wrong):
        path.chmod(0o600)
    place = tmp_path / "feed.sock"
    with Server(None, key="a" * 64, name="annexe") as server:
        address = server.feeding.source.address
        words = ("--feed", str(place), "--server", address, "--key", str(wrong))
        with running(tmp_path, *words) as panel:
            panel.ready()
            health = panel.until("/health", lambda health: health["status"] == "degraded")
            assert [each["connected"] for each in health["servers"]] == [False, False]
            time.sleep(3)
            with Server(place):
                panel.until("/api/v1/room", has_rows)
            _, errors = panel.end()
        lines = sorted(set(errors.splitlines()))
        assert (
            f"server {address}: wrong key: copy panel.key from the state folder of that server"
            in errors
        )
        assert f"server {place}: cannot connect: No such file or directory" in errors
        assert errors.count("wrong key") == 1 and lines
        with running(tmp_path, "--server", address, "--key", str(key)) as panel:
            panel.ready()
            room = panel.until("/api/v1/room", has_rows)
            assert {seat["server"] for seat in room["seats"]} == {"annexe"}


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        errors = refused(tmp_path, "--listen", f"127.0.0.1:{port}")
    assert f"port {port}: Address already in use" in errors and "hint: " in errors


@pytest.mark.parametrize(
    ("words", "message"),
    (
        (("--server", "10.0.0.5:8080", "--key", "/none"), "no key of the server: /none does not"),
        (("--listen", "8081"), "expected HOST:PORT"),
        (("--state", "/proc/none"), "--state: /proc/none cannot be made"),
        (("--database", "mysql://x"), "mysql"),
        (
            ("--database", "postgresql://u:hush@h/d"),
            "which other users see in the list of processes",
        ),
        (("--database", "postgresql://u@h/d?password=hush"), "PGPASSWORD"),
        (("--database", "postgresql://u:hush@h:99x/d"), "which other users see"),
        (
            ("--database", "postgresql://u@h:99x/d"),
            "panel.database: expected postgresql://USER@HOST",
        ),
        (("--listen", "no-such-name.invalid:80"), "port 80: Name or service not known\n"),
        (("--nonsense",), "unknown option --nonsense"),
        (("nonsense",), "unknown verb 'nonsense'"),
    ),
)
def test_mistakes_are_told(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    errors = refused(tmp_path, *words)
    assert message in errors and "Traceback" not in errors and "hush" not in errors


def test_a_database_that_is_away_does_not_stop_it(tmp_path: Path) -> None:
    place = tmp_path / "feed.sock"
    with socket.socket() as unserved, Server(place):
        unserved.bind(("127.0.0.1", 0))  # and kept, so that no other program serves it
        url = f"postgresql://netboot@127.0.0.1:{unserved.getsockname()[1]}/netboot"
        with running(tmp_path, "--feed", str(place), "--database", url) as panel:
            panel.ready()
            panel.until("/api/v1/room", has_rows)
            with pytest.raises(urllib.error.HTTPError) as found:
                panel.get("/api/v1/troubles")
            with found.value as answer:
                assert answer.code == 503 and "127.0.0.1" in json.load(answer)["detail"]
