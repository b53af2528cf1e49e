"""A running server goes over to another release, or back: no connection is lost."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from netboot.boot import ticket
from tests import ROOT
from tests.attack.machines import Machine, bridged
from tests.support.images import write_manifest
from tests.support.ports import free_port

# 0.1.0: the last commit before the modules of netboot/ moved into packages.
RELEASE = "f9e7a45727cebdbfd7fc9340bcce30595e7eeb2c"
ADDRESS, PORT, MAC = "10.99.0.1", 10809, "52:54:00:12:34:56"
# A /dev/shm of its own: a server that ends leaves the pages of its seats there.
OWN_MEMORY = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs /dev/shm; exec "$@"', "sh")
NETBOOT = (sys.executable, "-P", "-m", "netboot")


class Installed:
    """A program that a link names, as /opt/netboot/current names the release that is served.

    It is that of the release before, and then this one; the other way round if it goes ``back``.
    """

    def __init__(self, folder: Path, *, back: bool) -> None:
        self.link = folder / "current"
        self.goes_back = back
        self._old = folder / "old"
        first, self._then = (ROOT, self._old) if back else (self._old, ROOT)
        command = ["git", "-c", "safe.directory=*", "archive", RELEASE, "netboot"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"this checkout has no history: {done.stderr.decode().strip()}")
        self._old.mkdir()
        subprocess.run(["tar", "-x", "-C", str(self._old)], input=done.stdout, check=True)
        self.link.symlink_to(first)
        self.environment = {**os.environ, "PYTHONPATH": str(self.link)}

    def upgrade(self, server: "subprocess.Popen[str]") -> None:
        """Point the link to the other release, and have the server go over to it."""
        aside = self.link.with_suffix(".new")
        aside.symlink_to(self._then)
        aside.replace(self.link)
        if self._then == ROOT:
            shutil.rmtree(self._old)  # no module of the old program can be imported after this
        server.send_signal(signal.SIGHUP)


@pytest.fixture(params=[False, True], ids=["upgrade", "rollback"])
def installed(request: pytest.FixtureRequest, tmp_path: Path) -> Installed:
    return Installed(tmp_path, back=request.param)


@pytest.fixture
def running() -> Iterator[list["subprocess.Popen[str]"]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in reversed(processes):
        process.terminate()
        process.communicate(timeout=60)


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def load(*command: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [*command], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert line(process) == "loaded\n"
    return process


def end(process: "subprocess.Popen[str]") -> int:
    """Return the number of pages that a load wrote and read back before and after the upgrade."""
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return int(said)


@pytest.mark.system
def test_a_page_server_between_releases(
    installed: Installed, running: list["subprocess.Popen[str]"]
) -> None:
    port = str(free_port())
    command = [*NETBOOT, "pages", "--export", "a=64MiB", "--listen", f"127.0.0.1:{port}"]
    server = subprocess.Popen(command, env=installed.environment, stdout=subprocess.PIPE, text=True)
    running.append(server)
    assert line(server).startswith("listening")
    client = load(sys.executable, "-m", "tests.support.swap_load", "127.0.0.1", port, "a")
    installed.upgrade(server)
    assert line(server).startswith("listening"), "the new program"
    assert end(client) > 0


@pytest.fixture
def machines() -> Iterator[dict[str, Machine]]:
    """Yield the server's and a PC's: the server answers a PC from its own address only."""
    with bridged(server=ADDRESS, pc="10.99.0.10") as made:
        made["pc"].run(f"ip link set eth0 address {MAC}")
        yield made


@pytest.mark.root
@pytest.mark.parametrize("trades", [False, True], ids=["0.1.0", "agent"])
def test_a_room_between_releases(
    installed: Installed,
    machines: dict[str, Machine],
    running: list["subprocess.Popen[str]"],
    tmp_path: Path,
    trades: bool,
) -> None:
    """A seat that 0.1.0 booted has its token for good. One of this release takes a key for it."""
    (tmp_path / "room.yaml").write_text("swap: {capacity: 64MiB, connections: 4}\n")
    write_manifest(tmp_path)
    server = subprocess.Popen(
        ["nsenter", "-t", str(machines["server"].pid), "-n", *OWN_MEMORY]
        + [*NETBOOT, "serve", "--json"]
        + ["--images", str(tmp_path), "--state", str(tmp_path / "state")]
        + ["--profile", str(tmp_path / "room.yaml")],
        env=installed.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    running.append(server)
    assert "ready" in json.loads(line(server))
    inside = ("nsenter", "-t", str(machines["pc"].pid), "-n", sys.executable)
    secret = (tmp_path / "state/secret").read_bytes()
    url = f"http://{ADDRESS}:8080/lease/{ticket.issue(secret, MAC)}?ram=16777216&fresh=1"
    fetch = f"import urllib.request as r; print(r.urlopen('{url}').read().decode())"
    answer = subprocess.run([*inside, "-c", fetch], check=True, capture_output=True, text=True)
    granted = re.fullmatch(r"size=33554432 token=(\w+)\s*", answer.stdout)
    assert granted is not None
    export = "seat-525400123456"

    def attach(token: str, number: int) -> str:
        """Attach as an agent of this release does; return the secret that is good afterwards."""
        words = (ADDRESS, str(PORT), export, token, str(number))
        command = [*inside, "-m", "tests.support.swap_secret", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    held = attach(granted[1], 1) if trades else granted[1]
    assert (held != granted[1]) == (trades and installed.goes_back), "0.1.0 has no keys"
    name = f"{export}@{held}.2"
    client = load(*inside, "-m", "tests.support.swap_load", ADDRESS, str(PORT), name)
    installed.upgrade(server)
    while "ready" not in (message := json.loads(line(server))):
        assert "stage" in message, "an event of the old program"
    assert end(client) > 0
    assert end(load(*inside, "-m", "tests.support.swap_load", ADDRESS, str(PORT), name[:-1] + "3"))
    if trades:
        after = attach(held, 4)
        assert (after == held) == installed.goes_back
        assert attach(after, 5) == after or not installed.goes_back
