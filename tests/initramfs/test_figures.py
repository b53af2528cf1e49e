"""The figures that `agent address` sends, of played and of the kernel's own files, in a namespace."""

import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netboot.feed.records import Pressure, Report
from netboot.feed.report import KIB, MAX_BYTES, parse
from netboot.images import compiler
from netboot.serve.http.reports import REQUEST
from tests.attack.wire import Machine
from tests.initramfs.test_address import socket_in
from tests.initramfs.test_agent import SANITIZERS, WARNINGS, build

pytestmark = pytest.mark.root

ADDRESS = "10.55.0.50"
PERIOD_MS = 300
WAIT_SECONDS = 60.0
SESSION = "7" * 64

MDSTAT = "../run/mdstat"  # below the folder that stands for /proc
FILES = {
    "meminfo": "MemTotal:        2012340 kB\nMemFree:          100 kB\nMemAvailable:    1012340 kB\n"
    "Zswap:             12288 kB\nZswapped:          40960 kB\n",
    "swaps": "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
    "/dev/nbd0\\040(deleted)                  partition\t524284\t\t123456\t\t-2\n"
    "/a\\040file                              file\t\t1024\t\t7\t\t-3\n",
    "pressure/memory": "some avg10=12.34 avg60=1.00 avg300=0.10 total=1\nfull avg10=1.05 avg60=0.00 total=0\n",
    "pressure/io": "some avg10=100.00 avg60=1.00 avg300=0.10 total=1\nfull avg10=0.50 avg60=0.00 total=0\n",
    "vmstat": "nr_free_pages 77\nworkingset_refault_anon 9\nworkingset_refault_file 1234\n"
    "pgfault 99999\npgmajfault 5678\noom_kill 2\n",
    MDSTAT: "Personalities : [raid1]\nmd0 : active raid1 nbd1[2] nbd0[0]\n"
    "      524224 blocks super non-persistent [2/1] [U_]\n"
    "      [=>...................]  recovery =  8.5% (44544/524224) finish=0.3min speed=22272K/sec\n"
    "\nunused devices: <none>\n",
    "loadavg": "0.12 0.34 0.56 1/234 5678\n",
}
REPORT = Report(
    when=0.0,
    memory=2012340 * KIB,
    available=1012340 * KIB,
    areas=((123456 * KIB, 524284 * KIB), (7 * KIB, 1024 * KIB)),
    pressure=Pressure(12.34, 1.05, 100.0, 0.5),
    zswap=(40960 * KIB, 12288 * KIB),
    refaults=1243,
    major_faults=5678,
    oom_kills=2,
    load=0.12,
    copied=8.5,
)


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the agent with gcc's checks, which sends its figures every 0.3 s."""
    command = ["gcc", *WARNINGS, *SANITIZERS, f"-DFIGURES_MS={PERIOD_MS}", '-DMDSTAT="/run/mdstat"']
    return build(tmp_path_factory.mktemp("sanitized"), *command)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the agent as the initramfs has it, but faster."""
    command = [*compiler.native().command, *compiler.FLAGS, f"-DFIGURES_MS={PERIOD_MS}"]
    return build(tmp_path_factory.mktemp("shipped"), *command)


class Pc:
    """A PC whose boot server is the test. ``files`` are in place of those of /proc."""

    def __init__(self, program: Path, folder: Path, files: dict[str, str]) -> None:
        self.machine = Machine()
        self.machine.script(
            f"ip link add eth0 type veth peer name eth1; ip link set eth1 up;"
            f"ip address add {ADDRESS}/24 dev eth0; ip link set eth0 up"
        )
        self.run, self.proc = folder / "run", folder / "proc"
        self.run.mkdir()
        for name, text in files.items():
            (self.proc / name).parent.mkdir(parents=True, exist_ok=True)
            (self.proc / name).write_text(text)
        self.answer: bytes | None = b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"
        self.asked: list[tuple[float, str, str]] = []  # when, the first line, the body
        self.requests: list[bytes] = []
        self.with_connection: list[
            bool
        ] = []  # whether a request was there as soon as its connection
        self._program = program
        self._agent: subprocess.Popen[bytes] | None = None
        self._listener = socket_in(self.machine.pid, lambda: socket.create_server((ADDRESS, 8080)))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            try:
                there = bool(peer.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
            except BlockingIOError:
                there = False
            self.with_connection.append(there)
            threading.Thread(target=self._talk, args=(peer,), daemon=True).start()

    def _talk(self, peer: socket.socket) -> None:
        with peer:
            data = peer.recv(4096)
            self.requests.append(data)
            head, _, body = data.decode().partition("\r\n\r\n")
            assert int(head.partition("Content-Length: ")[2]) == len(body)
            self.asked.append((time.monotonic(), head.partition("\r\n")[0], body))
            if self.answer is None:
                time.sleep(2 * WAIT_SECONDS)
            else:
                peer.sendall(self.answer)

    def start(self, beacon: str = f"http://{ADDRESS}:8080/beacon/{SESSION}") -> None:
        mounts = "".join(
            f"mount --bind {self.proc / path} /proc/{path};"
            for path in FILES
            if path != MDSTAT and (self.proc / path).exists()
        )
        script = (
            f"mount --bind /dev/null /dev/kmsg; mount --bind {self.run} /run; {mounts}"
            "exec env - NETBOOT_BEACON=$1 $2 address eth0 $3"
        )
        words = ("unshare", "--mount", "sh", "-ec", script, "sh", beacon, self._program, ADDRESS)
        self._agent = subprocess.Popen(self.machine.command(*words))

    @property
    def pid(self) -> int:
        assert self._agent is not None and self._agent.poll() is None
        return self._agent.pid

    def reports(self) -> list[str]:
        return [body for _, line, body in self.asked if line.startswith("POST /report/")]

    def until(self, done: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, self.asked
            time.sleep(0.02)

    def next_report(self, skipped: int = 1) -> Report:
        """Return the next report that began after this call."""
        wanted = len(self.reports()) + skipped
        self.until(lambda: len(self.reports()) > wanted)
        assert len(self.reports()[-1]) <= MAX_BYTES
        return parse(self.reports()[-1], 0.0)

    def screen_says(self, text: str) -> None:
        """Write over the screen's file in place, as screen.sh does."""
        script = f'printf "%s\n" "{text}" 1<>"$1"'
        subprocess.run(["sh", "-ec", script, "sh", self.run / "agent.screen"], check=True)

    def close(self) -> None:
        if self._agent is not None:
            self._agent.kill()
            self._agent.wait()
        self._listener.close()
        self.machine.end()


Start = Callable[..., Pc]


@pytest.fixture
def start(sanitized: Path, tmp_path: Path) -> Iterator[Start]:
    started: list[Pc] = []

    def begin(program: Path = sanitized, files: dict[str, str] = FILES, **words: str) -> Pc:
        started.append(Pc(program, tmp_path, files))
        started[-1].start(**words)
        return started[-1]

    yield begin
    for pc in started:
        pc.close()


def test_the_figures_are_those_of_the_kernels_files(start: Start) -> None:
    pc = start()
    assert pc.next_report() == REPORT
    _, line, _ = pc.asked[-1]
    assert line == f"POST /report/{SESSION} HTTP/1.0"
    assert REQUEST.fullmatch(pc.requests[-1]), "the server has a short way for this form"
    assert all(pc.with_connection), "and for a request that is there when the server accepts"
    (pc.proc / "loadavg").write_text("7.00 0 0 1/1 1\n")
    (pc.proc / MDSTAT).write_text(FILES[MDSTAT].partition("      [=>")[0])
    report = pc.next_report()
    assert (report.load, report.copied) == (7.0, -1.0)


def test_the_kernels_own_files_are_understood(start: Start) -> None:
    report = start(files={}).next_report()
    total = re.search(r"MemTotal: +(\d+)", Path("/proc/meminfo").read_text())
    assert total is not None and report.memory == int(total[1]) * KIB
    assert 0 < report.available < report.memory
    assert report.major_faults > 0


def test_a_kernel_without_pressure_and_swap_leaves_the_figures_empty(start: Start) -> None:
    files = dict.fromkeys(FILES, "") | {"meminfo": FILES["meminfo"]}
    report = start(files=files).next_report()
    assert (report.memory, report.areas, report.pressure) == (REPORT.memory, (), Pressure())


def test_more_areas_than_four_are_told_with_the_last_one(start: Start) -> None:
    line = "/dev/nbd{} partition\t16777216\t\t16000000\t\t-2\n"
    swaps = FILES["swaps"].partition("\n")[0] + "\n" + "".join(map(line.format, range(6)))
    report = start(files=FILES | {"swaps": swaps}).next_report()
    assert report.areas == ((16000000 * KIB, 16777216 * KIB),) * 3 + (
        (48000000 * KIB, 50331648 * KIB),
    )
    assert report.load == REPORT.load


def test_the_screen_tells_its_kind_and_its_users(start: Start) -> None:
    pc = start()
    assert (pc.next_report().users, pc.next_report().screen) == (-1, "")
    pc.screen_says(f"{'users=12 kind=desktop':<40}")
    report = pc.next_report()
    assert (report.users, report.screen) == (12, "desktop")
    pc.screen_says(f"{'users=0 kind=kiosk':<40}")
    report = pc.next_report()
    assert (report.users, report.screen) == (0, "kiosk")
    (pc.run / "agent.screen").write_text("")  # its mapped page is gone
    assert pc.next_report().users == -1
    assert pc.pid


def test_the_losses_of_all_agents_are_told(start: Start, tmp_path: Path) -> None:
    """Two agents: one has lost its server once, for 4.7 s, and the other one twice, and since 100 s."""
    pc = start()
    pc.next_report()

    def page(losses: int, state: int, since: int, longest: int) -> bytes:
        return struct.pack("=IiIIIxxxxQqq", 0, 1, state, 2, losses, 1 << 29, since, longest)

    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000000
    with (pc.run / "agent.status").open("r+b") as file:
        os.pwrite(file.fileno(), page(1, 0, now - 1000, 4700), 0)
    report = pc.next_report()
    assert (report.losses, report.longest_loss) == (1, 4.7)
    with (pc.run / "agent.status").open("r+b") as file:
        os.pwrite(file.fileno(), page(2, 1, now - 100000, 900), 7 * 4096)
    report = pc.next_report()
    assert report.losses == 3 and 100 <= report.longest_loss < 130


def test_a_server_that_refuses_or_is_silent_costs_nothing(start: Start) -> None:
    pc = start()
    pc.next_report()
    pc.answer = b"HTTP/1.0 404 Not Found\r\n\r\n"
    begin, known = time.monotonic(), len(pc.reports())
    time.sleep(2)
    sent, taken = len(pc.reports()) - known, time.monotonic() - begin
    assert sent <= 1000 * taken / (PERIOD_MS * 0.8) + 2, "each is sent once"
    pc.answer = None  # each takes 5 s now
    begin, known = time.monotonic(), len(pc.reports())
    time.sleep(3)
    sent, taken = len(pc.reports()) - known, time.monotonic() - begin
    assert sent <= 2 + taken / 5, "one at a time, and none is queued"
    pc.answer = b"HTTP/1.0 200 OK\r\n\r\n"
    pc.next_report()


def test_only_a_server_of_beacons_gets_figures(start: Start) -> None:
    pc = start(beacon=f"http://{ADDRESS}:8080/other/ticket")
    time.sleep(4 * PERIOD_MS / 1000)
    assert pc.pid and not pc.reports()


def test_what_a_report_takes(
    start: Start, shipped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It prints RAM and CPU. Only a figure of another size than measured would fail."""
    pc = start(program=shipped, files={})
    pc.next_report()

    def cpu() -> int:
        return int(Path(f"/proc/{pc.pid}/schedstat").read_text().split()[0])

    begin, known = cpu(), len(pc.reports())
    pc.until(lambda: len(pc.reports()) >= known + 10, 30)
    each = (cpu() - begin) / (len(pc.reports()) - known) / 1000
    locked = re.search(r"VmLck:\s+(\d+) kB", Path(f"/proc/{pc.pid}/status").read_text())
    assert locked is not None and int(locked[1]) < 400
    with capsys.disabled():
        sys.stdout.write(
            f"\n  a report: {len(pc.reports()[-1])} bytes, {each:.0f} us of CPU; "
            f"{locked[1]} KiB locked in the process that sends it\n"
        )
