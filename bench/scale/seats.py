"""1,000 seats on one server: ``python -m bench.scale.seats [--quick]``.

A real ``netboot serve`` has room for as many seats as are played, each at an address of its own. They
attach their swap in the same instant, while PCs ask for addresses. One seat more is refused, while
the others work. The server and its workers are killed and started anew, and all seats come back. It
prints a table and the result of each bar, and writes JSON. The exit status is 1 if a bar is missed.
It needs root: servers and clients are in network namespaces, which it removes. Conditions:
docs/measurements/scale.md.
"""

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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from bench import dhcp
from bench.machine import versions
from bench.panel import resident_mb
from bench.report import Verdict, in_network, medians, parser, publish, tell
from bench.scale.load import NBD_PORT
from bench.servers import end
from netboot.boot import ticket
from netboot.host import processes
from netboot.lab import network
from netboot.pages.clients import files_for
from netboot.serve.secret import SECRET_FILE, load_secret
from tests.support.images import write_manifest

SEATS, CONNECTIONS = 1000, 2
SOURCES, CLIENT = "10.78.0.0/16", "10.77.0.2"  # of the seats, and where they are behind
START_SECONDS = 120.0  # the machine may be busy
DISCOVERS = 40  # a second
SETTLE_SECONDS = 1.0
MORE = 10  # seats too many, which all try at once, again and again
ROUNDS, ROUND_SECONDS = 4, 1.5

ATTACH_SECONDS, DHCP_MS, BACK_SECONDS = 10.0, 100.0, 5.0
SLOWER, SERVER_MB = 0.9, 150.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One run with ``seats`` of ``asked`` attached. Times are seconds, but those of DHCP.

    ``attach_cpu``, ``back_cpu``: seconds of the control plane. ``back_*``: since the server can
    answer, which took ``start`` after the kill. ``beside``: requests of others while a seat is refused, by those
    without. ``lines``: of the log about all refusals. ``load``: processes of the machine that ran or
    waited for a CPU.
    """

    asked: float
    attached: float
    attach_median: float
    attach_last: float
    attach_cpu: float
    dhcp_sent: float
    dhcp_in_time: float
    dhcp_p50_ms: float
    dhcp_p99_ms: float
    dhcp_max_ms: float
    admitted: float
    lines: float
    beside: float
    start: float
    back: float
    back_median: float
    back_last: float
    back_cpu: float
    server_mb: float
    workers_mb: float
    load: float


def verdicts(samples: Sequence[Sample]) -> list[Verdict]:
    """Return the bars."""
    middle = Sample(**medians(samples))

    def least(name: str) -> float:
        return min(float(asdict(each)[name]) / each.asked for each in samples)

    return [
        Verdict("seats: attached", least("attached"), 1.0, at_least=True),
        Verdict("seats: all attached, s", middle.attach_last, ATTACH_SECONDS, at_least=False),
        Verdict("seats: DHCP p99 meanwhile, ms", middle.dhcp_p99_ms, DHCP_MS, at_least=False),
        Verdict("one too many: let in", middle.admitted, 0.0, at_least=False),
        Verdict("one too many: lines", max(each.lines for each in samples), 1.0, at_least=False),
        Verdict("one too many: requests of others", middle.beside, SLOWER, at_least=True),
        Verdict("killed: back", least("back"), 1.0, at_least=True),
        Verdict("killed: all back, s", middle.back_last, BACK_SECONDS, at_least=False),
        Verdict("control plane, MB", middle.server_mb, SERVER_MB, at_least=False),
    ]


def table(samples: Sequence[Sample]) -> str:
    """Return a Markdown table: medians of the runs."""
    middle = Sample(**medians(samples))
    rows = [
        (f"{middle.asked:.0f} seats at once: attached", f"{middle.attached:.0f}"),
        ("the median one, s", f"{middle.attach_median:.1f}"),
        ("the last one, s", f"{middle.attach_last:.1f}"),
        ("CPU of the control plane, s", f"{middle.attach_cpu:.1f}"),
        (
            "DHCP meanwhile: p50, p99, max, ms",
            f"{middle.dhcp_p50_ms:.1f}, {middle.dhcp_p99_ms:.1f}, {middle.dhcp_max_ms:.1f}",
        ),
        ("one seat too many: requests of others, ratio", f"{middle.beside:.2f}"),
        ("lines of the log about it", f"{middle.lines:.0f}"),
        ("killed: the server can answer, s", f"{middle.start:.1f}"),
        ("back after that", f"{middle.back:.0f}"),
        ("the median one, s", f"{middle.back_median:.1f}"),
        ("the last one, s", f"{middle.back_last:.1f}"),
        ("CPU of the control plane, its start included, s", f"{middle.back_cpu:.1f}"),
        ("control plane, MB", f"{middle.server_mb:.0f}"),
        ("page workers, MB", f"{middle.workers_mb:.0f}"),
        ("load of the machine", f"{middle.load:.1f}"),
    ]
    return "\n".join(["| | |", "|---|--:|", *(f"| {name} | {value} |" for name, value in rows)])


class Seats:
    """The played seats, in the clients' namespace."""

    def __init__(self, sessions: Mapping[str, str]) -> None:
        words = ["ip", "netns", "exec", dhcp.NAMESPACE]
        words += [sys.executable, "-m", "bench.scale.load", dhcp.ADDRESS, str(CONNECTIONS)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True)
        self._write(json.dumps(sessions))

    def order(self, *words: object) -> None:
        """Tell them what to do; ``figures`` returns the outcome."""
        self._write(" ".join(map(str, words)))

    def figures(self) -> dict[str, Any]:
        """Return the outcome of an order."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the played seats have failed")
        found: dict[str, Any] = json.loads(line)
        return found

    def end(self) -> None:
        """Close all connections."""
        self._process.kill()
        self._process.wait()

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()


class Room:
    """A server, which may be killed and started again in its ``folder``, and its seats' sessions."""

    def __init__(self, folder: Path, seats: int) -> None:
        self._log = folder / "output"
        state, images = folder / "state", folder / "images"
        state.mkdir()
        write_manifest(images)
        secret, now = load_secret(state / SECRET_FILE), time.time()
        macs = [
            f"52:54:10:00:{number >> 8:02x}:{number & 255:02x}" for number in range(seats + MORE)
        ]
        self.sessions = {
            mac: ticket.begin(secret, mac, number.to_bytes(ticket.NONCE_BYTES), now)
            for number, mac in enumerate(macs)
        }
        clients = "".join(f"  {mac}: {{hostname: pc-{at:04}}}\n" for at, mac in enumerate(macs))
        profile = folder / "profile.yaml"
        profile.write_text(
            f"interface: {dhcp.SERVER_DEVICE}\n"
            f"dhcp: {{mode: full, range: {dhcp.FIRST}-{dhcp.LAST}}}\n"
            f"swap: {{size: 64M, capacity: 1T, connections: {CONNECTIONS}}}\nclients:\n{clients}"
        )
        files = files_for(seats)
        self._words = ["prlimit", f"--nofile={files}", sys.executable, "-m", "netboot", "serve"]
        self._words += ["--user", "root", "--set", "http.panel=off", "--images", str(images)]
        self._words += ["--state", str(state), "--profile", str(profile)]
        self.start()

    def start(self) -> None:
        """Start the server, and wait for the page server's greeting."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._words, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while not _greets():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"netboot serve did not start: {self._log.read_text()}")
            time.sleep(0.02)

    @property
    def pid(self) -> int:
        """The control plane's process."""
        return self._process.pid

    def kill(self) -> None:
        """Kill the control plane and its workers in one instant."""
        for pid in processes.tree(self.pid):
            os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def end(self) -> None:
        """Stop the server."""
        end(self._process)

    def lines(self, words: str) -> int:
        """Return the number of the log's lines with these words."""
        return self._log.read_text(errors="replace").count(words)

    def workers_mb(self) -> float:
        """Return the memory of the page workers that is their own, in MB."""
        return sum(
            resident_mb(pid, "RssAnon")
            for pid in processes.tree(self.pid)[1:]
            if b"netboot.pages.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
        )


def _greets() -> bool:
    try:
        with socket.create_connection((dhcp.ADDRESS, NBD_PORT), timeout=1.0) as one:
            return bool(one.recv(8))
    except OSError:
        return False


@contextlib.contextmanager
def room(seats: int) -> Iterator[tuple[Room, Seats]]:
    """Yield a server with room for ``seats``, and one seat more, all of which are off."""
    with (
        tempfile.TemporaryDirectory(prefix="netboot-bench-") as name,
        contextlib.ExitStack() as stack,
    ):
        served = Room(Path(name), seats)
        stack.callback(served.end)
        played = Seats(served.sessions)
        stack.callback(played.end)
        yield served, played


def sample(seats: int, rounds: int, seconds: float) -> Sample:
    """Return one run. ``rounds`` of ``seconds`` compare the others' work with and without refusals."""
    with room(seats) as (served, played):
        attached, asked, attach_cpu = _attach(served, played, seats)
        server_mb, workers_mb = resident_mb(served.pid, "VmHWM"), served.workers_mb()
        played.order("full", MORE, rounds, seconds)
        refused = played.figures()
        lines = served.lines("the server is full")
        played.order("lost")
        time.sleep(SETTLE_SECONDS)
        killed = time.monotonic()
        served.kill()
        served.start()
        began = time.monotonic()
        back = played.figures()
        back_cpu = processes.own_cpu_seconds(served.pid)
        server_mb = max(server_mb, resident_mb(served.pid, "VmHWM"))
    if attached["errors"] or back["errors"]:
        tell(f"tried again: {attached['errors']}; after the kill: {back['errors']}")
    return Sample(
        asked=seats,
        attached=attached["attached"],
        attach_median=attached["median"] - attached["begin"],
        attach_last=attached["last"] - attached["begin"],
        attach_cpu=attach_cpu,
        dhcp_sent=asked["sent"],
        dhcp_in_time=asked["in_time"],
        dhcp_p50_ms=asked["p50_ms"],
        dhcp_p99_ms=asked["p99_ms"],
        dhcp_max_ms=asked["max_ms"],
        admitted=refused["attached"],
        lines=lines,
        beside=refused["beside"],
        start=began - killed,
        back=back["attached"],
        back_median=back["median"] - began,
        back_last=back["last"] - began,
        back_cpu=back_cpu,
        server_mb=server_mb,
        workers_mb=workers_mb,
        load=os.getloadavg()[0],
    )


def _attach(
    served: Room, played: Seats, seats: int
) -> tuple[dict[str, Any], dict[str, float], float]:
    """Let all seats attach while PCs ask for addresses. Return both outcomes, and CPU seconds."""
    asked: dict[str, float] = {}

    def ask() -> None:
        asked.update(dhcp.load(dhcp.Row("storm", round(DISCOVERS * seconds), seconds), 1))

    while not dhcp.load(dhcp.Row("closed", 1, 0.2, 1), 1 << 24)["in_time"]:
        continue  # it starts last
    seconds = max(seats / 200, 1.0)  # about as long as the seats attach
    before = processes.own_cpu_seconds(served.pid)
    asking = threading.Thread(target=ask)
    asking.start()
    played.order("attach", seats)
    attached = played.figures()
    spent = processes.own_cpu_seconds(served.pid) - before
    asking.join()
    return attached, asked, spent


def run(seats: int, repetitions: int, folder: Path) -> int:
    """Measure, print, write ``scale-seats.json``; return the number of missed bars."""
    samples = measure(seats, repetitions)
    return publish(
        folder,
        "scale-seats",
        verdicts(samples),
        tables=[table(samples)],
        details={"runs": [asdict(each) for each in samples]},
        about={
            "versions": versions({}),
            "seats": seats,
            "connections": CONNECTIONS,
            "repetitions": repetitions,
        },
    )


def measure(seats: int, repetitions: int) -> list[Sample]:
    """Return the runs. This process must be in namespaces of its own (bench.report.in_network)."""
    samples = []
    with dhcp.lan():
        inside = ("-n", dhcp.NAMESPACE)
        network.ip(*inside, "address", "add", f"{CLIENT}/16", "dev", dhcp.CLIENT_DEVICE)
        network.ip(*inside, "link", "set", "lo", "up")
        network.ip(*inside, "route", "add", "local", SOURCES, "dev", "lo")
        network.ip("link", "set", "lo", "up")
        network.ip("route", "add", SOURCES, "via", CLIENT)
        for number in range(repetitions):
            samples.append(sample(seats, ROUNDS, ROUND_SECONDS))
            got = samples[-1]
            tell(
                f"{number + 1}: {got.attached:.0f} of {seats} in {got.attach_last:.1f} s, DHCP p99 "
                f"{got.dhcp_p99_ms:.1f} ms, {got.back:.0f} back {got.back_last:.1f} s after the "
                f"start, others {got.beside:.2f}, {got.server_mb:.0f} MB"
            )
    return samples


def main() -> NoReturn:
    """Run the command line. Exits with status 1 if a bar is missed."""
    options = parser("scale.seats", __doc__, "once instead of three times")
    options.add_argument("--seats", type=int, default=SEATS, help="default: 1000")
    given = options.parse_args()
    folder, repetitions = given.output.resolve(), 1 if given.quick else 3
    in_network(lambda: run(given.seats, repetitions, folder))


if __name__ == "__main__":
    main()
