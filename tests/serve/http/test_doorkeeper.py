"""The limits of the HTTP server: nobody takes the places of others, or makes it log without end."""

import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from netboot.boot.limits import Limit
from netboot.serve.http.server import HttpServer
from tests.serve.http.test_server import LOCALHOST, PATIENCE, TICKET, FakeRoom, Rig

HERE, ELSEWHERE, THIRD = "127.0.0.1", "127.0.0.2", "127.0.0.3"
STATUS = b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n"
HALF = STATUS[:20]
SECONDS = 0.3


class Lobby:
    """A server with few places: 3 for each address and 5 in total."""

    def __init__(self, folder: Path) -> None:
        room = FakeRoom(folder)
        os.truncate(room.image, 64 << 20)
        places = Limit("connections", 3, 5, SECONDS, "hung up on")
        stalled = Limit("downloads", None, None, SECONDS, "hung up on")
        server = HttpServer(room, port=0, connections=places, downloads=stalled)
        self.rig = Rig(room, server)
        self._opened = ExitStack()

    def visit(self, address: str, said: bytes = HALF, buffer: int = 65536) -> socket.socket:
        """Return a connection from ``address`` on which ``said`` was sent."""
        connection = self._opened.enter_context(socket.socket())
        connection.settimeout(PATIENCE)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        connection.bind((address, 0))
        connection.connect((str(LOCALHOST), self.rig.server.port))
        connection.sendall(said)
        return connection

    def close(self) -> None:
        self._opened.close()
        self.rig.close()


@pytest.fixture
def lobby(tmp_path: Path) -> Iterator[Lobby]:
    lobby = Lobby(tmp_path)
    yield lobby
    lobby.close()


def is_over(connection: socket.socket) -> bool:
    """Wait for the end of a connection, or for data."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return our log lines; asyncio may complain of the end of the test before."""
    return [each.message for each in caplog.records if each.name.startswith("netboot")]


def test_a_head_that_never_ends_is_hung_up_on(lobby: Lobby) -> None:
    for said in (b"", HALF):
        assert is_over(lobby.visit(HERE, said))
    kept = lobby.visit(HERE, STATUS)
    answer = kept.recv(4096)
    assert answer.startswith(b"HTTP/1.1 200")
    while not answer.endswith(b"}"):  # the body may come later than its head
        answer += kept.recv(4096)
    kept.sendall(HALF)
    assert is_over(kept), "a later head on the same connection"


def test_a_body_that_never_ends_is_refused(lobby: Lobby) -> None:
    head = f"POST /beacon/{TICKET}/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"
    assert lobby.visit(HERE, head.encode()).recv(4096).startswith(b"HTTP/1.1 408")


def test_one_address_cannot_take_all_places(lobby: Lobby, caplog: pytest.LogCaptureFixture) -> None:
    held = [lobby.visit(HERE) for _ in range(3)]
    for _ in range(20):
        assert is_over(lobby.visit(HERE, b""))
    assert lobby.visit(ELSEWHERE, STATUS).recv(4096).startswith(b"HTTP/1.1 200")
    assert told(caplog) == ["HTTP: 127.0.0.1 has 3 connections; further ones are hung up on"]
    assert is_over(held[0])
    assert lobby.visit(HERE, STATUS).recv(4096).startswith(b"HTTP/1.1 200"), "places come free"


def test_in_a_full_room_the_address_with_the_most_loses_one(lobby: Lobby) -> None:
    order = f"GET /orders/{TICKET} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    waits = lobby.visit(HERE, order)
    half, _ = lobby.visit(HERE), lobby.visit(HERE, STATUS).recv(4096)
    for _ in range(2):
        lobby.visit(ELSEWHERE)
    assert lobby.visit(THIRD, STATUS).recv(4096).startswith(b"HTTP/1.1 200")
    half.settimeout(0.1)
    assert is_over(half), "at once, as the one that had asked for nothing"
    waits.setblocking(False)
    with pytest.raises(BlockingIOError):
        waits.recv(1)


@pytest.mark.parametrize("name", ["vmlinuz", "arm64/linux.efi"])
def test_a_download_that_moves_nothing_is_ended(lobby: Lobby, name: str) -> None:
    said = f"GET /boot/{TICKET}/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    lobby.visit(HERE, said, buffer=2048)
    _, stage, message, _ = lobby.rig.record()
    assert (stage, message) == ("http", f"{name}: the PC closed the connection")


def test_no_descriptors_left_is_told_once(lobby: Lobby, caplog: pytest.LogCaptureFixture) -> None:
    late = socket.socket()
    late.settimeout(PATIENCE)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        late.connect((str(LOCALHOST), lobby.rig.server.port))
        late.sendall(STATUS)
        time.sleep(1.5)  # two attempts
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with late:
        assert late.recv(4096).startswith(b"HTTP/1.1 200")
    (line,) = told(caplog)
    assert "Too many open files" in line


SECRET = b"5" * 64
URL = b"/boot/" + SECRET + b"/bios.ipxe"
BEACON = b"POST /beacon/" + SECRET + b"/x HTTP/1.1\r\nHost: x\r\n"
NOISE = {
    "lines end with LF": b"GET " + URL + b" HTTP/1.1\nHost: x\n\n",
    "a folded header": b"GET " + URL + b" HTTP/1.1\r\nHost: x\r\nUser-Agent: a\r\n b\r\n\r\n",
    "TLS": b"\x16\x03\x01\x00\x05hello",
    "SMB": b"\x00\x00\x00\x85\xffSMBr\x00\x00\x00\x00\x18S\xc8",
    "binary": bytes(range(256)),
    "a long line": b"GET " + URL + b"?" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n",
    "a long header": b"GET / HTTP/1.1\r\nX: " + SECRET * 150 + b"\r\n\r\n",
    "a bad header": b"GET / HTTP/1.1\r\nno colon " + SECRET + b"\r\n\r\n",
    "a bad URL": b"GET http://[::1/" + SECRET + b" HTTP/1.1\r\n\r\n",
    "a bad port": b"GET http://x:99999999" + URL + b" HTTP/1.1\r\n\r\n",
    "a bad method": b"G@T " + URL + b" HTTP/1.1\r\n\r\n",
    "a bad version": b"GET " + URL + b" HTTP/9\r\n\r\n",
    "a bad length": BEACON + b"Content-Length: abc\r\n\r\n",
    "bad chunks": BEACON + b"Transfer-Encoding: chunked\r\n\r\nzz" + SECRET + b"\r\n\r\n",
    "a bad chunk": BEACON + b"Transfer-Encoding: chunked\r\n\r\n2\r\nxx" + SECRET + b"\r\n\r\n",
    "a bad encoding": BEACON + b"Transfer-Encoding: gzip\r\n\r\nxx",
    "no gzip": BEACON + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nxxxxx",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a second request": STATUS + b"GET " + URL + b" HTTP/1.1\n\n",
}


@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE)
def test_noise_is_one_line_without_a_secret(
    lobby: Lobby, caplog: pytest.LogCaptureFixture, noise: bytes
) -> None:
    """boot 11: ten lines of a traceback with the seat's session, for each packet of a scanner."""
    for _ in range(3):
        visit = lobby.visit(HERE, noise)
        answer = b""
        while b" 400 " not in answer:
            answer = visit.recv(4096)
    lines = told(caplog)
    assert len(lines) <= 1, "aiohttp says nothing about a first request that is no HTTP"
    assert all(line.isprintable() and "malformed request of " in line for line in lines)
    assert "5555" not in caplog.text and "Traceback" not in caplog.text


def test_a_client_that_hangs_up_in_the_middle_is_no_news(
    lobby: Lobby, caplog: pytest.LogCaptureFixture
) -> None:
    lobby.visit(HERE, BEACON + b"Content-Length: 50\r\n\r\nxx").close()
    assert lobby.visit(HERE, STATUS).recv(4096).startswith(b"HTTP/1.1 200")
    assert told(caplog) == []


def test_a_segment_may_be_smaller_than_the_kernels(tmp_path: Path) -> None:
    room = FakeRoom(tmp_path)
    rig = Rig(room, HttpServer(room, port=0, segment=1456))
    with socket.create_connection((str(LOCALHOST), rig.server.port)) as usual:
        # Each side tells the other its own; Linux takes 12 bytes off for the time stamps.
        assert usual.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) <= 1456
    rig.close()


def test_malformed_requests_fill_no_log(lobby: Lobby, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(20):
        answer = lobby.visit(HERE, b"GET / HTTP/1.1\r\nbad\x1b header\r\n\r\n").recv(4096)
        assert answer.startswith((b"HTTP/1.0 400", b"HTTP/1.1 400"))
    (line,) = told(caplog)
    assert line.isprintable() and "malformed request of 127.0.0.1" in line
