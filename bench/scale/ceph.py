"""Swap pages in a Ceph cluster while parts of it die: ``python -m bench.scale.ceph [--quick]``.

A cluster in memory (tests/support/ceph.py), two page servers in front of it with layout any that could
be on two machines, and a played seat with four connections that knows each of its pages. After some
seconds an OSD, the monitor, a page worker or a page server is killed or stopped, or all OSDs are
stopped. The seat gives a request 3 s, as swap.timeout does. Then it goes to the other server with a new
set of connections, as an agent does. It prints a table and the result of each bar, and writes JSON. The exit status is 1 if a page is stale or lost. It needs root and the packages of
``tools/setup ceph``. All traffic is on loopback.
"""

import contextlib
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import NoReturn

from bench.machine import versions
from bench.report import Verdict, in_network, parser, publish, tell
from netboot.errors import OperatorError
from netboot.pages.nbd import wire
from netboot.pages.stores.rbd import CONF_VARIABLE
from tests import ROOT
from tests.support.ceph import Cluster, is_installed
from tests.support.pooled import EXPORT

STILL = "cluster stopped"
FAULTS = ("osd killed", "monitor killed", "worker killed", "server killed", "server stopped", STILL)
SEEDS = (1, 2, 3)
OSDS = ("osd.0", "osd.1", "osd.2")
CONNECTIONS = 4
PAGES = 2048
PAGE_BYTES = 4096
SECRET = bytes(range(32))
SIZE = PAGES * PAGE_BYTES
TOKEN = "token"
# The phases of a run, in seconds: before the fault, until it is mended, and after that.
BEFORE, BROKEN, AFTER = 3.0, 8.0, 4.0
TIMEOUT_SECONDS = 3.0  # swap.timeout
START_SECONDS = 60.0
_CONTENT = struct.Struct(">QQ")


@dataclass(slots=True)
class Outcome:
    """One run. ``stall``: of the slowest request, in seconds; ``calm_stall``: before the fault.

    ``errors``: error replies of the page server, which a PC must never get. ``cpu_us``: of all OSDs for
    a request, before the fault; ``requests``: reads and writes that were answered. ``told``: lines of
    the servers' logs about a store that does not answer.
    """

    fault: str
    seed: int
    requests: int = 0
    stale: int = 0
    lost: int = 0
    errors: int = 0
    stall: float = 0.0
    calm_stall: float = 0.0
    cpu_us: float = 0.0
    told: int = 0


class Door:
    """The server at which the seat is, and the number of its set: the same for all its connections."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = list(ports)
        self._lock = threading.Lock()
        self.set_number = 1
        self.key = TOKEN  # until the lease is attached; then the other server may have it, too

    def now(self) -> tuple[int, int]:
        """Return the port and the set."""
        with self._lock:
            return self._ports[0], self.set_number

    def leave(self, set_number: int) -> None:
        """Go to the other server with a new set, unless another connection has done so."""
        with self._lock:
            if set_number == self.set_number:
                self.set_number += 1
                self._ports.append(self._ports.pop(0))


class Connection:
    """A blocking NBD connection, which is made anew for each set of its seat."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._set_number = 0
        self._sock: socket.socket | None = None
        self._cookie = 0

    def _connected(self) -> socket.socket:
        port, number = self._door.now()
        if number != self._set_number:
            self.close()
            self._set_number = number
        if self._sock is None:
            sock = socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS)
            self._sock = sock
            _receive(sock, wire.GREETING.size)
            name = f"{EXPORT}@{self._door.key}.{number:x}".encode()
            data = struct.pack(">I", len(name)) + name + bytes(2)
            header = wire.OptionHeader(wire.Option.GO, len(data)).serialize()
            sock.sendall(wire.CLIENT_FLAGS.pack(3) + header + data)
            reply = None
            while reply != wire.Reply.ACK:
                found = wire.OptionReply.parse(_receive(sock, wire.OPTION_REPLY.size))
                _receive(sock, found.length)
                if found.type not in (wire.Reply.ACK, wire.Reply.INFO):
                    raise ConnectionError("refused")
                reply = found.type
        return self._sock

    def ask(self, command: wire.Command, offset: int, data: bytes = b"") -> tuple[int, bytes]:
        """Return the error of a reply and the data of a READ. Raises OSError after 3 s."""
        sock = self._connected()
        self._cookie += 1
        request = wire.Request(0, command, self._cookie, offset, PAGE_BYTES)
        sock.sendall(request.serialize() + data)
        reply = wire.SimpleReply.parse(_receive(sock, wire.SIMPLE_REPLY.size))
        if command is wire.Command.READ and not reply.error:
            return 0, _receive(sock, PAGE_BYTES)
        return reply.error, b""

    def move(self) -> None:
        """Give the connection up, and with it all others of the seat."""
        self.close()
        self._door.leave(self._set_number)

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None


def _receive(sock: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        piece = sock.recv(length - len(data))
        if not piece:
            raise ConnectionError("closed")
        data += piece
    return bytes(data)


@dataclass
class Seat:
    """The played seat. Each connection has pages of its own, and one request under way."""

    door: Door
    outcome: Outcome
    written: dict[int, int] = field(default_factory=dict)
    stopping: bool = False

    def work(self, number: int) -> None:
        """Write and read pages until the end; then read all."""
        dice = random.Random(self.outcome.seed * 100 + number)
        connection = Connection(self.door)
        own = range(number, PAGES, CONNECTIONS)
        while not self.stopping:
            page = dice.choice(own)
            if dice.random() < 0.5:
                version = self.written.get(page, 0) + 1
                content = _CONTENT.pack(page, version) * (PAGE_BYTES // _CONTENT.size)
                self._ask(connection, wire.Command.WRITE, page, content)
                self.written[page] = version
            else:
                self._check(connection, page)
        for page in own:
            self._check(connection, page)
        connection.close()

    def _check(self, connection: Connection, page: int) -> None:
        found = self._ask(connection, wire.Command.READ, page)
        version = self.written.get(page, 0)
        expected = _CONTENT.pack(page, version) if version else bytes(_CONTENT.size)
        if found == expected * (PAGE_BYTES // _CONTENT.size):
            return
        number, older = _CONTENT.unpack_from(found)
        if number == page and 0 < older < version:
            self.outcome.stale += 1
        else:
            self.outcome.lost += 1

    def _ask(
        self, connection: Connection, command: wire.Command, page: int, data: bytes = b""
    ) -> bytes:
        begin = time.monotonic()
        while True:
            try:
                error, found = connection.ask(command, page * PAGE_BYTES, data)
            except OSError:
                connection.move()
                time.sleep(0.05)
                continue
            if error:
                self.outcome.errors += 1
                continue
            self.outcome.requests += 1
            self.outcome.stall = max(self.outcome.stall, time.monotonic() - begin)
            return found


class Server:
    """A page server of the room, with a /dev/shm of its own, as another machine has it."""

    def __init__(self, cluster: Cluster, output: Path) -> None:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        words = ["tests.support.pooled", SECRET.hex(), "127.0.0.1", str(self.port)]
        self._output = output
        script = 'mount -t tmpfs none /dev/shm && exec "$@"'
        command = ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, "-m"]
        with output.open("ab") as file:
            self._process = subprocess.Popen(
                [*command, *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                cwd=ROOT,
                env={**os.environ, CONF_VARIABLE: str(cluster.conf), "PYTHONPATH": str(ROOT)},
                start_new_session=True,
            )
        if self._line() != "listening":
            raise OperatorError("the page server does not start", hint=f"see {output}")

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().decode().strip()

    def grant(self) -> str:
        """Grant the seat its lease; return the key."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{TOKEN} {SIZE}\n".encode())
        self._process.stdin.flush()
        return self._line()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server and its workers."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def told(self) -> int:
        """Return how often the log says that the store does not answer."""
        return self._output.read_text().count("pages: stalled:")

    def kill_worker(self) -> None:
        """Kill the page worker. The server starts another."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        for pid in map(int, children.read_text().split()):
            os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill all of it."""
        self.signal(signal.SIGKILL)
        self._process.wait()
        for end in (self._process.stdin, self._process.stdout):
            assert end is not None
            end.close()


def break_and_mend(
    fault: str, seed: int, cluster: Cluster, server: Server
) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return what causes a fault, and what ends it."""
    osd = f"osd.{seed % 3}"
    return {
        # It stays away: it comes back without its pages, and the others have made copies by then.
        "osd killed": (lambda: cluster.signal(osd, signal.SIGKILL), _nothing),
        "monitor killed": (
            lambda: cluster.signal("mon.a", signal.SIGKILL),
            lambda: cluster.start("mon.a"),
        ),
        "worker killed": (server.kill_worker, _nothing),
        "server killed": (lambda: server.signal(signal.SIGKILL), _nothing),
        "server stopped": (
            lambda: server.signal(signal.SIGSTOP),
            lambda: server.signal(signal.SIGCONT),
        ),
        STILL: (
            lambda: _signal_all(cluster, signal.SIGSTOP),
            lambda: _signal_all(cluster, signal.SIGCONT),
        ),
    }[fault]


def _signal_all(cluster: Cluster, number: signal.Signals) -> None:
    for osd in OSDS:
        cluster.signal(osd, number)


def _nothing() -> None:
    pass


@contextlib.contextmanager
def _rig(folder: Path) -> Iterator[tuple[Cluster, list[Server]]]:
    with contextlib.ExitStack() as stack:
        cluster = Cluster(folder)
        stack.callback(cluster.stop)
        servers = []
        for number in range(2):
            servers.append(Server(cluster, folder / f"pages.{number}.out"))
            stack.callback(servers[-1].close)
        yield cluster, servers


def play(fault: str, seed: int, folder: Path) -> Outcome:
    """Do one run with a cluster of its own in an empty ``folder``."""
    outcome = Outcome(fault, seed)
    with _rig(folder) as (cluster, servers):
        cause, mend = break_and_mend(fault, seed, cluster, servers[0])
        door = Door([each.port for each in servers])
        key = servers[0].grant()
        first = Connection(door)
        first.ask(wire.Command.READ, 0)
        first.close()
        door.key = key
        seat = Seat(door, outcome)
        threads = [
            threading.Thread(target=seat.work, args=(number,), daemon=True)
            for number in range(CONNECTIONS)
        ]
        cpu = cluster.cpu_seconds()
        for thread in threads:
            thread.start()
        time.sleep(BEFORE)
        outcome.calm_stall, outcome.stall = outcome.stall, 0.0
        outcome.cpu_us = (cluster.cpu_seconds() - cpu) * 1e6 / max(outcome.requests, 1)
        cause()
        time.sleep(BROKEN)
        if fault == STILL:
            _wait_until_told(servers)
        mend()
        time.sleep(AFTER)
        seat.stopping = True
        for thread in threads:
            thread.join(START_SECONDS)
        if any(thread.is_alive() for thread in threads):
            outcome.lost += PAGES  # it waits for a page still
        outcome.told = sum(server.told() for server in servers)
    return outcome


def _wait_until_told(servers: Sequence[Server]) -> None:
    """Wait until a server tells of the stall, which takes 5 to 7 s on an idle machine."""
    end = time.monotonic() + START_SECONDS
    while not any(server.told() for server in servers) and time.monotonic() < end:
        time.sleep(0.2)


def verdicts(outcomes: Sequence[Outcome]) -> list[Verdict]:
    """Return the bars."""
    found = []
    for fault in dict.fromkeys(each.fault for each in outcomes):
        runs = [each for each in outcomes if each.fault == fault]
        for name in ("stale", "lost", "errors"):
            worst = float(max(getattr(each, name) for each in runs))
            found.append(Verdict(f"rbd, {fault}: {name}", worst, 0.0, at_least=False))
        if fault == STILL:
            told = float(min(each.told for each in runs))
            found.append(Verdict(f"rbd, {fault}: told", told, 1.0, at_least=True))
    return found


def table(outcomes: Sequence[Outcome]) -> str:
    """Return a Markdown table with a row for each fault."""
    # Ceph notices an OSD that does not answer after 6 s here, and after 20 s by default.
    lines = [
        "| fault | runs | requests | stale | lost | errors | longest stall, s | before, s | told "
    ]
    lines[0] += "| CPU of the OSDs, µs a request |"
    lines.append("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    for fault in dict.fromkeys(each.fault for each in outcomes):
        runs = [each for each in outcomes if each.fault == fault]
        cells: Mapping[str, object] = {
            "runs": len(runs),
            "requests": sum(each.requests for each in runs),
            "stale": sum(each.stale for each in runs),
            "lost": sum(each.lost for each in runs),
            "errors": sum(each.errors for each in runs),
            "stall": f"{max(each.stall for each in runs):.1f}",
            "calm": f"{median(each.calm_stall for each in runs):.2f}",
            "told": sum(each.told for each in runs),
            "cpu": f"{median(each.cpu_us for each in runs):.0f}",
        }
        lines.append(f"| {fault} | {' | '.join(map(str, cells.values()))} |")
    return "\n".join(lines)


def run(seeds: Sequence[int], folder: Path) -> int:
    """Do all runs; return the number of missed bars."""
    if not is_installed():
        raise OperatorError("Ceph is not installed", hint="tools/setup ceph")
    outcomes = []
    for fault in FAULTS:
        for seed in seeds:
            with tempfile.TemporaryDirectory(prefix="netboot-ceph-") as place:
                outcome = play(fault, seed, Path(place))
            tell(f"{fault}, seed {seed}: {outcome}")
            outcomes.append(outcome)
    return publish(
        folder,
        "scale-ceph",
        verdicts(outcomes),
        tables=[table(outcomes)],
        details={"runs": [asdict(each) for each in outcomes]},
        about={"versions": versions({"ceph": ("ceph", "--version")}), "seeds": list(seeds)},
    )


def main() -> NoReturn:
    """Run the command line. Exits with status 1 if a bar is missed."""
    given = parser("scale.ceph", __doc__, "one seed instead of three").parse_args()
    folder = given.output.resolve()
    in_network(lambda: run(SEEDS[:1] if given.quick else SEEDS, folder))


if __name__ == "__main__":
    main()
