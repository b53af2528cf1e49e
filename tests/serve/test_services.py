"""``netboot serve`` as its user sees it: started, asked, started twice, misconfigured, stopped."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from netboot.boot import ticket
from netboot.pages.server import LEAVE_SECONDS
from netboot.pages.upgrade import LISTENERS
from netboot.serve.http.server import SHUTDOWN_SECONDS
from netboot.serve.secret import load_secret
from tests import ROOT
from tests.support.command import plain
from tests.support.images import write_manifest

pytestmark = pytest.mark.root

ADDRESS = "10.99.0.1"
# A network namespace with one card, whose cable leads nowhere.
NETWORK = (
    "ip link set lo up; ip link add lan0 type veth peer name end; ip link set end up; "
    f"ip address add {ADDRESS}/24 dev lan0; ip link set lan0 up; "
    'exec "$@"'
)
NETBOOT = (sys.executable, "-m", "netboot")
PATIENCE = 60.0  # seconds for what takes one or two on an idle machine


class Serving:
    def __init__(
        self,
        folder: Path,
        *options: str,
        inside: "Serving | None" = None,
        program: tuple[str, ...] = NETBOOT,
    ) -> None:
        command = [*program, "serve", "--json", "--images", str(folder)]
        command += ["--set", "http.panel=off", *options]
        state = "state" if inside is None else "state of another"
        command += ["--state", str(folder / state), "--profile", str(folder / "room.yaml")]
        if inside is None:
            command = ["unshare", "--net", "sh", "-c", NETWORK, "sh", *command]
        else:
            command = ["nsenter", "-t", str(inside.process.pid), "-n", *command]
        self.process: subprocess.Popen[str] = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        message: dict[str, Any] = json.loads(self.process.stdout.readline())
        return message

    def end(self) -> tuple[int, str]:
        _, complaints = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, plain(complaints)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Serving]]:
    (tmp_path / "room.yaml").write_text("swap: {capacity: 64MiB}\n")
    write_manifest(tmp_path)
    running: list[Serving] = []

    def start(
        *options: str, inside: Serving | None = None, program: tuple[str, ...] = NETBOOT
    ) -> Serving:
        running.append(Serving(tmp_path, *options, inside=inside, program=program))
        return running[-1]

    yield start
    for serving in running:
        serving.process.terminate()  # a killed server would leave its pages to its successor
        serving.process.communicate()


FULL = ("--set", "dhcp.mode=full", "--set", "dhcp.range=10.99.0.50-10.99.0.60")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_what_it_serves_and_stops_in_two_seconds(
    serve: Callable[..., Serving], number: signal.Signals
) -> None:
    server = serve()
    assert server.line()["ready"] == {
        "dhcp": "proxy",
        "http_port": 8080,
        "pages_port": 10809,
        "interfaces": [{"interface": "lan0", "address": ADDRESS}],
    }
    server.process.send_signal(number)
    status, complaints = server.end()
    assert (status, complaints) == (0, "")
    assert SHUTDOWN_SECONDS + LEAVE_SECONDS < 2, "all that it waits for if a client does not leave"
    assert not list(Path("/dev/shm").glob(f"netboot-pages-*{server.process.pid}*"))


def test_pcs_that_wait_for_pages_are_served_without_their_boot_files(
    serve: Callable[..., Serving], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "processors": {}}))
    gone = ["--set", f"root.image={tmp_path}/gone.img", "--set", "root.kind=nbd"]
    gone += ["--set", "boot.architectures=amd64,arm64"]
    status, complaints = serve(*gone).end()
    assert status == 2 and "gone.img: No such file" in complaints
    status, complaints = serve().end()
    assert status == 2 and "has no images for amd64" in complaints
    monkeypatch.setenv(LISTENERS, "")  # as if PCs waited
    server = serve(*gone)
    assert "ready" in server.line()
    server.process.terminate()
    status, complaints = server.end()
    assert status == 0 and "gone.img: No such file or directory; PCs with this root" in complaints
    assert "stub.efi: No such file or directory; PCs with Secure Boot get no" in complaints


def test_a_mistake_at_sighup_is_one_line_and_the_server_serves_on(
    serve: Callable[..., Serving], tmp_path: Path
) -> None:
    server, room = serve(), tmp_path / "room.yaml"
    assert "ready" in server.line()
    room_before = room.read_text()
    assert server.process.stderr is not None
    for text, told in (
        ("swap: {size: 5 GB}", "swap.size"),
        (f"root: {{kind: nbd, image: {tmp_path}/gone.img}}", "gone.img: No such file"),
        ("dhcp: {mode: full, range: 10.1.0.50-10.1.0.60}", "10.99.0.0/24 of lan0"),
    ):
        room.write_text(text)
        server.process.send_signal(signal.SIGHUP)
        line = next(line for line in server.process.stderr if "not upgraded" in line)
        assert told in line and line.endswith("; serving on\n")
    room.write_text(room_before)
    server.process.send_signal(signal.SIGHUP)
    assert "ready" in server.line()
    server.process.terminate()
    assert server.end()[0] == 0


def test_status_is_asked_over_loopback(serve: Callable[..., Serving]) -> None:
    server = serve(*FULL)
    server.line()
    inside = ("nsenter", "-t", str(server.process.pid), "-n")
    asked = subprocess.run(
        [*inside, *NETBOOT, "status", "--json"], check=True, capture_output=True, text=True
    )
    assert json.loads(asked.stdout)["seats"] == []
    shown = subprocess.run(
        [*inside, *NETBOOT, "status"], check=True, capture_output=True, text=True
    )
    assert "no seat has asked" in shown.stdout


BEACONS = """
import http.client, sys
server = http.client.HTTPConnection("127.0.0.1", 8080, timeout=60)
for number in range(500):
    server.request("POST", f"/beacon/{sys.argv[1]}/stage{number}", body=f"{number} " + 300 * "x")
    assert server.getresponse().read() == b""
"""


def test_a_pipe_that_nobody_reads_stops_no_server(
    serve: Callable[..., Serving], tmp_path: Path
) -> None:
    server = serve()
    server.line()
    mac = "52:54:00:12:34:56"
    secret = (tmp_path / "state/secret").read_bytes()
    known = ticket.begin(secret, mac, b"nonce!", time.time())
    inside = ("nsenter", "-t", str(server.process.pid), "-n")
    subprocess.run([*inside, sys.executable, "-c", BEACONS, known], check=True, timeout=60)
    assert [server.line()["stage"] for _ in range(500)] == [f"stage{n}" for n in range(500)]


def test_a_second_server_names_the_port_that_is_taken(serve: Callable[..., Serving]) -> None:
    first = serve()
    first.line()
    status, complaints = serve(inside=first).end()
    assert status == 2
    assert complaints.startswith("cannot serve pages on 10.99.0.1 port 10809: Address already in")
    assert complaints.count("\n") == 2, "a line, and a hint"


def test_what_contradicts_the_network_is_said_at_once(serve: Callable[..., Serving]) -> None:
    range_elsewhere = ("--set", "dhcp.mode=full", "--set", "dhcp.range=10.1.0.50-10.1.0.60")
    status, complaints = serve(*range_elsewhere).end()
    assert status == 2 and "dhcp.range" in complaints and "10.99.0.0/24 of lan0" in complaints
    status, complaints = serve("--set", "interface=lan9").end()
    assert status == 2 and "lan0" in complaints


def test_a_machine_that_is_no_boot_server_of_the_profile_does_not_start(
    serve: Callable[..., Serving],
) -> None:
    status, complaints = serve("--set", "boot.servers=10.99.0.7,10.99.0.8").end()
    assert status == 2
    assert "10.99.0.7 and 10.99.0.8 are the boot servers" in complaints.splitlines()[0]
    assert f"served interfaces: {ADDRESS}" in complaints.splitlines()[0]


def test_a_further_server_grants_leases_and_boots_nobody(
    serve: Callable[..., Serving], tmp_path: Path
) -> None:
    secret = load_secret(tmp_path / "state" / "secret")
    server = serve("--swap-only")
    assert server.line()["ready"]["dhcp"] == "none"
    inside = ("nsenter", "-t", str(server.process.pid), "-n")
    sockets = subprocess.run([*inside, "ss", "-Hlnu"], check=True, capture_output=True, text=True)
    assert sockets.stdout == "", "neither DHCP nor TFTP"
    mac = "52:54:00:12:34:56"
    session = ticket.begin(secret, mac, b"nonce!", time.time())
    lease = f"http://{ADDRESS}:8080/lease/{session}?ram=16777216&fresh=1"
    fetch = f"import urllib.request as r; print(r.urlopen('{lease}').read().decode())"
    command = [*inside, sys.executable, "-c", fetch]
    asked = subprocess.run(command, check=True, capture_output=True, text=True)
    assert asked.stdout.startswith("size=33554432 token=")


def test_a_further_server_needs_the_rooms_secret(serve: Callable[..., Serving]) -> None:
    status, complaints = serve("--swap-only").end()
    assert status == 2
    assert "state/secret: there is no secret" in complaints
    assert "copy it from the server that boots the PCs" in complaints


# The same program, which waits half a second for a PC that has an offer.
IMPATIENT = """from dataclasses import replace
from netboot.boot import silence
row = silence.BY_STEP[silence.Step.OFFERED]
silence.BY_STEP[row.begin] = replace(row, seconds=0.5)
from netboot.__main__ import main
main()"""
DISCOVER = """import socket
from tests.support.pxe_client import PxeClient
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lan0")
    sock.bind(("", 68))
    sock.sendto(PxeClient().discover(), ("255.255.255.255", 67))"""


def test_a_pc_that_falls_silent_is_told_by_a_running_server(
    serve: Callable[..., Serving],
) -> None:
    server = serve(*FULL, program=(sys.executable, "-c", IMPATIENT))
    assert "ready" in server.line()
    inside = ["nsenter", "-t", str(server.process.pid), "-n"]
    subprocess.run([*inside, sys.executable, "-c", DISCOVER], check=True, cwd=ROOT)
    stages: list[str] = []
    while not stages or stages[-1] != "silent":
        stages.append(server.line()["stage"])
    assert stages == ["dhcp", "dhcp", "silent"]
    server.process.terminate()
    _, complaints = server.end()
    assert "pc-123456 (52:54:00:12:34:56) was offered a boot file" in complaints


FOLLOW = """
import http.client, json, socket, sys
class Local(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(sys.argv[1])
panel = Local("panel", timeout=60)
panel.request("GET", sys.argv[2])
answer = panel.getresponse()
print(answer.status, flush=True)
while line := answer.readline():
    sys.stdout.write(line.decode())
    sys.stdout.flush()
"""
# The status alone: the answer has no end.
STATUS = """
import http.client, sys
panel = http.client.HTTPConnection(sys.argv[1], 8080, timeout=60)
panel.request("GET", "/feed", headers={"Authorization": word for word in sys.argv[2:]})
print(panel.getresponse().status)
"""


def test_a_panel_follows_a_running_server(serve: Callable[..., Serving], tmp_path: Path) -> None:
    (tmp_path / "room.yaml").write_text(
        "swap: {capacity: 64MiB}\n"
        "clients: {52:54:00:12:34:56: {hostname: teacher}}\nroom: {plan: [['', teacher]]}\n"
    )
    stale = tmp_path / "state" / "feed.sock"
    stale.parent.mkdir(mode=0o700)
    stale.write_text("of a server that was killed")
    server = serve(*FULL)
    server.line()
    assert stale.stat().st_mode & 0o777 == 0o660 and stale.is_socket()
    key = tmp_path / "state" / "panel.key"
    assert key.stat().st_mode & 0o777 == 0o640
    inside = ["nsenter", "-t", str(server.process.pid), "-n"]
    command = [*inside, sys.executable, "-c", FOLLOW, str(stale), "/feed?after=0"]
    panel = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert panel.stdout is not None and panel.stdout.readline() == "200\n"
    records = map(json.loads, panel.stdout)
    first = [next(records) for _ in range(3)]
    assert [each["type"] for each in first] == ["hello", "plan", "seat"]
    assert (first[0]["next"], first[1]["rows"]) == (1, [["", "teacher"]])
    assert (first[2]["name"], first[2]["state"], first[2]["named"]) == ("teacher", "unknown", True)
    subprocess.run([*inside, sys.executable, "-c", DISCOVER], check=True, cwd=ROOT)
    seen: dict[str, Any] = {}
    while not {"event", "seat", "server"} <= seen.keys():
        record = next(records)
        seen[record["type"]] = record
    assert seen["event"]["stage"] == "dhcp" and seen["server"]["capacity"] == 64 << 20
    for words, code in (
        ([], "403"),
        ([f"Bearer {key.read_text().strip()}"], "200"),
    ):
        asked = [sys.executable, "-c", STATUS, ADDRESS, *words]
        done = subprocess.run([*inside, *asked], capture_output=True, text=True, check=False)
        assert done.stdout == f"{code}\n", done.stderr
    server.process.terminate()
    assert server.end() == (0, "")
    assert not stale.exists()
    panel.communicate(timeout=PATIENCE)


# The same program, with a script in the place of the panel.
BESIDE = """import os, sys, time
if "panel" in sys.argv[1:]:
    with open(sys.argv[sys.argv.index("--state") + 1] + "/../../panels", "a") as file:
        print(os.getpid(), *sys.argv[1:], file=file, flush=True)
    print("netboot: the room is shown", flush=True)
    time.sleep(600)
from netboot.cli import panel_command
panel_command.PACKAGES = ()
found = panel_command.panel_of
def panel_of(profile, state):
    panel = found(profile, state)
    command = (sys.executable, "-c", open("/proc/self/cmdline").read().split(chr(0))[2])
    return panel_command.Panel((*command, *panel.command[4:]), {}, None)
panel_command.panel_of = panel_of
from netboot.__main__ import main
main()"""


def test_a_panel_runs_beside_the_server_and_stays_over_an_upgrade(
    serve: Callable[..., Serving], tmp_path: Path
) -> None:
    panels = tmp_path / "panels"

    def begun() -> list[list[str]]:
        return [line.split() for line in panels.read_text().splitlines()] if panels.exists() else []

    def within(seconds: float, is_true: Callable[[], bool]) -> bool:
        end = time.monotonic() + seconds
        while not is_true() and time.monotonic() < end:
            time.sleep(0.05)
        return is_true()

    server = serve("--set", "http.panel=local", program=(sys.executable, "-c", BESIDE))
    assert "ready" in server.line()
    assert within(PATIENCE, lambda: len(begun()) == 1)
    pid, *words = begun()[0]
    state = tmp_path / "state"
    assert words == [
        *("panel", "--feed", f"{state}/feed.sock", "--listen", "127.0.0.1:8081"),
        *("--state", f"{state}/panel"),
    ]
    server.process.send_signal(signal.SIGHUP)
    assert "ready" in server.line()
    assert Path(f"/proc/{pid}").exists() and len(begun()) == 1
    subprocess.run(["kill", pid], check=True)
    assert within(PATIENCE, lambda: len(begun()) == 2), "it is started again"
    server.process.terminate()
    status, complaints = server.end()
    assert status == 0
    assert within(PATIENCE, lambda: not Path(f"/proc/{begun()[1][0]}").exists())
    assert "panel: the room is shown\n" in complaints and "a fault" not in complaints
    assert "no panel: killed by SIGTERM; retried in 1 s; the room is served\n" in complaints


def test_with_another_dhcp_server_the_ports_of_dhcp_stay_closed(
    serve: Callable[..., Serving],
) -> None:
    server = serve("--set", "dhcp.mode=none")
    ready = server.line()["ready"]
    assert (ready["dhcp"], ready["named_by"]) == ("none", "lan")
    rows = Path(f"/proc/{server.process.pid}/net/udp").read_text().splitlines()[1:]
    ports = {int(row.split()[1].partition(":")[2], 16) for row in rows}
    assert 69 in ports and not ports & {67, 68, 4011}
    raw = Path(f"/proc/{server.process.pid}/net/raw").read_text().splitlines()[1:]
    assert raw == []
    server.process.send_signal(signal.SIGTERM)
    assert server.end() == (0, "")
