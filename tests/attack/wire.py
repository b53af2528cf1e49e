"""A server, an honest PC and an attacker on one bridge, each in a network namespace of its own."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests import ROOT
from tests.support.command import SERVE
from tests.support.images import write_manifest

PLACES = 2048  # for TFTP transfers (netboot/boot/limits.py)
SERVER, HONEST, ATTACKER = "10.99.0.1", "10.99.0.10", "10.99.0.66"
SERVER_MAC = "52:54:99:00:00:01"
MACS = {"honest": "52:54:99:00:00:10", "attacker": "52:54:99:00:00:66"}
LOADER, IMAGE_BYTES = "undionly.kpxe", 15_000_000  # of kernel and initramfs each


class Machine:
    """A namespace, with its loopback up."""

    def __init__(self) -> None:
        words = ["unshare", "--net", "sh", "-c", "ip link set lo up; echo up; exec sleep infinity"]
        self._holder = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert self._holder.stdout is not None and self._holder.stdout.readline() == "up\n"
        self.pid = self._holder.pid

    def command(self, *words: str | Path) -> list[str | Path]:
        """Return the command that runs ``words`` here."""
        return ["nsenter", "-t", str(self.pid), "-n", *words]

    def script(self, text: str) -> None:
        """Run a shell script here."""
        subprocess.run(self.command("sh", "-ec", text), check=True, timeout=60)

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Start a verb of ``tests.attack.packets``, and wait until it has begun."""
        process = subprocess.Popen(
            self.command(sys.executable, "-m", "tests.attack.packets", *words),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        return process

    def do(self, *words: str) -> Any:
        """Run a verb of ``tests.attack.packets`` to its end, and return its answer."""
        return answer(self.start(*words))

    def end(self) -> None:
        """Remove the namespace."""
        self._holder.kill()
        self._holder.communicate()


def answer(process: "subprocess.Popen[str]") -> Any:
    """Wait for the end of a verb, and return its answer."""
    assert process.stdout is not None
    said = process.stdout.read()  # not communicate(): readline() has read ahead
    process.stdout.close()
    assert process.wait(60) == 0
    return json.loads(said)


class Wire:
    """The machines, and the server's command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server, self.honest, self.attacker = Machine(), Machine(), Machine()
        self.server.script(
            f"ip link add br0 address {SERVER_MAC} type bridge forward_delay 0; "
            f"ip address add {SERVER}/24 broadcast + dev br0; ip link set br0 up; "
            f"ip route add default via {ATTACKER}"
        )
        for name, address in (("honest", HONEST), ("attacker", ATTACKER)):
            machine: Machine = getattr(self, name)
            self.server.script(
                f"ip link add {name} type veth peer name eth0 netns {machine.pid}; "
                f"ip link set {name} master br0 up"
            )
            machine.script(
                f"ip link set eth0 address {MACS[name]}; "
                f"ip address add {address}/24 broadcast + dev eth0; ip link set eth0 up"
            )

    def netboot(self, profile: str) -> list[str | Path]:
        """Return the command of a server with this profile."""
        images = self.folder / "images"
        (images / "amd64").mkdir(parents=True, exist_ok=True)
        (images / LOADER).write_bytes(bytes(100_000))
        for name in ("vmlinuz", "initramfs.img"):
            (images / "amd64" / name).touch()
            subprocess.run(
                ["truncate", "-s", str(IMAGE_BYTES), images / "amd64" / name], check=True
            )
        write_manifest(images)
        path = self.folder / "room.yaml"
        path.write_text(f"swap: {{capacity: 64MiB}}\ninterface: br0\n{profile}")
        words: list[str | Path] = [
            sys.executable,
            "-m",
            *SERVE,
        ]
        words += ["--profile", path, "--images", images, "--state", self.folder / "state"]
        return self.server.command(*words)

    def end(self) -> None:
        """Remove all machines."""
        for machine in (self.honest, self.attacker, self.server):
            machine.end()


@contextmanager
def serving(wire: Wire, profile: str) -> Iterator["subprocess.Popen[str]"]:
    """Yield a running server. ``stderr`` has its warnings."""
    process = subprocess.Popen(
        wire.netboot(profile),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None and "ready" in process.stdout.readline()
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=60)
