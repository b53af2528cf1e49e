"""The site of an attack: a server on a bridge, and each other machine in a namespace of its own."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from netboot.host import processes
from netboot.lab import network
from netboot.lab.machine import Machine as VirtualPc
from tests import ROOT
from tests.attack.load.kinds import ATTACKERS
from tests.attack.load.seats import mac_of
from tests.attack.wire import HONEST, MACS, SERVER, SERVER_MAC, Machine

SEATS = tuple(f"10.99.0.{11 + number}" for number in range(19))
VIRTUAL = "10.99.0.9"  # the PC in QEMU
BRIDGE, TAP = "br0", "tap1"
START_SECONDS = 30.0

PROFILE = """
interface: br0
dhcp: {mode: full, range: 10.99.0.100-10.99.0.249}
swap: {size: SIZE, capacity: 8GiB}
boot: {arguments: "quiet console=ttyS0 no_timer_check panic=1 netboot.load=LOAD netboot.poweroff=1"}
clients:
"""


class Site:
    """The network. This process is on the server's machine."""

    def __init__(self) -> None:
        network.ip(
            *("link", "add", BRIDGE, "address", SERVER_MAC, "type", "bridge"),
            *network.BRIDGE_OPTIONS,
        )
        network.ip("address", "add", f"{SERVER}/24", "broadcast", "+", "dev", BRIDGE)
        network.ip("link", "set", BRIDGE, "up")
        self.machines: dict[str, Machine] = {}
        for address, mac in self.macs().items():
            machine = self.machines[address] = Machine()
            port = f"p{address.rpartition('.')[2]}"
            network.ip(
                *("link", "add", port, "type", "veth", "peer", "name", "eth0"),
                *("address", mac, "netns", str(machine.pid)),
            )
            network.ip("link", "set", port, "master", BRIDGE, "up")
            machine.script(f"ip address add {address}/24 broadcast + dev eth0; ip link set eth0 up")
        network.ip("tuntap", "add", TAP, "mode", "tap")
        network.ip("link", "set", TAP, "master", BRIDGE, "up")

    @staticmethod
    def macs() -> dict[str, str]:
        """Return the MAC addresses of all machines but the server and the PC in QEMU."""
        return {
            **{address: mac_of(address) for address in SEATS},
            HONEST: MACS["honest"],
            **ATTACKERS,
        }

    def start(self, address: str, *words: str, nice: int = 0) -> "subprocess.Popen[str]":
        """Start a program of tests.attack at a machine; it ends with its standard input."""
        name, *arguments = words
        priority = ["nice", "-n", str(nice)] if nice else []
        program = [sys.executable, "-m", f"tests.attack.{name}", *arguments]
        return subprocess.Popen(
            self.machines[address].command(*priority, *program),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def end(self) -> None:
        """Remove the machines."""
        for machine in self.machines.values():
            machine.end()


def profile(pc: VirtualPc, load: float, size: str) -> str:
    """Return the profile of the room, which names its PCs."""
    text = PROFILE.replace("LOAD", f"{load:g}").replace("SIZE", size)
    rows = {address: mac_of(address) for address in SEATS}
    rows |= {HONEST: MACS["honest"], VIRTUAL: pc.mac}
    return text + "".join(
        f"  '{mac}': {{hostname: pc{address.rpartition('.')[2]}, address: {address}}}\n"
        for address, mac in rows.items()
    )


class Server:
    """A running server, as a service starts it."""

    def __init__(self, process: "subprocess.Popen[bytes]", outputs: Sequence[Path]) -> None:
        self.process = process
        self._outputs = outputs
        self.memory = 0  # bytes: the most that the control plane had

    def look(self) -> None:
        """Note the memory of the control plane: its proportional share of pages (PSS)."""
        rollup = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        kilobytes = next(line.split()[1] for line in rollup.splitlines() if line[:4] == "Pss:")
        self.memory = max(self.memory, int(kilobytes) << 10)

    def log_bytes(self) -> int:
        """Return the bytes of both outputs so far."""
        return sum(path.stat().st_size for path in self._outputs)

    def kill_a_page_worker(self) -> None:
        """Kill one, as a bug of ours would."""
        for pid in processes.tree(self.process.pid):
            with contextlib.suppress(OSError):
                if b"netboot.pages.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
                    return
        raise AssertionError("no page worker runs")


@contextlib.contextmanager
def serving(folder: Path, text: str, images: Path, initrd: Path) -> Iterator[Server]:
    """Yield a new server, without earlier state."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "room.yaml").write_text(text)
    words = [sys.executable, "-m", "netboot", "serve", "--set", "http.panel=off", "--user", "root"]
    words += ["--profile", str(folder / "room.yaml"), "--images", str(images)]
    words += ["--initrd", str(initrd), "--state", str(folder / "state")]
    outputs = [folder / "stdout", folder / "stderr"]
    environment = {**os.environ, "INVOCATION_ID": "0"}  # systemd's mark of a service
    environment.pop("NOTIFY_SOCKET", None)
    with outputs[0].open("wb") as stdout, outputs[1].open("wb") as stderr:
        process = subprocess.Popen(
            words,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )
    try:
        end = time.monotonic() + START_SECONDS
        while b"HTTP" not in outputs[0].read_bytes():
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the server did not start: {outputs[1].read_text()}")
            time.sleep(0.05)
        yield Server(process, outputs)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
