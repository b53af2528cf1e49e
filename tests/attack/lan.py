"""A LAN for an attack: a server and PCs on one bridge, and a PC behind a router, each on its own.

Every machine is a network namespace. They share this machine's files.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests import ROOT
from tests.support.command import SERVE
from tests.support.images import write_manifest
from tests.support.kept import forget_pages

SERVER, ROUTER, FAR = "10.99.0.1", "10.99.0.254", "10.88.0.66"


class Machine:
    """A namespace, with its loopback up."""

    def __init__(self) -> None:
        words = ["unshare", "--net", "sh", "-c", "ip link set lo up; echo up; exec sleep infinity"]
        self._holder = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert self._holder.stdout is not None and self._holder.stdout.readline() == "up\n"
        self.pid = self._holder.pid

    def command(self, *words: str) -> list[str]:
        return ["nsenter", "-t", str(self.pid), "-n", *words]

    def run(self, script: str) -> None:
        subprocess.run(self.command("sh", "-ec", script), check=True, timeout=60)

    def ask(self, *words: str, uid: int = 0) -> Any:
        """Run ``tests.attack.pc`` and return its answer."""
        become = ["setpriv", f"--reuid={uid}", "--clear-groups"] if uid else []
        done = subprocess.run(
            self.command(*become, sys.executable, "-m", "tests.attack.pc", *words),
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return json.loads(done.stdout)

    def start(self, module: str, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.command(sys.executable, "-m", module, *words),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def end(self) -> None:
        self._holder.kill()
        self._holder.communicate()


class Lan:
    """The server's machine, its server, and the others by name."""

    def __init__(self, folder: Path, profile: str) -> None:
        self._folder = folder
        write_manifest(folder)
        self.profile(profile)
        self.machines: dict[str, Machine] = {"server": Machine()}
        self.here = self.machines["server"]
        self.here.run(
            "ip link add br0 address 52:54:99:00:00:01 type bridge forward_delay 0; "
            f"ip address add {SERVER}/24 dev br0; ip link set br0 up"
        )
        self._server: subprocess.Popen[str] | None = None

    def add(self, name: str, mac: str, address: str) -> Machine:
        """Add a machine on the bridge."""
        machine = self.machines[name] = Machine()
        port = f"p{len(self.machines)}"
        self.here.run(
            f"ip link add {port} type veth peer name eth0 netns {machine.pid}; "
            f"ip link set {port} master br0 up"
        )
        machine.run(
            f"ip link set eth0 address {mac}; ip address add {address}/24 dev eth0; "
            "ip link set eth0 up"
        )
        return machine

    def add_far(self, mac: str) -> Machine:
        """Add a machine behind a router."""
        router = self.add("router", "52:54:99:00:00:fe", ROUTER)
        far = self.machines["far"] = Machine()
        router.run(
            f"ip link add eth1 type veth peer name eth0 netns {far.pid}; "
            "ip address add 10.88.0.1/24 dev eth1; ip link set eth1 up; "
            "echo 1 >/proc/sys/net/ipv4/ip_forward"
        )
        far.run(
            f"ip link set eth0 address {mac}; ip address add {FAR}/24 dev eth0; "
            "ip link set eth0 up; ip route add default via 10.88.0.1"
        )
        self.here.run(f"ip route add 10.88.0.0/24 via {ROUTER}")
        return far

    def profile(self, text: str) -> None:
        """Change the profile, for the next start."""
        self.text = text
        (self._folder / "room.yaml").write_text(text)

    def serve(self) -> None:
        """Start the server, or restart it."""
        self.stop()
        words = [sys.executable, "-m", *SERVE]
        words += ["--profile", str(self._folder / "room.yaml"), "--images", str(self._folder)]
        words += ["--state", str(self._folder / "state")]
        self._server = subprocess.Popen(
            self.here.command(*words), cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert self._server.stdout is not None and "ready" in self._server.stdout.readline()

    def kill(self) -> None:
        """Have the server end without a stop, as in a crash."""
        assert self._server is not None
        self._server.kill()
        self._server.communicate()
        self._server = None

    def stop(self) -> None:
        """Stop the server, if it runs."""
        if self._server is not None:
            self._server.terminate()
            self._server.communicate(timeout=60)
            self._server = None

    def events(self, mac: str) -> list[tuple[str, str]]:
        """Return stage and message of the events of a seat."""
        status, text = self.here.ask("http", "GET", f"/status/{mac}", "127.0.0.1")
        if status == 404:
            return []
        assert status == 200
        return [(event["stage"], event["message"]) for event in json.loads(text)["events"]]

    def end(self) -> None:
        """Stop the server, and remove all machines."""
        self.stop()
        forget_pages(self._folder / "state")
        for machine in self.machines.values():
            machine.end()
