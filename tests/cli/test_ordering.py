"""``netboot order``: each order reaches the feed of the server, or is refused in one line."""

import json
from pathlib import Path
from typing import Any

import pytest

from netboot.cli.ordering import order
from netboot.errors import Exit, OperatorError
from tests.panel.feeding import a_room, fed_beside, mac_of

ONE, TWO = mac_of(1), mac_of(2)


def ordered(*words: Any, **options: Any) -> int:
    with pytest.raises(SystemExit) as ended:
        order(*words, **options)
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.parametrize(
    ("what", "options"),
    [
        ("identify", {}),
        ("wake", {}),
        ("end-lease", {}),
        ("message", {"text": "Ten minutes left"}),
        ("image", {"image": "desktop"}),
        ("loader", {"loader": "native"}),
        ("entry", {"text": "local"}),
    ],
)
def test_each_order_is_given_by_the_feed(
    what: str, options: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "anna")
    with fed_beside(tmp_path / "feed.sock", *a_room(3, 1000.0)) as server:
        assert ordered(what, [ONE, TWO], state=tmp_path, **options) == 0
        given = {"order": what, "seats": [ONE, TWO], "by": "anna", **options}
        assert server.orders == [given]


def test_reboot_and_poweroff_go_by_a_key_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_bytes(bytes(range(32)))
    (tmp_path / "secret").chmod(0o600)
    asked: list[tuple[str, ...]] = []

    def give(server: str, _: str, mac: str, what: str) -> str:
        asked.append((server, mac, what))
        return ""

    monkeypatch.setattr("netboot.serve.http.status.give_order", give)
    with fed_beside(tmp_path / "feed.sock", *a_room(3, 1000.0)) as server:
        assert ordered("poweroff", [ONE], state=tmp_path) == 0
        assert server.orders == []
    assert asked == [("127.0.0.1:8080", ONE, "poweroff")]


def test_a_refusal_is_told_for_its_seat(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with fed_beside(tmp_path / "feed.sock", *a_room(3, 1000.0)) as server:
        server.refusals = {TWO: "its swap is in use"}
        assert ordered("end-lease", [ONE, TWO], state=tmp_path) == 1
        assert capsys.readouterr().out == f"{ONE}  told\n{TWO}  its swap is in use\n"
        assert ordered("end-lease", [ONE, TWO], state=tmp_path, as_json=True) == 1
        assert json.loads(capsys.readouterr().out) == {ONE: "", TWO: "its swap is in use"}


@pytest.mark.parametrize(
    ("what", "options", "complaint"),
    [
        ("message", {}, "order message: expected --text"),
        ("image", {}, "order image: expected --image"),
        ("reboot", {"text": "now"}, "order reboot: takes no --text"),
        ("image", {"image": "a", "loader": "ipxe"}, "order image: takes no --loader"),
        ("shutdown", {}, "order: expected reboot, poweroff, "),
        (
            "identify",
            {},
            "order identify: no netboot server runs on this machine: no feed.sock in ",
        ),
        (
            "wake",
            {"server": "10.0.0.5:8080"},
            "order wake: a server is told it on its own machine alone, found --server 10.0.0.5:8080",
        ),
    ],
)
def test_a_mistake_is_one_line(
    what: str, options: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(OperatorError) as error:
        order(what, [ONE], state=tmp_path, **options)
    assert str(error.value).startswith(complaint)


def test_a_socket_that_nobody_serves_is_told(tmp_path: Path) -> None:
    (tmp_path / "feed.sock").touch()
    with pytest.raises(OperatorError) as error:
        order("wake", [ONE], state=tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'feed.sock'}: ")
    assert error.value.hint.startswith("does 'netboot serve' run?")


def test_a_server_that_refuses_has_answered(tmp_path: Path) -> None:
    with fed_beside(tmp_path / "feed.sock", *a_room(3, 1000.0)) as server:
        server.status = 503
        with pytest.raises(OperatorError, match="the server refused: busy: come later") as error:
            order("wake", [ONE], state=tmp_path)
    assert error.value.exit == Exit.USAGE
