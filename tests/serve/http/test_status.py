"""The client of a running server's status and orders."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from netboot.boot import ticket
from netboot.errors import OperatorError
from netboot.serve.http import server as http_server
from netboot.serve.http.status import (
    fetch_histories,
    fetch_history,
    fetch_status,
    give_order,
    is_there,
)
from tests.serve.http.test_server import MAC, FakeRoom, Rig

SECRET = b"s" * 32


def test_a_server_that_is_away_is_named_without_the_library_s_words() -> None:
    expected = "^no netboot server answers at 127.0.0.1:1: Connection refused$"
    with pytest.raises(OperatorError, match=expected):
        fetch_status("127.0.0.1:1")
    with pytest.raises(OperatorError, match=expected):
        give_order("127.0.0.1:1", "key", "52:54:00:12:34:56", "reboot")


class KeyedRoom(FakeRoom):
    """A room whose clock is ``late`` seconds behind ours."""

    late = 0.0

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
