"""The web server's own limits, over real sockets on loopback."""

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netboot.errors import OperatorError
from netboot.panel.web import server
from netboot.panel.web.guard import HEADERS
from tests.panel.conftest import Desk
from tests.panel.serving import PATIENCE, serving, unread

GET = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.fixture
def port(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A panel with short patience."""
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.5)
    monkeypatch.setattr(server, "ANSWER_SECONDS", 0.5)
    with serving(desk.browser().app) as (found, _):
        yield found


def _connected(port: int, sent: bytes = b"") -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    sock.sendall(sent)
    return sock


def _is_answered(sock: socket.socket) -> bool:
    """Read a whole answer to GET; return whether it is a good one."""
    data = b""
    while not data.endswith(b"}]}"):
        if not (part := sock.recv(4096)):
            return False
        data += part
    return b" 200 OK" in data


def _is_held(sock: socket.socket) -> bool:
    """Return whether the server still has its end open. An end that the kernel alone has has no inode."""
    ports = [sock.getpeername()[1], sock.getsockname()[1]]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if [int(each.partition(":")[2], 16) for each in fields[1:3]] == ports:
            return fields[9] != "0"
    return False


def _is_hung_up_on(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /hea",
        GET[:-2],
        b"POST /api/v1/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n{",
    ],
)
def test_a_request_that_does_not_end_is_hung_up_on(port: int, sent: bytes) -> None:
    begin = time.monotonic()
    with _connected(port, sent) as sock:
        assert _is_hung_up_on(sock)
    assert time.monotonic() - begin > 0.3


def test_a_browser_may_send_further_requests_on_a_connection(port: int) -> None:
    with _connected(port) as sock:
        for pause in (0.2, 0.8, 0.0):  # the second one is longer than a request may last
            sock.sendall(GET)
            assert _is_answered(sock)
            time.sleep(pause)


def test_a_second_request_must_end_as_well(port: int) -> None:
    with _connected(port, GET) as sock:
        assert _is_answered(sock)
        sock.sendall(b"GET /hea")
        assert _is_hung_up_on(sock)


def test_an_answer_that_nobody_takes_is_dropped(port: int, desk: Desk) -> None:
    desk.fakes.room.change(next(iter(desk.fakes.room.seats)), message="x" * 8_000_000)
    with unread(port, "/api/v1/room") as sock:
        end = time.monotonic() + PATIENCE
        for is_held in (True, False):  # at first the kernel alone has it
            while _is_held(sock) != is_held:
                assert time.monotonic() < end
                time.sleep(0.01)
        taken = 0
        try:
            while data := sock.recv(1 << 20):
                taken += len(data)
        except ConnectionResetError:
            pass
        assert taken < 8_000_000


def test_an_address_has_a_limit_of_connections(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REQUEST_SECONDS", PATIENCE)
    monkeypatch.setattr(server, "MOST_OF_ADDRESS", 8)
    socks = [_connected(port) for _ in range(8)]
    for sock in socks:
        sock.sendall(GET)
        assert _is_answered(sock)
    with _connected(port) as late:
        assert _is_hung_up_on(late)
    socks.pop().close()
    while True:  # until the server has noticed that end
        with _connected(port, GET) as next_one, contextlib.suppress(ConnectionError):
            if _is_answered(next_one):
                break
    for sock in socks:
        sock.close()


def test_over_the_total_the_address_with_the_most_loses_one(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "REQUEST_SECONDS", PATIENCE)
    monkeypatch.setattr(server, "MOST", 6)
    socks = [_connected(port) for _ in range(6)]
    for sock in socks:
        sock.sendall(GET)
        assert _is_answered(sock)
    with socket.create_connection(
        ("127.0.0.1", port), timeout=PATIENCE, source_address=("127.0.0.9", 0)
    ) as other:
        other.sendall(GET)
        assert _is_answered(other)
        assert _is_hung_up_on(socks[0])
        with _connected(port) as late:
            assert _is_hung_up_on(late) or _is_hung_up_on(socks[1])
    for sock in socks:
        sock.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),  # TLS
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /" + b"x" * 70000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 70000,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"\r\n" * 10000,
    ],
)
def test_what_is_no_request_is_answered_or_hung_up_on(port: int, sent: bytes) -> None:
    with _connected(port) as sock:
        try:
            sock.sendall(sent)
            data = sock.recv(4096)
        except ConnectionError:
            data = b""
        assert data == b"" or b" 400 " in data or b" 421 " in data
    with _connected(port, GET) as sock:
        assert _is_answered(sock)


def test_what_is_no_request_is_refused_with_the_headers_of_all_answers(port: int) -> None:
    with _connected(port, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n") as sock:
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        assert answer.status == 400
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        assert answer.headers["Cache-Control"] == "no-store"
        assert json.load(answer)["detail"].startswith("request: expected HTTP/1.1")


def test_no_version_of_a_library_is_told(port: int) -> None:
    with _connected(port, GET) as sock:
        assert b"uvicorn" not in sock.recv(4096).lower()


def test_a_port_in_use_is_a_mistake_of_the_operator() -> None:
    with server.listen("127.0.0.1", 0) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(
            OperatorError, match=f"panel: cannot listen at 127.0.0.1, port {number}"
        ):
            server.listen("127.0.0.1", number)
        assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30000
