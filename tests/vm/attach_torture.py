"""nbd-attach and nbd-client through the same faults: what happens to a PC that swaps to nbd-server.

    python -m tests.vm.attach_torture IMAGES LOGS

Each row is a PC of its own, with a load of twice its RAM, of which every page is checked. It prints a
table for nbd-attach/README.md. Root is not needed.
"""

import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.vm.attached import HOST, Guest, Program, guest, servers, with_libraries

MEMORY_MIB = 144  # of which nbd-client and its libraries take 11
LOAD_MIB = 110
AREA_MIB = 160
# Without it nbd-client stood still before any fault: the kernel had no memory for what it sends.
RESERVE, RESERVE_KIB = "/proc/sys/vm/min_free_kbytes", 8192
AWAY_SECONDS = 5
STALL_SECONDS = 15
BEFORE_SECONDS = 300  # until the fault, on a busy machine
LOAD_SECONDS = 60  # after the fault

CLIENTS = {
    "nbd-attach": "nbd-attach --swap --timeout 3 {host}:{port}/area",
    "nbd-client -swap -persist -timeout 3": (
        "nbd-client {host} {port} /dev/nbd0 -N area -swap -persist -timeout 3 -b 4096 -C 2"
    ),
    "nbd-client -nonetlink -swap -persist": (
        "nbd-client {host} {port} /dev/nbd0 -N area -nonetlink -swap -persist -b 4096 -C 2"
    ),
}
SWAP_ON = "mkswap /dev/nbd0 && swapon /dev/nbd0"  # nbd-attach does that itself


class Wire:
    """A relay between the PC and the server, whose connections can be reset."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._to))
                except OSError:
                    near.close()
                    continue
                self._ends += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._relay, args=pair, daemon=True).start()

    def _relay(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:  # the target is gone, or reset() came: what it did not read is lost
            for end in (source, target):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """End all connections by a reset (SO_LINGER of 0 s, tcp(7))."""
        ends, self._ends = self._ends, []
        for end in ends:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with suppress(OSError):
                end.shutdown(socket.SHUT_RD)  # wakes the thread that reads
            end.close()

    def close(self) -> None:
        """Take no further connections."""
        self._listener.close()
        self.reset()


def _restart(server: Program, _: Wire) -> None:
    server.stop()
    time.sleep(AWAY_SECONDS)
    server.start()


def _stall(server: Program, _: Wire) -> None:
    server.signal(signal.SIGSTOP)
    time.sleep(STALL_SECONDS)
    server.signal(signal.SIGCONT)


def _reset(_: Program, wire: Wire) -> None:
    wire.reset()


FAULTS: dict[str, Callable[[Program, Wire], None]] = {
    f"server killed, back after {AWAY_SECONDS} s": _restart,
    f"server stopped for {STALL_SECONDS} s": _stall,
    "connections reset": _reset,
}


def _outcome(pc: Guest, done: Callable[[float], tuple[int, str]]) -> str:
    """Return what became of the load and the PC."""
    try:
        code, output = done(LOAD_SECONDS)
        last = [line for line in output.splitlines() if "wrong=" in line]
        words = last[-1] if last else f"the load died (exit {code})"
    except TimeoutError:
        panics = "Kernel panic" in pc.text()
        words = "the PC panics" if panics else f"the load stands still for {LOAD_SECONDS} s"
    errors = pc.text().count("-error on swap-device")
    return words + (f"; {errors} errors of the swap device" if errors else "")


def run(client: str, fault: str, images: Path, folder: Path) -> str:
    """Run one row; return what happened."""
    folder.mkdir(parents=True, exist_ok=True)
    more = list(with_libraries("nbd-client")) if client.startswith("nbd-client") else []
    with servers(folder, AREA_MIB, only="nbd-server") as running:
        server = running["nbd-server"]
        wire = Wire(server.port)
        try:
            with guest(images, folder, memory=MEMORY_MIB, more=more) as pc:
                pc.run(CLIENTS[client].format(host=HOST, port=wire.port))
                if more:
                    pc.run(SWAP_ON)
                pc.run(f"echo 7 >/proc/sys/kernel/printk; echo {RESERVE_KIB} >{RESERVE}")
                done = pc.begin(f"memload {LOAD_MIB << 20}")
                pc.wait(r"writing percent=60", BEFORE_SECONDS)
                FAULTS[fault](server, wire)
                return _outcome(pc, done)
        finally:
            wire.close()


def main() -> None:
    """Print the table."""
    images, logs = map(Path, sys.argv[1:])
    sys.stdout.write(f"| fault | {' | '.join(CLIENTS)} |\n|---|{'---|' * len(CLIENTS)}\n")
    for at, fault in enumerate(FAULTS):
        cells = []
        for number, client in enumerate(CLIENTS):
            cells.append(run(client, fault, images, logs / f"{at}-{number}"))
            sys.stderr.write(f"{client}: {fault}: {cells[-1]}\n")
        sys.stdout.write(f"| {fault} | {' | '.join(cells)} |\n")


if __name__ == "__main__":
    main()
