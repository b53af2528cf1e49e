"""The rotation of a secret under a running server, and the end of the previous one."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from netboot.boot import ticket
from netboot.boot.keyring import Keyring
from netboot.serve.rotation import SAVE_SECONDS, SecretFollower
from netboot.serve.secret import DAY_SECONDS, Secrets, load_secret, load_secrets, rotate
from tests import ROOT
from tests.attack.machines import Machine, bridged
from tests.serve.test_release_upgrade import OWN_MEMORY, end, load
from tests.support.images import write_manifest

ADDRESS, PORT, MAC = "10.99.0.1", 10809, "52:54:00:12:34:56"
NETBOOT = (sys.executable, "-m", "netboot")
MINUTE = 60.0


class Time:
    """The clock of a server, and the seconds that it counts."""

    def __init__(self) -> None:
        self.now, self.ticks = 1.7e9, 5000.0

    def go_on(self, seconds: float) -> None:
        self.now += seconds
        self.ticks += seconds


class Server:
    """What follows the secret in ``path``: a new one after each ``restart``."""

    def __init__(self, path: Path) -> None:
        self.path, self.time, self.told = path, Time(), 0
        self.restart()

    def restart(self) -> None:
        found = load_secrets(self.path)
        self.keys = Keyring(found.current)
        self.follower = SecretFollower(
            self.path, self.keys, found, lambda: self.time.now, lambda: self.time.ticks
        )
        self.follower.on_new = self.tell

    def tell(self) -> None:
        self.told += 1

    def go_on(self, seconds: float) -> None:
        self.time.go_on(seconds)
        self.look()

    def look(self) -> None:
        self.follower.look()
        self.follower.save()


@pytest.fixture
def server(tmp_path: Path) -> Server:
    load_secret(tmp_path / "secret")
    return Server(tmp_path / "secret")


def test_a_new_secret_is_taken_up_and_told_once(server: Server) -> None:
    first = server.keys.current
    server.look()
    assert server.told == 0, "nothing is new"
    rotate(server.path)
    server.look()
    server.look()
    assert server.told == 1 and server.keys.previous == first
    assert server.keys.current == load_secret(server.path)
    saved = load_secrets(server.path)
    assert saved.until == server.time.now + DAY_SECONDS, "the day begins when a server knows it"


def test_the_previous_secret_is_forgotten_after_a_day_in_the_file_too(server: Server) -> None:
    first = server.keys.current
    rotate(server.path)
    server.look()
    server.go_on(DAY_SECONDS - MINUTE)
    assert server.keys.previous == first
    server.go_on(2 * MINUTE)
    assert server.keys.previous == b"" and server.told == 1
    assert server.path.read_bytes() == server.keys.current
    for each in server.path.parent.iterdir():
        assert first.hex().encode() not in each.read_bytes()


def test_a_restart_does_not_lengthen_the_day(server: Server) -> None:
    rotate(server.path)
    server.look()
    server.go_on(DAY_SECONDS / 2)
    server.restart()
    assert server.keys.previous
    server.time.go_on(DAY_SECONDS / 2 + MINUTE)  # while no server runs
    server.restart()
    assert server.keys.previous == b"", "not even for a moment"
    server.look()
    assert load_secrets(server.path) == Secrets(server.keys.current)


def test_a_clock_that_jumps_back_at_each_start_does_not_lengthen_the_day(server: Server) -> None:
    rotate(server.path)
    server.look()
    for _ in range(4):
        assert server.keys.previous
        server.time.now -= 1e8
        server.restart()
        for _ in range(30):
            server.go_on(SAVE_SECONDS)
    assert server.keys.previous == b""


def test_a_clock_that_jumps_ahead_forgets_at_once(server: Server) -> None:
    rotate(server.path)
    server.look()
    server.time.now += 1e8
    server.look()
    assert server.keys.previous == b"" and load_secrets(server.path).previous == b""


def test_a_second_rotation_within_the_day_begins_another_one(server: Server) -> None:
    rotate(server.path)
    server.look()
    second = server.keys.current
    server.go_on(DAY_SECONDS - MINUTE)
    rotate(server.path)
    server.go_on(2 * MINUTE)
    assert server.keys.previous == second and server.told == 2


@pytest.mark.parametrize("harm", ["damaged", "removed", "readable"])
def test_a_file_that_cannot_be_used_changes_nothing_while_the_server_runs(
    server: Server, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = server.keys.current
    if harm == "damaged":
        server.path.write_bytes(b"")
    elif harm == "removed":
        server.path.unlink()
    else:
        rotate(server.path)
        server.path.chmod(0o644)
    for _ in range(3):
        server.look()
    assert server.keys.current == first
    assert len(caplog.records) == (harm != "removed")


def test_a_full_disk_is_told_and_the_secret_is_forgotten_all_the_same(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rotate(server.path)
    server.look()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("netboot.serve.secret.rewrite_file", full)
        server.go_on(DAY_SECONDS + MINUTE)
        assert server.keys.previous == b"" and load_secrets(server.path).previous
    assert "cannot be written: No space left on device; tried again" in caplog.text
    server.look()
    assert load_secrets(server.path).previous == b""


@pytest.fixture
def machines() -> Iterator[dict[str, Machine]]:
    with bridged(server=ADDRESS, pc="10.99.0.10") as made:
        made["pc"].run(f"ip link set eth0 address {MAC}")
        yield made


class Room:
    """A real server and a PC, each in a network namespace of its own."""

    def __init__(self, machines: dict[str, Machine], folder: Path) -> None:
        self.state = folder / "state"
        (folder / "room.yaml").write_text("swap: {capacity: 64MiB, connections: 4}\n")
        write_manifest(folder)
        inside = ["nsenter", "-t", str(machines["server"].pid), "-n", *OWN_MEMORY]
        words = ["--images", str(folder), "--state", str(self.state), "--set", "http.panel=off"]
        self.process = subprocess.Popen(
            [*inside, *NETBOOT, "serve", "--json", *words, "--profile", str(folder / "room.yaml")],
            env={**os.environ, "PYTHONPATH": str(ROOT)},  # also for the check before an upgrade
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.inside = ["nsenter", "-t", str(machines["pc"].pid), "-n", sys.executable]
        self.wait_for("ready")

    def wait_for(self, key: str, value: str = "") -> None:
        assert self.process.stdout is not None
        while True:
            message: dict[str, Any] = json.loads(self.process.stdout.readline())
            if key in message and value in str(message[key]):
                return

    def ask(self, path: str, body: str | None = None) -> tuple[int, str]:
        """Ask as a program of the PC; return the status and the answer."""
        code = (
            "import sys, urllib.request as r, urllib.error as e\n"
            "try: a = r.urlopen(r.Request(sys.argv[1], data=eval(sys.argv[2])), timeout=60)\n"
            "except e.HTTPError as error: a = error\n"
            "print(a.status); print(a.read().decode())"
        )
        data = repr(None if body is None else body.encode())
        command = [*self.inside, "-c", code, f"http://{ADDRESS}:8080{path}", data]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        status, _, answer = done.stdout.partition("\n")
        return int(status), answer.strip()

    def order(self, session: str) -> tuple[int, str]:
        """Return the answer that a PC gets which asks for orders when it is told to reboot."""
        waiting = ThreadPoolExecutor(1).submit(self.ask, f"/orders/{session}?can=reboot")
        command = ["nsenter", "-t", str(self.process.pid), "-n", *NETBOOT, "order", "reboot", MAC]
        for _ in range(20):
            done = subprocess.run([*command, "--state", str(self.state)], check=False)
            if done.returncode == 0:
                return waiting.result(timeout=60)
        raise AssertionError("the PC does not ask for orders")

    def rotate(self) -> dict[str, Any]:
        words = ["secret", "rotate", "--json", "--state", str(self.state)]
        done = subprocess.run([*NETBOOT, *words], check=True, capture_output=True, text=True)
        told: dict[str, Any] = json.loads(done.stdout)
        wanted = ticket.panel_key(load_secret(self.state / "secret"))
        deadline = time.monotonic() + 60
        while (self.state / "panel.key").read_text().strip() != wanted:
            assert time.monotonic() < deadline, "the server does not take the secret up"
            time.sleep(0.1)
        return told

    def attach(self, secret: str, number: int) -> str:
        """Attach as an agent does; return the secret that is good afterwards."""
        words = [ADDRESS, str(PORT), EXPORT, secret, str(number)]
        command = [*self.inside, "-m", "tests.support.swap_secret", *words]
        done = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True)
        return done.stdout


EXPORT = "seat-525400123456"


@pytest.fixture
def room(machines: dict[str, Machine], tmp_path: Path) -> Iterator[Room]:
    room = Room(machines, tmp_path)
    yield room
    room.process.terminate()
    _, complaints = room.process.communicate(timeout=60)
    sys.stderr.write(complaints)


@pytest.mark.root
def test_a_running_pc_notices_no_rotation(room: Room) -> None:
    secret = load_secret(room.state / "secret")
    session = ticket.begin(secret, MAC, b"nonce!", time.time())
    granted = room.ask(f"/lease/{session}?ram=16777216")
    assert granted == (200, "size=33554432")
    key = room.attach(ticket.swap_token(secret, session), 1)
    seat = load(
        *room.inside, "-m", "tests.support.swap_load", ADDRESS, str(PORT), f"{EXPORT}@{key}.2"
    )
    assert room.rotate() == {
        "secret": str(room.state / "secret"),
        "accepted_seconds": DAY_SECONDS,
        "forgotten_at_once": False,
    }
    assert load_secrets(room.state / "secret").previous == secret
    assert room.order(session) == (200, "reboot")
    assert room.ask(f"/beacon/{session}/swap", "message=ready")[0] == 200
    assert end(seat) > 0, "its connections stayed"
    assert room.attach(key, 3) == key, "it attaches again"
    room.process.send_signal(signal.SIGHUP)
    room.wait_for("ready")
    assert room.ask(f"/beacon/{session}/userland", "message=again")[0] == 200
    assert room.attach(key, 4) == key
    assert room.rotate()["forgotten_at_once"]
    assert room.ask(f"/beacon/{session}/userland", "message=late")[0] in (403, 404)
    assert room.attach(key, 5) == key, "its swap stays all the same"
