"""The client of a running server's status and orders."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from netboot.boot import ticket
from netboot.errors import OperatorError
from netboot.serve.http import server as http_server
from netboot.serve.http.status import (
    MOST_BYTES,
    fetch_histories,
    fetch_history,
    fetch_status,
    give_order,
    is_there,
)
from tests.serve.http.test_server import MAC, FakeRoom, Rig

SECRET = b"s" * 32
HOSTILE = "\x1b]0;x\x07\u202eab\ncd"
SHOWN = "?]0;x??ab?cd"
EVENT = {
    "when": 1.0,
    "seat": MAC,
    "stage": HOSTILE,
    "message": HOSTILE,
    "data": {HOSTILE: [HOSTILE]},
}
SEAT: dict[str, Any] = {"mac": MAC, "hostname": HOSTILE, "events": [EVENT]}


@contextmanager
def server(answer: bytes, status: int = 200) -> Iterator[str]:
    """Run a server that gives one answer to everybody."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status, "odd\x1b")
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{httpd.server_port}"
        finally:
            httpd.shutdown()
            thread.join()


def test_text_of_another_server_moves_no_cursor() -> None:
    with server(json.dumps(SEAT | {"seats": [SEAT], "left_out": HOSTILE}).encode()) as address:
        for report in (fetch_status(address), fetch_histories(address)):
            (seat,) = report["seats"]
            (event,) = seat["events"]
            assert (seat["mac"], seat["hostname"], report["left_out"]) == (MAC, SHOWN, SHOWN)
            assert (event["stage"], event["message"], event["data"]) == (
                *(SHOWN, SHOWN),
                {SHOWN: [SHOWN]},
            )
    with server(HOSTILE.encode(), 403) as address:
        assert give_order(address, "key", MAC, "reboot") == SHOWN
    with server(b"", 500) as address, pytest.raises(OperatorError) as raised:
        fetch_status(address)
    assert "\x1b" not in str(raised.value)


@pytest.mark.parametrize(
    "answer",
    [
        *(b"", b"[]", b"{}", b'{"seats": 5}', b'{"seats": [5]}', b"[" * 100_000),
        b" " * (MOST_BYTES + 1),
        *(
            json.dumps({"seats": [seat]}).encode()
            for seat in (
                {},
                SEAT | {"mac": "/../x y"},
                SEAT | {"mac": 5},
                SEAT | {"events": []},
                SEAT | {"events": [EVENT | {"when": "now"}]},
                SEAT | {"events": [EVENT | {"when": 1e300}]},
                SEAT | {"events": [EVENT | {"when": float("nan")}]},
            )
        ),
    ],
    ids=lambda answer: str(answer[:60]),
)
def test_an_answer_of_another_shape_is_none(answer: bytes) -> None:
    with server(answer) as address, pytest.raises(OperatorError, match="no netboot server answers"):
        fetch_status(address)


def test_a_server_that_is_away_is_named_without_the_library_s_words() -> None:
    expected = "^no netboot server answers at 127.0.0.1:1: Connection refused$"
    with pytest.raises(OperatorError, match=expected):
        fetch_status("127.0.0.1:1")
    with pytest.raises(OperatorError, match=expected):
        give_order("127.0.0.1:1", "key", "52:54:00:12:34:56", "reboot")


class KeyedRoom(FakeRoom):
    """A room whose clock is ``late`` seconds behind ours."""

    late = 0.0

    def status(self, cpu_seconds: float) -> str:
        return json.dumps({"seats": [SEAT], "cpu_seconds": cpu_seconds})

    def history(self, mac: str) -> str | None:
        return json.dumps(SEAT) if mac == MAC else None

    def order_refusal(self, key: str, order: str, mac: str) -> str:
        return ticket.order_refusal(SECRET, key, order, mac, time.time() - self.late)


def test_another_machine_needs_the_secret_to_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = KeyedRoom(tmp_path)
    rig = Rig(room)
    try:
        monkeypatch.setattr(http_server, "_own_address", lambda request: None)
        monkeypatch.setattr(http_server, "LOOPBACK", None)
        there = f"127.0.0.1:{rig.server.port}"
        assert is_there(there) and not is_there("127.0.0.1:1")
        calls: tuple[Callable[[bytes], object], ...] = (
            lambda secret: fetch_status(there, secret),
            lambda secret: fetch_history(there, MAC, secret),
        )
        for call in calls:
            assert call(SECRET)
            with pytest.raises(OperatorError, match="or with its secret") as refused:
                call(b"")
            assert "--state FOLDER" in refused.value.hint
            with pytest.raises(OperatorError, match="does not tell its seats: wrong key"):
                call(b"o" * 32)
        assert fetch_history(there, "none", SECRET) is None
        room.late = 100.0
        with pytest.raises(OperatorError, match="set the clocks of both"):
            fetch_histories(there, SECRET)
    finally:
        rig.close()
