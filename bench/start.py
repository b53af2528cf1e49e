"""How soon a newly started server answers: ``python -m bench.start [--quick]``.

It starts the whole of ``netboot serve`` and asks each of its doors every 5 ms, as a PC does, until
each has answered. It also times ``netboot --help``. It prints a table and the result of each bar, and
writes JSON. The exit status is 1 if a bar is missed. It needs root and runs in namespaces of its own.
Conditions: docs/measurements/boot.md.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import NoReturn, Protocol

from bench.dhcp_load import BOOTP_AT, ETH_P_IP, OFFER, XID_AT, frame
from bench.machine import versions
from bench.report import Verdict, in_network, medians, parser, publish, tell
from bench.servers import end
from netboot.host import processes
from netboot.lab import network
from netboot.serve.dhcp.server import RIVAL_PATIENCE
from netboot.serve.services import STARTED_FILE
from tests.support.images import write_manifest

ADDRESS, PCS = "10.77.0.1", "nb-start1"
DEVICE = "nb-start0"
PROFILE = f"interface: {DEVICE}\ndhcp: {{mode: %s, range: 10.77.1.0-10.77.1.99}}\n"
GET = b"GET /boot/52:54:00:77:00:01/amd64.ipxe HTTP/1.1\r\nHost: netboot\r\n\r\n"
RRQ = b"\0\1bios.ipxe\0octet\0"
PAUSE_SECONDS = 0.005
PATIENCE_SECONDS = 30.0  # the machine may be busy
BAR, HELP_BAR = 0.5, 0.15


@dataclass(frozen=True, slots=True)
class Row:
    """A start: by a person, the ``first`` one with this profile, or of an installed server."""

    mode: str
    first: bool

    @property
    def name(self) -> str:
        """The name in the table."""
        return f"{self.mode} mode, {'a first start' if self.first else 'a later start'}"


ROWS = tuple(Row(mode, first) for first in (False, True) for mode in ("full", "proxy"))


@dataclass(frozen=True, slots=True)
class Sample:
    """Seconds from the start of the process to the first answer; ``cpu`` is that of its tree."""

    nbd: float
    http: float
    tftp: float
    dhcp: float
    cpu: float


class Door(Protocol):
    """A port of the server."""

    def answers(self) -> bool:
        """Return True if the server has answered; ask, if nothing is under way. Never wait."""


class Dhcp:
    """DISCOVERs of new PCs, and an OFFER for one of them."""

    def __init__(self, stack: ExitStack) -> None:
        self._device = stack.enter_context(
            socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IP))
        )
        self._device.bind((PCS, 0))
        self._device.setblocking(False)
        self._numbers = count(1)

    def answers(self) -> bool:
        with suppress(BlockingIOError):
            while True:
                data = self._device.recv(2048)
                is_reply = len(data) > XID_AT and data[BOOTP_AT] == 2
                if is_reply and OFFER in data:
                    return True
        self._device.send(frame(next(self._numbers), 1))
        return False


class Tftp:
    """Requests for PCs' first script."""

    def __init__(self, stack: ExitStack) -> None:
        self._socket = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        self._socket.bind((ADDRESS, 0))
        self._socket.setblocking(False)

    def answers(self) -> bool:
        with suppress(BlockingIOError):
            return bool(self._socket.recv(2048))
        self._socket.sendto(RRQ, (ADDRESS, 69))
        return False


class Stream:
    """A connection to a port; an ``expected`` beginning is the answer to ``asked``."""

    def __init__(self, port: int, asked: bytes, expected: bytes, stack: ExitStack) -> None:
        self._port, self._asked, self._expected = port, asked, expected
        self._stack = stack
        self._socket: socket.socket | None = None

    def answers(self) -> bool:
        if self._socket is None:
            sock = self._stack.enter_context(socket.socket())
            try:
                sock.connect((ADDRESS, self._port))  # refused at once until the port is open
            except ConnectionRefusedError:
                sock.close()
                return False
            sock.sendall(self._asked)
            sock.setblocking(False)
            self._socket = sock
        with suppress(BlockingIOError):
            return self._socket.recv(64).startswith(self._expected)
        return False


def _until_answered(doors: Mapping[str, Door], process: subprocess.Popen[bytes]) -> Sample:
    begin = time.perf_counter()
    found: dict[str, float] = {}
    while len(found) < len(doors):
        for name, door in doors.items():
            if name not in found and door.answers():
                found[name] = time.perf_counter() - begin
        if process.poll() is not None or time.perf_counter() - begin > PATIENCE_SECONDS:
            raise RuntimeError(f"the server answered at {', '.join(found) or 'no door'} only")
        time.sleep(PAUSE_SECONDS)
    return Sample(**found, cpu=processes.cpu_seconds(process.pid))


def sample(row: Row, environment: Mapping[str, str]) -> Sample:
    """Return one start, on a state folder of its own."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as temporary, ExitStack() as stack:
        folder = Path(temporary)
        write_manifest(folder)
        (folder / "profile.yaml").write_text(PROFILE % row.mode)
        if not row.first:
            (folder / STARTED_FILE).touch()
        words = [sys.executable, "-m", "netboot", "serve", "--set", "http.panel=off"]
        words += ["--user", "root", "--images", str(folder), "--state", str(folder)]
        doors: dict[str, Door] = {
            "nbd": Stream(10809, b"", b"NBDMAGIC", stack),
            "http": Stream(8080, GET, b"HTTP/1.1 ", stack),
            "tftp": Tftp(stack),
            "dhcp": Dhcp(stack),
        }
        log = stack.enter_context((folder / "output").open("wb"))
        process = subprocess.Popen(
            [*words, "--profile", str(folder / "profile.yaml")],
            stdin=subprocess.DEVNULL,  # no person is at this start
            stdout=log,
            stderr=log,
            env=environment,
        )
        stack.callback(end, process)
        return _until_answered(doors, process)


def help_sample(environment: Mapping[str, str]) -> tuple[float, float]:
    """Return seconds and CPU seconds of ``netboot --help``."""
    begin, before = time.perf_counter(), os.times()
    words = [sys.executable, "-m", "netboot", "--help"]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, env=environment)
    seconds, after = time.perf_counter() - begin, os.times()
    spent = after.children_user + after.children_system
    return seconds, spent - before.children_user - before.children_system


def verdicts(results: Mapping[Row, Sample], helped: tuple[float, float]) -> list[Verdict]:
    """Return the bars, in seconds. A first start may listen for other servers meanwhile."""
    found = []
    for row, got in results.items():
        others = max(got.nbd, got.http, got.tftp)
        dhcp = BAR + RIVAL_PATIENCE * row.first
        found.append(Verdict(f"{row.name}: NBD, HTTP and TFTP, s", others, BAR, at_least=False))
        found.append(Verdict(f"{row.name}: DHCP, s", got.dhcp, dhcp, at_least=False))
    return [*found, Verdict("netboot --help, s", helped[0], HELP_BAR, at_least=False)]


def table(results: Mapping[Row, Sample], helped: tuple[float, float]) -> str:
    """Return a Markdown table with a line for each row, and one for ``netboot --help``."""
    lines = ["| start | NBD s | HTTP s | TFTP s | DHCP s | CPU s |", "|---|--:|--:|--:|--:|--:|"]
    for row, got in results.items():
        figures = (got.nbd, got.http, got.tftp, got.dhcp, got.cpu)
        lines.append(f"| {row.name} | {' | '.join(f'{each:.2f}' for each in figures)} |")
    lines.append(f"| `netboot --help`, {helped[0]:.2f} s | - | - | - | - | {helped[1]:.2f} |")
    return "\n".join(lines)


def run(repetitions: int, folder: Path) -> int:
    """Measure, print, write ``start.json``; return the number of missed bars."""
    network.ip("link", "add", DEVICE, "type", "veth", "peer", "name", PCS)
    network.ip("address", "add", f"{ADDRESS}/16", "broadcast", "+", "dev", DEVICE)
    for device in (DEVICE, PCS):
        network.ip("link", "set", device, "up")
    samples: dict[Row, list[Sample]] = {row: [] for row in ROWS}
    helps: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as bytecode:
        # An installed server has its bytecode, so the first start is not measured.
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        sample(ROWS[0], environment)
        for repetition in range(repetitions):
            for row in ROWS:
                samples[row].append(sample(row, environment))
                tell(f"{repetition + 1} {row.name}: DHCP after {samples[row][-1].dhcp:.2f} s")
            helps.append(help_sample(environment))
    results = {row: Sample(**medians(found)) for row, found in samples.items()}
    helped = sorted(helps)[len(helps) // 2]
    return publish(
        folder,
        "start",
        verdicts(results, helped),
        tables=[table(results, helped)],
        details={"samples": {row.name: [repr(each) for each in samples[row]] for row in ROWS}},
        about={"versions": versions({}), "repetitions": repetitions},
    )


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Run the command line. Exits with status 1 if a bar is missed."""
    options = parser("start", __doc__, "once each instead of five times")
    given = options.parse_args(words)
    in_network(lambda: run(1 if given.quick else 5, given.output.resolve()))


if __name__ == "__main__":
    main()
