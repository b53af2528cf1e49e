"""The TFTP server against tftpy's client, against bytes made by hand, and against scapy's layer."""

import asyncio
import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, Self

import pytest
import tftpy
from scapy.layers.tftp import TFTP, TFTP_ACK, TFTP_DATA, TFTP_ERROR, TFTP_OACK, TFTP_RRQ, TFTP_WRQ
from scapy.layers.tftp import TFTP_Option as Option
from scapy.layers.tftp import TFTP_Options as Options

from netboot.errors import OperatorError
from netboot.serve.tftp import crew, places
from netboot.serve.tftp.server import TftpServer, Transfer, WithEnd
from netboot.serve.tftp.transfer import Outcome
from netboot.serve.tftp.worker import LATE_SECONDS

pytestmark = pytest.mark.system

# Clients are at 127.0.0.1, so by default an answer would not come from the address that was asked.
SERVER = IPv4Address("127.0.0.2")
NEAR = [IPv4Network("127.0.0.0/16")]
FILES = {"loader.efi": bytes(range(256)) * 700, "empty": b"", "dir/boot.ipxe": b"#!ipxe\n"}
ON_DISK = {"loader.efi"}
MACHINES = {"127.9.0.1": "02:00:00:00:09:01"}
# Each client gets its own end of this file. That end lies across two chunks that a worker reads.
SHARED = bytes((2 << 16) + 100)
FILES["shared.efi"] = SHARED[:-300] + b"own" * 100
PATIENCE_SECONDS = 60.0
SMALLER_MTU = "NETBOOT_TEST_SMALLER_MTU"  # in the environment of a test in a namespace of its own


class Rig:
    """The server in a thread with its own event loop, so tests can be plain blocking code."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        for name in ON_DISK:
            (folder / name).write_bytes(FILES[name])
        (folder / "shared.efi").write_bytes(SHARED)
        (folder / "secret").write_text("of the operator's\n")
        (folder / "link").symlink_to("secret")
        self.transfers: list[Transfer] = []
        self.server = TftpServer(
            self.read,
            self.transfers.append,
            networks=NEAR,
            port=0,
            holder=lambda address: MACHINES.get(address, address),
            **options,
        )
        self.loop = asyncio.new_event_loop()
        self.loop.run_until_complete(self.server.start([SERVER]))
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    def read(
        self, name: str, server: IPv4Address, client: IPv4Address
    ) -> bytes | Path | WithEnd | None:
        assert server == SERVER
        if name == "shared.efi":
            return WithEnd(self.folder / name, "own" * 100)
        if name in ON_DISK | {"link", "gone", "folder"}:
            return self.folder if name == "folder" else self.folder / name
        return FILES.get(name)

    def wait_for(self, outcomes: int) -> list[Outcome]:
        """Wait for that many outcomes, and return all so far."""
        wait_until(lambda: len(self.transfers) >= outcomes)
        return [transfer.outcome for transfer in self.transfers]

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self.server.stop(), self.loop).result(PATIENCE_SECONDS)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, "the condition did not become true in time"
        time.sleep(0.005)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.close()


class Peer:
    """A client's socket. It goes on with the sender of the last answer."""

    def __init__(self, rig: Rig, request: bytes, address: str = "") -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((address, 0))
        self.sock.settimeout(PATIENCE_SECONDS)
        self.listener = (str(SERVER), rig.server.port)
        self.sender: tuple[str, int] | None = None
        self._seen: set[tuple[bytes, tuple[str, int]]] = set()
        self.request(request)

    def request(self, request: bytes) -> None:
        self.sock.sendto(request, self.listener)

    def receive(self, *, again: bool = False) -> TFTP:
        """Return the next answer; with ``again`` also one that came before.

        On a busy machine a client may be too late for the server, which sends its answer again.
        """
        while True:
            answer, sender = self.sock.recvfrom(70_000)
            assert sender[0] == str(SERVER)
            assert sender[1] != self.listener[1], "a transfer has a port (TID) of its own"
            if again or (answer, sender) not in self._seen:
                self._seen.add((answer, sender))
                self.sender = sender
                return TFTP(answer)

    def send(self, packet: TFTP) -> None:
        assert self.sender is not None
        self.sock.sendto(bytes(packet), self.sender)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.sender is not None:
            self.send(TFTP(op=5) / TFTP_ERROR(errorcode=8, errormsg="enough"))
        self.sock.close()


def ask(rig: Rig, request: bytes) -> TFTP:
    with Peer(rig, request) as peer:
        return peer.receive()


def rrq(name: str, mode: str = "octet", **options: int) -> bytes:
    asked = [Option(oname=key, value=str(value)) for key, value in options.items()]
    return bytes(TFTP() / TFTP_RRQ(filename=name, mode=mode) / Options(options=asked))


def ack(block: int) -> TFTP:
    return TFTP(op=4) / TFTP_ACK(block=block)


def acknowledged(answer: TFTP) -> dict[bytes, bytes]:
    return {bytes(o.oname): bytes(o.value) for o in answer[TFTP_OACK].payload.options}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("blksize", [512, 1468])
def test_tftpys_client_reads_every_file(rig: Rig, tmp_path: Path, name: str, blksize: int) -> None:
    client = tftpy.TftpClient(str(SERVER), rig.server.port, {"blksize": blksize})
    client.download(name, str(tmp_path / "got"))
    assert (tmp_path / "got").read_bytes() == FILES[name]
    assert rig.wait_for(1) == [Outcome.DONE]
    assert rig.transfers[0].sent == rig.transfers[0].size == len(FILES[name])
    assert rig.server.ended == {"done": 1}
    assert rig.server.transfers() == {"unanswered": 0, "sending": 0}


def test_many_clients_at_once_are_all_served(rig: Rig, tmp_path: Path) -> None:
    def download(number: int) -> None:
        client = tftpy.TftpClient(str(SERVER), rig.server.port, {"blksize": 1468})
        client.download("loader.efi", str(tmp_path / f"got{number}"))

    with Peer(rig, rrq("loader.efi")) as slow:  # takes one block and no more
        slow.receive()
        threads = [threading.Thread(target=download, args=(number,)) for number in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert rig.wait_for(30) == [Outcome.DONE] * 30
    for number in range(30):
        assert (tmp_path / f"got{number}").read_bytes() == FILES["loader.efi"]


def test_a_window_comes_without_being_asked_for_block_by_block(rig: Rig) -> None:
    with Peer(rig, rrq("loader.efi", blksize=1000, windowsize=5)) as peer:
        assert acknowledged(peer.receive())[b"windowsize"] == b"5"
        if SMALLER_MTU in os.environ:
            subprocess.run(["ip", "link", "set", "lo", "mtu", "1000"], check=True)
        for first, last in ((0, 5), (5, 10), (7, 12)):  # 8 was lost
            peer.send(ack(first))
            got: dict[int, bytes] = {}
            while len(got) < last - first:
                data = peer.receive(again=True)[TFTP_DATA]
                if first < data.block <= last:
                    got[data.block] = bytes(data.payload)
            assert list(got) == list(range(first + 1, last + 1))
            assert b"".join(got.values()) == FILES["loader.efi"][first * 1000 : last * 1000]


@pytest.mark.root
def test_a_window_arrives_where_the_kernel_cannot_cut_it_up() -> None:
    """Here the interface gets a smaller MTU in the middle, so that IP has to fragment."""
    again = f"{__file__}::{test_a_window_comes_without_being_asked_for_block_by_block.__name__}"
    pytest_words = f"{sys.executable} -m pytest -q -p no:cacheprovider {again}"
    words = ["unshare", "--net", "sh", "-c", f"ip link set lo up; exec {pytest_words}"]
    environment = os.environ | {SMALLER_MTU: "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["\\dir\\boot.ipxe", "/dir/boot.ipxe"])
def test_dos_separators_and_leading_slash_are_understood(rig: Rig, name: str) -> None:
    assert ask(rig, rrq(name)).op == 3


def test_netascii_has_the_lines_end_with_cr_lf(rig: Rig) -> None:
    answer = ask(rig, rrq("dir/boot.ipxe", "NetASCII"))
    assert bytes(answer[TFTP_DATA].payload) == b"#!ipxe\r\n"


def test_blksize_is_clamped_to_the_mtu(rig: Rig) -> None:
    answer = ask(rig, rrq("loader.efi", blksize=65464))
    assert acknowledged(answer) == {b"blksize": b"1468"}


def test_blksize_is_clamped_to_the_mtu_of_tagged_frames(tmp_path: Path) -> None:
    rig = Rig(tmp_path, mtu=1496)
    assert acknowledged(ask(rig, rrq("loader.efi", blksize=1468))) == {b"blksize": b"1464"}
    rig.close()


@pytest.mark.parametrize(("way", "blksize"), [(1500, 512), (400, 368)])
def test_blksize_is_clamped_to_the_smallest_mtu_that_is_known(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, way: int, blksize: int
) -> None:
    monkeypatch.setattr("netboot.serve.tftp.server.path_mtu", lambda sock: way)
    rig.server._narrow.add("127.0.0.1")
    answer = ask(rig, rrq("loader.efi", blksize=1468))
    assert acknowledged(answer) == {b"blksize": str(blksize).encode()}


def test_size_probe_of_uefi_is_no_failure(rig: Rig) -> None:
    answer = ask(rig, rrq("loader.efi", tsize=0))
    assert acknowledged(answer) == {b"tsize": str(len(FILES["loader.efi"])).encode()}
    assert rig.wait_for(1) == [Outcome.PROBE]


def test_a_request_that_came_twice_is_one_transfer(rig: Rig) -> None:
    request = rrq("loader.efi", tsize=0)
    with Peer(rig, request) as peer:
        peer.receive()
        first = peer.sender
        peer.request(request)
        assert rig.wait_for(1) == [Outcome.PROBE]
        peer.send(ack(0))
        assert peer.receive()[TFTP_DATA].block == 1
        assert peer.sender == first
        peer.request(request)  # a copy that was late: the transfer goes on
        assert rig.wait_for(2) == [Outcome.PROBE] * 2
        peer.send(ack(1))
        assert peer.receive()[TFTP_DATA].block == 2
        # The PC was switched off and on during a transfer: it starts again.
        time.sleep(LATE_SECONDS)
        peer.request(request)
        while peer.receive().op != 6:
            pass  # block 2 again
        assert peer.sender != first
        peer.send(ack(0))  # a PC that goes on with the first transfer would not
        assert rig.wait_for(3) == [Outcome.PROBE, Outcome.PROBE, Outcome.BROKEN]


def test_a_copy_that_is_very_late_ends_no_transfer(rig: Rig) -> None:
    request = rrq("loader.efi", tsize=0)
    with Peer(rig, request) as peer:
        peer.receive()
        first = peer.sender
        assert first is not None
        peer.send(ack(0))
        peer.receive()
        time.sleep(LATE_SECONDS)
        peer.request(request)
        while peer.receive().op != 6:
            pass  # the PC does not acknowledge this one: it has a transfer
        peer.sender = first
        peer.send(ack(1))
        answers = iter(peer.receive, None)
        assert any(each.op == 3 and each[TFTP_DATA].block == 2 for each in answers)


def test_what_was_not_heard_is_sent_again(rig: Rig) -> None:
    with Peer(rig, rrq("loader.efi", blksize=1000)) as peer:
        assert [peer.receive(again=True).op for _ in range(2)] == [6, 6]


def test_a_request_that_is_repeated_is_answered_again(rig: Rig) -> None:
    with Peer(rig, rrq("loader.efi")) as peer:
        assert peer.receive()[TFTP_DATA].block == 1
        peer.sock.settimeout(1.0)
        with pytest.raises(TimeoutError):
            peer.receive()
        peer.sock.settimeout(PATIENCE_SECONDS)
        peer.request(rrq("loader.efi"))
        assert peer.receive(again=True)[TFTP_DATA].block == 1


@pytest.mark.parametrize(
    "name", ["nothing", "../../etc/passwd", "/etc/passwd", "dir/../../x", "link", "gone", "folder"]
)
def test_names_not_served_are_refused(rig: Rig, name: str) -> None:
    answer = ask(rig, rrq(name))
    assert (answer.op, answer[TFTP_ERROR].errorcode) == (5, 1)
    assert rig.wait_for(1) == [Outcome.REFUSED]


def test_uploads_and_unknown_modes_are_refused(rig: Rig) -> None:
    upload = ask(rig, bytes(TFTP() / TFTP_WRQ(filename="loader.efi", mode="octet")))
    assert (upload.op, upload[TFTP_ERROR].errorcode) == (5, 2)
    mail = ask(rig, rrq("loader.efi", "mail"))
    assert (mail.op, mail[TFTP_ERROR].errorcode) == (5, 4)


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        b"\0",
        b"\0\1",
        b"\0\1\xff\xfe\0octet\0",
        b"\0\1a\0octet",
        b"\0\1a\0octet\0blksize\0many\0",
        b"\0\1loader.efi\0octet\0" + b"x\0y\0" * 10_000,
        b"\0\x09zz",
        b"\0\4\0\1",
        b"\0\5\0\0\0",
    ],
)
def test_a_hostile_packet_stops_nothing_and_costs_a_line_at_most(
    rig: Rig, hostile: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer, caplog.at_level("WARNING"):
        for _ in range(3):
            peer.sendto(hostile, (str(SERVER), rig.server.port))
        assert ask(rig, rrq("loader.efi")).op == 3
    assert len(caplog.records) <= 1
    named = "TFTP: 127.0.0.1, port "
    assert all(line.startswith(named) and "PXE-E32" in line for line in caplog.messages)


def test_a_fault_of_ours_costs_one_request(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In what is read, and in the report of each transfer: its place is free again."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer, monkeypatch.context() as patch:
        patch.setattr(rig.server, "_read", lambda *_: FILES["lost"])
        peer.sendto(rrq("loader.efi"), (str(SERVER), rig.server.port))
        wait_until(lambda: "KeyError" in caplog.text)
    with monkeypatch.context() as patch:
        patch.setattr(rig.server, "_report", {}.__getitem__)
        assert ask(rig, rrq("secret", "mail")).op == 5
    assert ask(rig, rrq("loader.efi")).op == 3


def test_a_stranger_does_not_disturb_a_transfer(rig: Rig) -> None:
    with (
        Peer(rig, rrq("loader.efi")) as peer,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
    ):
        peer.receive()
        assert peer.sender is not None
        stranger.connect(peer.sender)
        stranger.send(bytes(TFTP(op=5) / TFTP_ERROR(errorcode=0, errormsg="stop")))
        peer.send(ack(1))
        assert peer.receive()[TFTP_DATA].block == 2


def test_an_address_without_a_place_waits_and_is_served_later(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(places, "MAX_TRANSFERS", 4)
    monkeypatch.setattr(places, "SHARE_OF_ADDRESS", 1)
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(rig, rrq("loader.efi"))) for _ in range(2)]
        for peer in peers:
            peer.receive()
            peer.send(ack(1))
            peer.receive()
        late = stack.enter_context(Peer(rig, rrq("loader.efi")))
        late.request(rrq("loader.efi"))
        wait_until(lambda: bool(caplog.records))
        other = stack.enter_context(Peer(rig, rrq("loader.efi"), "127.0.0.9"))
        assert other.receive().op == 3, "the second half is for addresses with fewer"
        peers[0].send(TFTP(op=5) / TFTP_ERROR(errorcode=8))
        other.send(TFTP(op=5) / TFTP_ERROR(errorcode=8))
        assert rig.wait_for(2) == [Outcome.BROKEN, Outcome.PROBE]
        late.request(rrq("loader.efi"))
        assert late.receive().op == 3
        assert len(caplog.records) == 1


def test_an_unproven_transfer_makes_room(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "MAX_TRANSFERS", 3)
    with contextlib.ExitStack() as stack:
        good = stack.enter_context(Peer(rig, rrq("loader.efi"), "127.0.0.8"))
        good.receive()
        good.send(ack(1))
        good.receive()
        for _ in range(2):
            silent = stack.enter_context(Peer(rig, rrq("loader.efi"), "127.0.0.7"))
            silent.receive()
        wait_until(lambda: rig.server.transfers() == {"unanswered": 2, "sending": 1})
        time.sleep(places.UNPROVEN_GRACE_SECONDS)
        late = stack.enter_context(Peer(rig, rrq("loader.efi"), "127.0.0.9"))
        assert late.receive().op == 3
        assert rig.wait_for(1) == [Outcome.BROKEN]
        assert rig.transfers[0].client == "127.0.0.7"
        good.send(ack(2))
        assert good.receive()[TFTP_DATA].block == 3


def test_an_address_of_no_network_gets_no_answer(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    with Peer(rig, rrq("loader.efi"), "127.9.0.1") as far:
        far.request(rrq("loader.efi"))
        assert ask(rig, rrq("loader.efi")).op == 3
        far.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            far.receive()
    (line,) = caplog.messages
    assert "02:00:00:00:09:01 at 127.9.0.1" in line and "it is in no network" in line
    assert "a PC shows: PXE-E32" in line


def test_a_worker_that_dies_is_replaced(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    with Peer(rig, rrq("loader.efi")) as peer:
        peer.receive()
        for pid in rig.server.worker_pids:
            os.kill(pid, signal.SIGKILL)
        assert rig.wait_for(1) == [Outcome.BROKEN]

        def served() -> bool:
            peer.request(rrq("loader.efi"))
            peer.sock.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                return bool(peer.receive().op == 3)
            return False

        wait_until(served)
    assert "died" in caplog.text


def test_a_worker_that_cannot_be_started_is_tried_again_and_told(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One fork that failed left the room without boot files for ever, without a line."""
    started, is_short = subprocess.Popen, threading.Event()
    is_short.set()

    def start(*words: Any, **options: Any) -> Any:
        if is_short.is_set():
            raise OSError(errno.EAGAIN, "no process")
        return started(*words, **options)

    monkeypatch.setattr(crew, "RESTART_SECONDS", 0.05)
    monkeypatch.setattr(subprocess, "Popen", start)
    pids = rig.server.worker_pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: caplog.text.count("cannot start a worker") == len(pids))
    with Peer(rig, rrq("loader.efi")) as peer:
        wait_until(lambda: "no worker of the server can take" in caplog.text)
        is_short.clear()
        wait_until(lambda: not set(pids) & set(rig.server.worker_pids))
        peer.request(rrq("loader.efi"))
        assert peer.receive().op == 3
    assert caplog.text.count("cannot start a worker") == len(pids)


def test_a_busy_port_is_the_operators_to_mend(rig: Rig) -> None:
    second = TftpServer(rig.read, rig.transfers.append, networks=NEAR, port=rig.server.port)
    with pytest.raises(OperatorError, match=f"port {rig.server.port}"):
        asyncio.run(second.start([SERVER]))
