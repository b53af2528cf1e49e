"""Requests of other sites, headers of security, and the files of the page."""

import re
import socket
from pathlib import Path

import pytest

from netboot.panel.web import files
from netboot.panel.web.guard import HEADERS, MOST_BYTES, TOO_LARGE
from tests.panel.browser import HOST
from tests.panel.conftest import PASSWORD, Desk, make_desk

ROOM = "/api/v1/room"
OWN = f"http://{HOST}"


@pytest.mark.parametrize(
    "host",
    [
        *("192.0.2.1", "192.0.2.1:8081", "[2001:db8::1]:8081", "[::1]", "127.0.0.1:1"),
        *("localhost", "LOCALHOST:8081", "localhost.", socket.gethostname()),
        *(f"{socket.gethostname().partition('.')[0]}.local", "panel.school.example:8081"),
    ],
)
def test_the_panel_answers_by_address_and_by_its_own_names(tmp_path: Path, host: str) -> None:
    desk = make_desk(tmp_path / "state", names=["Panel.school.example"])
    assert desk.browser(host=host).get(ROOM).status == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8081", "192.0.2.1.evil.example", "localhost.evil.example"),
        *(
            "",
            ":8081",
            "olga@localhost",
            "localhost/x",
            "localhost:x",
            "[::1",
            "192.0.2.1?x",
            "0x7f.1",
        ),
    ],
)
def test_a_name_that_was_rebound_is_refused(desk: Desk, host: str) -> None:
    for path in (ROOM, "/", "/health", "/metrics"):
        answer = desk.browser(host=host).get(path)
        assert answer.status == 421
        assert "is not a name of this panel" in answer.detail


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://192.0.2.1:8080"},
        {"origin": f"file://{HOST}"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
def test_a_change_from_another_site_is_refused(desk: Desk, headers: dict[str, str]) -> None:
    browser = desk.logged_in()
    order = {"order": "wake", "seats": ["52:54:00:00:00:01"]}
    answer = browser.post("/api/v1/orders", order, **headers)
    assert answer.status == 403
    assert answer.detail.startswith("a page of another site sent this change")
    stranger = desk.browser()
    body = {"name": "olga", "password": PASSWORD}
    assert stranger.post("/api/v1/login", body, **headers).status == 403
    assert desk.fakes.orders.sent == []
    assert browser.get(ROOM, **headers).status == 200  # and the other site cannot read it


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": OWN},
        {"sec_fetch_site": "same-origin"},
        {"origin": OWN.upper().replace("HTTP", "http")},
    ],
)
def test_a_change_from_the_own_page_is_taken(desk: Desk, headers: dict[str, str]) -> None:
    order = {"order": "wake", "seats": ["52:54:00:00:00:01"]}
    assert desk.logged_in().post("/api/v1/orders", order, **headers).status == 200


@pytest.mark.parametrize(
    "path", [ROOM, "/", "/docs", "/openapi.json", "/nothing", "/static/docs.js", "/health"]
)
def test_each_answer_has_the_headers_of_security(desk: Desk, path: str) -> None:
    headers = desk.browser().get(path).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'self'; ")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers
    own = path in ("/", "/docs") or path.startswith("/static")
    if headers["content-type"] != "application/json" or not own:
        assert headers["cache-control"] == ("no-cache" if own else "no-store")


LONG = b'"' + b"x" * MOST_BYTES + b'"'


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/api/v1/login", LONG, {}, 413),  # as from a browser that sends in pieces
        ("/api/v1/login", b"", {"content_length": str(MOST_BYTES + 1)}, 413),
        ("/api/v1/login", b"", {"content_length": "9" * 999}, 413),
        ("/nothing", b"", {"content_length": str(MOST_BYTES + 1)}, 413),
        ("/api/v1/login", b"{", {}, 422),
        ("/api/v1/login", b"{}", {"origin": "null"}, 403),
        ("/api/v1/login", b"{}", {"host": "evil.example"}, 421),
    ],
)
def test_a_refusal_has_the_headers_of_all_answers(
    desk: Desk, path: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = desk.browser().ask("POST", path, body, **headers)
    assert answer.status == status
    assert {name: answer.headers.get(name.lower()) for name in HEADERS} == HEADERS
    assert answer.headers["cache-control"] == "no-store"
    assert answer.detail
    if status == 413:
        assert answer.detail == TOO_LARGE


def test_a_file_is_packed_and_sent_once(desk: Desk) -> None:
    browser = desk.browser()
    plain = browser.get("/static/docs.js")
    packed = browser.get("/static/docs.js", accept_encoding="gzip, br")
    assert (packed.headers["content-encoding"], packed.body) == ("gzip", plain.body)
    assert packed.headers["vary"] == "Accept-Encoding"
    assert packed.headers["etag"] != plain.headers["etag"]
    for tag in (plain.headers["etag"], f'"x", W/{plain.headers["etag"]}', "*"):
        answer = browser.get("/static/docs.js", if_none_match=tag)
        assert (answer.status, answer.body) == (304, b"")
    other = browser.get("/static/docs.js", if_none_match='"x"')
    assert other.status == 200
    assert browser.get("/static/docs.js", accept_encoding="gzip;q=0").body == plain.body


def test_a_long_answer_of_the_api_is_packed(desk: Desk) -> None:
    browser = desk.browser()
    answer = browser.get(ROOM, accept_encoding="gzip")
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.json == browser.get(ROOM).json


@pytest.mark.parametrize(
    "path",
    [
        *("/static/../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/static/"),
        *("/static/%2e%2e%2fapp.py", "/static/docs.js%00", "/static/docs.js/", "/static/./docs.js"),
    ],
)
def test_no_path_leaves_the_folder_of_the_page(desk: Desk, path: str) -> None:
    assert desk.browser().get(path).status == 404


def test_no_file_of_the_description_names_an_address_outside() -> None:
    for name in ("docs.html", "docs.css", "docs.js"):
        text = (files.FOLDER / name).read_text()
        assert re.findall(r"https?:|//[a-z]|url\(|@import|innerHTML|style=", text) == [], name
