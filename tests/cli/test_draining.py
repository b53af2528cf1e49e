"""``netboot pages drain`` against a played server."""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from netboot.cli import draining
from netboot.errors import OperatorError

KEY = "0123456789abcdef" * 4


def progress(**figures: Any) -> dict[str, Any]:
    zero = {"since": 0.0, "by": "", "left": 0, "moves": 0, "moved": 0, "copying": 0}
    return {"drained": True} | zero | figures


class Server:
    """A server whose drain goes through ``steps``; a step of None is no answer."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any] | None] = []
        self.orders: list[dict[str, list[str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                step = outer.steps.pop(0) if len(outer.steps) > 1 else outer.steps[0]
                status = 200 if self.headers["Authorization"] == f"Bearer {KEY}" else 403
                body = json.dumps(step).encode() if status == 200 else b"wrong key\n"
                if step is None:
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                assert self.path == "/feed/drain"
                self._answer()

            def do_POST(self) -> None:
                outer.orders.append(parse_qs(urlsplit(self.path).query))
                self._answer()

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.address = f"127.0.0.1:{self.http.server_port}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(draining, "SECOND", 0.01)
    monkeypatch.setenv("SUDO_USER", "anna")
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "panel.key"
    path.write_text(f"{KEY}\n")
    path.chmod(0o640)
    return path


def test_it_waits_until_the_server_is_empty(
    server: Server, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.steps = [
        progress(left=2, moves=2),
        progress(left=2, moves=2),
        None,
        progress(left=1, moves=1, moved=1, copying=1),
        progress(moved=2, copying=2),
    ]
    draining.drain(server.address, key, wait=True, as_json=False)
    assert server.orders == [{"do": ["drain"], "by": ["anna"]}]
    assert [line.partition(": ")[2] for line in capsys.readouterr().out.splitlines()] == [
        "2 areas left, which move to other servers",
        "1 area left, which move to other servers; 1 moved, 1 of them being copied",
        "empty: no PC has pages here; 2 moved, 2 of them being copied",
    ]


def test_as_json_each_change_is_a_line(
    server: Server, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.steps = [progress(left=1), progress(left=1), progress()]
    draining.drain(server.address, key, wait=True, as_json=True)
    found = [json.loads(line)["left"] for line in capsys.readouterr().out.splitlines()]
    assert found == [1, 0]


def test_areas_of_other_layouts_leave_at_the_next_boot(
    server: Server, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.steps = [progress(left=7)]
    draining.drain(server.address, key, wait=False, as_json=False)
    assert "7 areas left, until the PCs boot again\n" in capsys.readouterr().out
    server.steps = [progress(left=1, stays="a mirror over 2 servers has no further one")]
    draining.drain(server.address, key, wait=False, as_json=False)
    told = capsys.readouterr().out
    assert "1 area left, until the PCs boot again: a mirror over 2 servers has no further" in told


def test_an_interrupt_ends_the_waiting_alone_and_says_so(
    server: Server,
    key: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    server.steps = [progress(left=7)]
    monkeypatch.setattr(time, "sleep", interrupt)
    with pytest.raises(SystemExit) as ended:
        draining.drain(server.address, key, wait=True, as_json=False)
    assert ended.value.code == 130 and len(server.orders) == 1
    assert f"netboot pages undrain {server.address}" in capsys.readouterr().err


def test_a_drain_that_somebody_ends_is_told(server: Server, key: Path) -> None:
    server.steps = [progress(left=7), progress(left=7, drained=False)]
    with pytest.raises(OperatorError, match="somebody has ended the drain"):
        draining.drain(server.address, key, wait=True, as_json=False)


def test_undrain_is_one_request(
    server: Server, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.steps = [progress(drained=False, left=3)]
    draining.undrain(server.address, key, as_json=False)
    assert server.orders == [{"do": ["undrain"], "by": ["anna"]}]
    assert capsys.readouterr().out == f"{server.address}: takes swap; PCs use 3 areas\n"


def test_a_wrong_key_is_told(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("f" * 64)
    path.chmod(0o600)
    server.steps = [progress()]
    with pytest.raises(OperatorError, match="wrong key"):
        draining.drain(server.address, path, wait=True, as_json=False)


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("a b", "SERVER: expected HOST or HOST:PORT, found 'a b'"),
        ("10.0.0.3:x", "SERVER: expected HOST or HOST:PORT, found '10.0.0.3:x'"),
        ("nonsense.invalid", "SERVER: no machine has the name 'nonsense.invalid'"),
    ],
)
def test_a_bad_address_is_told_before_a_missing_key(
    tmp_path: Path, address: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    for order in (draining.drain, draining.undrain):
        with pytest.raises(OperatorError, match=re.escape(problem)):
            order(address, tmp_path / "missing", as_json=False)
