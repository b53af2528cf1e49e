"""Attacks on the HTTP server as the security review did them, while an honest PC asks all doors."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests import ROOT
from tests.attack.http_attacker import SERVER
from tests.support.images import write_manifest

pytestmark = [pytest.mark.root, pytest.mark.system]

SECONDS = 6.0  # of each attack
MOST_MEMORY = 200 << 20  # of the control plane; 80 MB when idle
MOST_LOG = 500_000  # bytes of both outputs in an attack; 1 MB a minute
MOST_SECONDS = 1.0  # for the p99 of a small answer
USUAL_DESCRIPTORS = "1024:1024"  # of a shell, whose hard limit is often higher
NETWORK = f"""ip link set lo up; ip link add br0 address 52:54:99:00:00:01 type bridge forward_delay 0
ip address add {SERVER}/24 dev br0; ip link set br0 up; echo up; exec sleep infinity"""
LONELY = "ip link set lo up; echo up; exec sleep infinity"


class Room:
    """A server, an attacker and an honest PC, each in a network namespace, on one bridge."""

    def __init__(self, folder: Path, opened: ExitStack) -> None:
        self._opened = opened
        self._here = self._namespace(NETWORK)
        self._attacker = self._plug("66", "52:54:99:00:00:66")
        self._honest = self._plug("10", "52:54:99:00:00:10")
        (folder / "images/amd64").mkdir(parents=True)
        (folder / "images/undionly.kpxe").write_bytes(bytes(9000))
        with (folder / "images/amd64/vmlinuz").open("wb") as file:
            file.truncate(64 << 20)
        write_manifest(folder / "images")
        (folder / "room.yaml").write_text("swap: {capacity: 64MiB}\n")
        self._outputs = [folder / "stdout", folder / "stderr"]
        words = ["prlimit", f"--nofile={USUAL_DESCRIPTORS}", sys.executable, "-P", "-m", "netboot"]
        words += ["serve", "--set", "http.panel=off", "--images", str(folder / "images")]
        words += ["--profile", str(folder / "room.yaml"), "--state", str(folder / "state")]
        outputs = [opened.enter_context(path.open("wb")) for path in self._outputs]
        self._server = subprocess.Popen(
            self._command(self._here, *words), cwd=ROOT, stdout=outputs[0], stderr=outputs[1]
        )
        opened.callback(self._stop, self._server)
        end = time.monotonic() + 60
        while b"HTTP" not in self._outputs[0].read_bytes():
            assert self._server.poll() is None and time.monotonic() < end, self.log()
            time.sleep(0.05)

    def _namespace(self, script: str) -> int:
        words = ["unshare", "--net", "sh", "-ec", script]
        holder = subprocess.Popen(words, stdout=subprocess.PIPE)
        self._opened.callback(self._stop, holder)
        assert holder.stdout is not None and holder.stdout.readline() == b"up\n"
        return holder.pid

    def _plug(self, number: str, mac: str) -> int:
        pid = self._namespace(LONELY)
        script = f"""ip link add p{number} type veth peer name eth0 netns {pid}
            ip link set p{number} master br0 up
            exec nsenter -t {pid} -n sh -ec 'ip link set eth0 address {mac}
            ip address add 10.99.0.{number}/24 dev eth0; ip link set eth0 up'"""
        subprocess.run(self._command(self._here, "sh", "-ec", script), check=True)
        return pid

    @staticmethod
    def _command(pid: int, *words: str) -> list[str]:
        return ["nsenter", "-t", str(pid), "-n", *words]

    @staticmethod
    def _stop(process: "subprocess.Popen[bytes]") -> None:
        process.terminate()
        process.communicate(timeout=60)

    def _start(self, pid: int, module: str, *words: object) -> "subprocess.Popen[bytes]":
        words = (sys.executable, "-m", f"tests.attack.{module}", *words)
        process = subprocess.Popen(
            self._command(pid, *map(str, words)), cwd=ROOT, stdout=subprocess.PIPE
        )
        self._opened.callback(process.kill)
        return process

    def attack(self, *words: object, seconds: float = SECONDS) -> dict[str, int]:
        """Attack while the honest PC asks. Check all that must hold; return what was attained."""
        attacker = self._start(self._attacker, "http_attacker", *words)
        time.sleep(1.5)
        honest = self._start(self._honest, "honest", seconds - 2)
        asked = json.loads(honest.communicate(timeout=60)[0])
        attained: dict[str, int] = json.loads(attacker.communicate(timeout=60)[0])
        said = sum(path.stat().st_size for path in self._outputs)
        figures = {"memory": self.memory(), "log": said, "attained": attained, "honest": asked}
        sys.stdout.write(f"{words}: {json.dumps(figures)}\n")
        for door, answers in asked.items():
            assert answers["failed"] == 0 and answers["answers"] > 0, (door, figures)
            assert answers["p99"] < MOST_SECONDS, (door, figures)
        assert figures["memory"] < MOST_MEMORY, figures
        assert said < MOST_LOG, (figures, self.log()[-2000:])
        return attained

    def memory(self) -> int:
        """Return the resident memory of the control plane in bytes."""
        lines = Path(f"/proc/{self._server.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS"))

    def log(self) -> str:
        return "".join(path.read_text() for path in self._outputs)

    def status(self, mac: str = "") -> dict[str, Any]:
        """Ask on the server's own machine."""
        url = f"http://127.0.0.1:8080/status/{mac}".rstrip("/")
        script = (
            f"import urllib.request as r; print(r.urlopen('{url}', timeout=60).read().decode())"
        )
        words = self._command(self._here, sys.executable, "-c", script)
        found: dict[str, Any] = json.loads(
            subprocess.run(words, check=True, capture_output=True).stdout
        )
        return found


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with ExitStack() as opened:
        yield Room(tmp_path, opened)


def test_1100_half_requests_stop_nobody(room: Room) -> None:
    attained = room.attack("idle", 1100, SECONDS)
    assert attained["most open"] <= 128


def test_400_downloads_that_nobody_reads_stop_nobody(room: Room) -> None:
    attained = room.attack("stalled", 400, SECONDS)
    assert 0 < attained["most open"] <= 128


def test_4000_large_beacons_of_strangers_fill_no_memory(room: Room) -> None:
    room.attack("beacons", 40, 100, seconds=SECONDS)
    assert len(json.dumps(room.status())) < 1 << 20


def test_answers_to_status_that_nobody_reads_stop_nobody(room: Room) -> None:
    room.attack("beacons", 40, 20)
    room.attack("status", 128, SECONDS)
