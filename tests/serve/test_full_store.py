"""A store without room, a state folder without room: every PC can come back, and nothing is lost."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from netboot.boot import ticket
from tests import ROOT
from tests.attack.machines import Machine, bridged
from tests.support.nbd_client import NbdClient

pytestmark = pytest.mark.root

ADDRESS, PORT = "10.99.0.1", 10809
MACS = ("52:54:00:12:34:56", "52:54:00:12:34:57")
MIB = 1 << 20
SERVE = (sys.executable, "-P", "-m", "netboot", "serve", "--swap-only", "--json")
DISCONNECT, TRIM = 2, 4


class Place:
    """A server with a small /dev/shm and a small state folder, which nobody else sees."""

    def __init__(self, folder: Path, machines: dict[str, Machine], shm: str) -> None:
        self.machines = machines
        self.folder = folder
        (folder / "state").mkdir()
        (folder / "room.yaml").write_text("swap: {size: 1x, connections: 4}\n")
        mounts = f"mount -t tmpfs -o size=512k tmpfs {folder}/state; mount -t tmpfs {shm}"
        script = f"{mounts} tmpfs /dev/shm; echo up; exec sleep infinity"
        words = ["nsenter", "-t", str(machines["server"].pid), "-n", "unshare", "--mount"]
        self._holder = subprocess.Popen(
            [*words, "sh", "-ec", script], stdout=subprocess.PIPE, text=True
        )
        assert self._holder.stdout is not None and self._holder.stdout.readline() == "up\n"
        self.root = Path(f"/proc/{self._holder.pid}/root")
        self.state = self.root / str(folder / "state").lstrip("/")
        self.shm = self.root / "dev/shm"
        (self.state / "secret").write_bytes(b"s" * 32)
        (self.state / "secret").chmod(0o600)
        self._clients: list[NbdClient] = []
        self.log = (folder / "log").open("w+")
        self.start()

    def start(self) -> None:
        inside = ["nsenter", "-t", str(self._holder.pid), "-n", "-m"]
        options = ["--state", str(self.folder / "state"), "--profile", "room.yaml"]
        self.server = subprocess.Popen(
            [*inside, f"--wd={self.folder}", *SERVE, *options],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        assert self.server.stdout is not None
        line = self.server.stdout.readline()
        assert "ready" in line, (line, self.said())

    def said(self) -> str:
        self.log.seek(0)
        return self.log.read()

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.server.pid}/task/{self.server.pid}/children").read_text()
        commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children.split()}
        return [int(pid) for pid, words in commands.items() if b"netboot.pages.worker" in words]

    def kill(self) -> None:
        """Kill the server and all its workers."""
        pids = [self.server.pid, *self.workers()]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.server.communicate(timeout=60)

    def end(self) -> str:
        """Stop the server in order; return what it said."""
        self.server.terminate()
        self.server.communicate(timeout=60)
        return self.said()

    def close(self) -> None:
        for client in self._clients:
            client.sock.close()
        if self.server.poll() is None:
            self.kill()
        self._holder.kill()
        self._holder.communicate()
        self.log.close()

    def lease(self, pc: int, mib: int = 4) -> str:
        """Return the server's answer to a PC that asks for fresh swap of ``mib``."""
        name = ticket.issue(b"s" * 32, MACS[pc])
        url = f"http://{ADDRESS}:8080/lease/{name}?ram={mib * MIB}&fresh=1"

        def fetch() -> str:
            with urllib.request.urlopen(url, timeout=60) as answer:
                return str(answer.read().decode().strip())

        return self.machines[f"pc{pc}"].do(fetch)

    def token(self, pc: int, mib: int = 4) -> str:
        answer = self.lease(pc, mib)
        assert "token=" in answer, answer
        return answer.partition("token=")[2]

    def attach(self, pc: int, token: str, number: int) -> NbdClient:
        name = f"seat-{MACS[pc].replace(':', '')}@{token}.{number:x}"
        client = self.machines[f"pc{pc}"].do(lambda: NbdClient((ADDRESS, PORT)))
        self._clients.append(client)
        return client.attach(name)

    def run(self, *words: str) -> None:
        inside = ["nsenter", "-t", str(self._holder.pid), "-m"]
        subprocess.run([*inside, *words], check=True, timeout=60)


def fill(folder: Path) -> None:
    """Take all room in a file system, and then all inodes."""
    with suppress(OSError), (folder / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with suppress(OSError):
        for number in range(100_000):
            (folder / f"filler-{number}").touch()


def heal(folder: Path) -> None:
    for path in folder.glob("filler*"):
        path.unlink()


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def machines() -> Iterator[dict[str, Machine]]:
    with bridged(server=ADDRESS, pc0="10.99.0.10", pc1="10.99.0.11") as made:
        for number, mac in enumerate(MACS):
            made[f"pc{number}"].run(f"ip link set eth0 address {mac}")
        yield made


@pytest.fixture
def make(tmp_path: Path, machines: dict[str, Machine]) -> Iterator[Callable[[str], Place]]:
    made: list[Place] = []

    def start(shm: str) -> Place:
        made.append(Place(tmp_path, machines, shm))
        return made[-1]

    yield start
    for place in made:
        place.close()


def test_every_pc_comes_back_to_a_full_store_and_all_are_well_with_room(
    make: Callable[[str], Place],
) -> None:
    place = make("-o size=16m,nr_inodes=64")
    tokens = [place.token(pc) for pc in (0, 1)]
    first = [place.attach(pc, tokens[pc], 1) for pc in (0, 1)]
    for pc in (0, 1):
        assert first[pc].write(0, bytes([65 + pc]) * 8192) == 0
    for folder in (place.shm, place.state):
        fill(folder)
    for number in (2, 3):
        for pc in (0, 1):
            client = place.attach(pc, tokens[pc], number)
            assert client.read(0, 8192) == bytes([65 + pc]) * 8192
            assert client.write(0, bytes([97 + pc]) * 4096) == 0, "a page that is stored"
            assert client.command(TRIM, 4096, 4096) == 0
            assert client.write(0, bytes([65 + pc]) * 8192) == 0, "its own room is free again"
    assert "size=" in place.lease(1), "a grant has its room kept back"
    place.kill()
    place.start()
    for pc in (0, 1):
        with pytest.raises(AssertionError, match="has been replaced by a newer one"):
            place.attach(pc, tokens[pc], 2)
        assert place.attach(pc, tokens[pc], 4).read(0, 8192) == bytes([65 + pc]) * 8192
    for folder in (place.shm, place.state):
        heal(folder)
    client = place.attach(0, tokens[0], 5)
    assert client.write(0, b"x" * (4 * MIB)) == 0, "all that it was granted"
    said = place.end()
    assert "Traceback" not in said and "cannot save" not in said
    assert "MiB of swap stay in /dev/shm/netboot-kept-room-" in said and "rm -r" in said


def test_a_pc_that_boots_again_takes_the_room_of_its_boot_before(
    make: Callable[[str], Place],
) -> None:
    place = make("-o size=16m,nr_inodes=64")
    client = place.attach(0, place.token(0), 1)
    assert client.write(0, bytes(MIB)) == 0
    token = place.token(0)
    fill(place.shm)
    client.sock.sendall(client.request(DISCONNECT))
    end = time.monotonic() + 60
    while True:
        try:
            client = place.attach(0, token, 1)
        except AssertionError as refused:  # until the workers have let the old pages go
            assert "No space left on device" in str(refused) and time.monotonic() < end
            time.sleep(0.1)
        else:
            break
    assert client.write(0, bytes(MIB)) == 0


def test_state_that_cannot_be_written_and_pages_that_are_gone(
    make: Callable[[str], Place],
) -> None:
    """A read-only state folder, then the pages' folder removed, then both workers killed."""
    place = make("-o size=16m")
    token = place.token(0)
    assert place.attach(0, token, 1).write(0, b"A" * 4096) == 0
    place.run("mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(place.folder / "state"))
    assert place.attach(0, token, 2).read(0, 4096) == b"A" * 4096
    until(lambda: "cannot save" in place.said())
    assert "size=" in place.lease(1), "the copy beside the pages is enough"
    (pages,) = place.shm.glob("netboot-kept-room-*")
    shutil.rmtree(pages)
    assert place.attach(0, token, 3).read(0, 4096) == b"A" * 4096, "its pages are open"
    for worker in (old := place.workers()):
        os.kill(worker, signal.SIGKILL)
    until(lambda: len(set(place.workers()) - set(old)) == len(old))
    assert place.attach(0, token, 4).read(0, 4096) == b"A" * 4096
    other = place.token(1)
    assert place.attach(1, other, 1).write(0, b"B" * 4096) == 0
    place.run("umount", str(place.folder / "state"))
    until(lambda: "is saved again" in place.said())
    place.kill()
    place.start()
    with pytest.raises(AssertionError, match="no longer has the pages"):
        place.attach(0, token, 5)
    assert place.attach(1, other, 2).read(0, 4096) == b"B" * 4096
    said = place.end()
    assert "Traceback" not in said and said.count("cannot save") == 1
    assert json.loads((place.state / "swap.json").read_bytes())["version"] == 1
