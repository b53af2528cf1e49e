"""Login over HTTP: cookies, wrong passwords, delays, and what ends a session."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netboot.panel.login.sessions import Sessions
from netboot.panel.web.access import Visitor
from netboot.panel.web.app import create_app
from netboot.panel.web.models import LoginBody
from tests.panel.browser import Browser
from tests.panel.conftest import PASSWORD, Desk

ME = "/api/v1/me"
LOGIN = "/api/v1/login"


def test_a_login_gives_a_session_and_its_token(desk: Desk, closed_desk: Desk) -> None:
    browser = closed_desk.browser()
    assert browser.get(ME).json == {
        "name": "",
        "role": "anonymous",
        "csrf": "",
        "needs_login": True,
    }
    answer = browser.log_in("viktor", PASSWORD)
    assert answer.json == {
        "name": "viktor",
        "role": "viewer",
        "csrf": browser.csrf,
        "needs_login": False,
    }
    assert len(browser.csrf) == 32
    assert browser.get(ME).json == answer.json
    assert desk.browser().get(ME).json["needs_login"] is False


@pytest.mark.parametrize(
    ("scheme", "origin", "secure"),
    [("http", "http", False), ("https", "https", True), ("http", "https", True)],
)
def test_the_cookie_is_of_this_site_alone(
    desk: Desk, scheme: str, origin: str, secure: bool
) -> None:
    browser = desk.browser(scheme=scheme)
    body = {"name": "olga", "password": PASSWORD}
    answer = browser.post(LOGIN, body, origin=f"{origin}://{browser.host}")
    assert answer.status == 200
    cookie = answer.headers["set-cookie"].lower()  # the last one; both are made in one place
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "path=/" in cookie
    assert ("secure" in cookie) == secure
    assert len(browser.cookies["netboot_session"]) == 32


@pytest.mark.parametrize("name", ["olga", "nobody", "operator", "", "olga\0", "\ud800"])
def test_a_wrong_password_and_an_unknown_name_read_alike(desk: Desk, name: str) -> None:
    browser = desk.browser()
    answer = browser.log_in(name, "wrong")
    assert (answer.status, answer.detail[:29]) in (
        (401, "login: wrong name or password"),
        (422, answer.detail[:29]),
    )
    assert browser.cookies == {}


def test_wrong_passwords_delay_the_next_attempt(desk: Desk) -> None:
    browser = desk.browser()
    assert [browser.log_in("olga", "wrong").status for _ in range(4)] == [401, 401, 401, 429]
    answer = browser.log_in("olga", PASSWORD)
    assert (answer.status, answer.headers["retry-after"]) == (429, "2")
    assert answer.detail == "login: too many wrong passwords; wait 2 s"
    [noted] = desk.fakes.history.noted
    assert (noted.action, noted.by, noted.outcome) == ("login", "olga", "wrong passwords")
    desk.now += 1.5
    assert browser.log_in("olga", PASSWORD).status == 200


def test_the_operator_logs_in_while_a_stranger_guesses(desk: Desk) -> None:
    known = desk.logged_in(address="192.0.2.9")
    known.cookies.pop("netboot_session")
    for number in range(60):
        desk.browser(address=f"192.0.2.{100 + number}").log_in("olga", "wrong")
    assert desk.browser(address="192.0.2.8").log_in("olga", PASSWORD).status == 429
    assert known.log_in("olga", PASSWORD).status == 200
    assert desk.browser(address="127.0.0.1").log_in("olga", PASSWORD).status == 200
    assert desk.browser(address="192.0.2.8").log_in("viktor", PASSWORD).status == 200
    desk.now += 61
    assert desk.browser(address="192.0.2.8").log_in("olga", PASSWORD).status == 200


def test_browsers_behind_a_proxy_of_this_machine_are_told_apart(desk: Desk) -> None:
    proxy = "127.0.0.1"
    pupil, teacher = desk.browser(address=proxy), desk.browser(address=proxy)
    theirs = {"X-Forwarded-For": "127.0.0.1, 192.0.2.66"}
    guess = {"name": "olga", "password": "a guess of a pupil"}
    assert [pupil.post(LOGIN, guess, **theirs).status for _ in range(5)][-1] == 429
    body = {"name": "olga", "password": PASSWORD}
    assert pupil.post(LOGIN, body, **theirs).status == 429
    assert teacher.post(LOGIN, body, **{"X-Forwarded-For": "192.0.2.7"}).status == 200
    assert desk.fakes.history.noted[-1].address == "192.0.2.7"


@pytest.mark.parametrize(
    "headers",
    (
        {"X-Forwarded-For": "192.0.2.7"},
        {"X-Forwarded-For": "192.0.2.7, 127.0.0.1"},
        {"X-Forwarded-For": "::1"},
        {"X-Forwarded-For": ""},
        {"X-Forwarded-For": "<b>"},
        {"Forwarded": "for=192.0.2.7"},
        {"Via": "1.1 proxy"},
    ),
)
def test_what_is_for_this_machine_is_for_nobody_behind_its_proxy(
    closed_desk: Desk, headers: dict[str, str]
) -> None:
    here = closed_desk.browser(address="127.0.0.1")
    assert here.get("/metrics").status != 401
    assert here.get("/metrics", **headers).status == 401


def test_a_browser_in_the_lan_cannot_say_that_it_is_another_one(desk: Desk) -> None:
    browser = desk.browser()
    guess = {"name": "olga", "password": "a guess of a pupil"}
    told = ({"X-Forwarded-For": f"192.0.2.{number}"} for number in range(5))
    assert [browser.post(LOGIN, guess, **each).status for each in told][-1] == 429


def test_a_mark_of_a_known_browser_is_of_one_account(desk: Desk) -> None:
    browser = desk.logged_in("viktor")
    for _ in range(3):
        browser.log_in("olga", "wrong")
    assert browser.log_in("olga", PASSWORD).status == 429
    assert browser.log_in("viktor", PASSWORD).status == 200


def test_logout_ends_the_session_and_needs_the_token(desk: Desk) -> None:
    browser = desk.logged_in()
    cookies = dict(browser.cookies)
    assert browser.post("/api/v1/logout", x_csrf_token="").status == 403
    answer = browser.post("/api/v1/logout")
    assert answer.json["role"] == "anonymous"
    assert "netboot_session" not in browser.cookies
    assert desk.browser(cookies=cookies).get(ME).json["name"] == ""
    assert desk.browser().post("/api/v1/logout").status == 200


def test_another_password_a_deletion_and_idleness_end_a_session(desk: Desk) -> None:
    first, second, third = desk.logged_in(), desk.logged_in("viktor"), desk.logged_in()
    desk.accounts.set_role("viktor", "operator")
    assert second.get(ME).json["role"] == "operator"
    desk.accounts.delete("viktor")
    assert second.get(ME).json["name"] == ""
    assert first.get(ME).json["name"] == "olga"
    desk.now += 8 * 3600
    assert first.get(ME).json["name"] == "olga"
    desk.now += 2
    assert third.get(ME).json["name"] == ""
    desk.accounts.set_password("olga", PASSWORD)
    assert first.get(ME).json["name"] == ""


def test_a_restart_of_the_panel_ends_no_session_but_of_other_passwords(
    desk: Desk, tmp_path: Path
) -> None:
    def started() -> Callable[..., Browser]:
        kept = Sessions(tmp_path / "sessions.json")
        kept.load(time.monotonic())
        app = create_app(desk.fakes.ports, desk.accounts, sessions=kept)
        return lambda **more: Browser(app, **more)

    browsers = started()
    olga, viktor = browsers(), browsers()
    assert olga.log_in("olga", PASSWORD).status == viktor.log_in("viktor", PASSWORD).status == 200
    desk.accounts.set_password("viktor", PASSWORD)
    browsers = started()
    again = browsers(cookies=dict(olga.cookies), csrf=olga.csrf)
    assert again.get(ME).json["name"] == "olga"
    assert again.ask("PUT", "/api/v1/plan", {"rows": []}).status == 200
    assert browsers(cookies=dict(viktor.cookies)).get(ME).json["name"] == ""
    again.post("/api/v1/logout")
    assert started()(cookies=dict(olga.cookies)).get(ME).json["name"] == ""


def test_a_login_replaces_the_session_of_the_browser(desk: Desk) -> None:
    browser = desk.logged_in()
    old = dict(browser.cookies)
    browser.log_in("viktor", PASSWORD)
    assert desk.browser(cookies=old).get(ME).json["name"] == ""
    planted = desk.browser(cookies={"netboot_session": "0" * 32})
    planted.log_in("olga", PASSWORD)
    assert planted.cookies["netboot_session"] != "0" * 32


def test_a_damaged_file_of_accounts_lets_nobody_in_and_shows_the_room(desk: Desk) -> None:
    browser = desk.logged_in()
    desk.accounts.path.write_text("{")
    assert desk.browser().get("/api/v1/room").status == 200
    answer = desk.browser().log_in("olga", PASSWORD)
    assert answer.status == 503
    assert "damaged" in answer.detail
    assert (
        browser.post("/api/v1/orders", {"order": "wake", "seats": ["52:54:00:00:00:01"]}).status
        == 503
    )


def test_too_many_checks_at_a_time_are_refused_and_are_no_failure(desk: Desk) -> None:
    desk.panel.checks["192.0.2.50"] = 4
    assert [desk.browser().log_in("olga", PASSWORD).status for _ in range(5)] == [503] * 5
    assert desk.browser(address="192.0.2.51").log_in("olga", PASSWORD).status == 200
    del desk.panel.checks["192.0.2.50"]
    assert desk.browser().log_in("olga", PASSWORD).status == 200


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"name=olga&password=x", "application/x-www-form-urlencoded", 422),
        (b'{"name":"olga","password":"x"}', "text/plain", 422),
        (b"", "application/json", 422),
        (b"{", "application/json", 422),
        (b"\xff\xfe", "application/json", 422),
        (b"[" * 100000, "application/json", 400),
        (b'{"name":' + b"9" * 5000 + b"}", "application/json", 400),
        (b'"' + b"x" * (300 << 10) + b'"', "application/json", 413),
    ],
)
def test_a_strange_body_is_one_line(desk: Desk, body: bytes, kind: str, status: int) -> None:
    answer = desk.browser().ask("POST", LOGIN, body, content_type=kind)
    assert answer.status == status
    assert len(answer.detail) < 300


def test_no_password_is_told_or_logged(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    for name, password in (("olga", "hunter2" * 99), ("olga", "hunter2"), ("\ud800", "hunter2")):
        answer = desk.browser().log_in(name, password)
        assert b"hunter2" not in answer.body
    assert "hunter2" not in caplog.text
    assert "hunter2" not in repr(LoginBody(name="olga", password="hunter2"))
    session = desk.logged_in().cookies["netboot_session"]
    assert session not in caplog.text + repr(desk.panel) + repr(Visitor(session=session))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda each: st.lists(each, max_size=4) | st.dictionaries(st.text(), each, max_size=4),
    max_leaves=8,
)
BODIES = (
    st.binary(max_size=200)
    | JSON_VALUES.map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries({"name": JSON_VALUES, "password": JSON_VALUES}).map(
        lambda value: json.dumps(value).encode()
    )
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BODIES)
def test_no_body_logs_in_or_breaks_the_panel(desk: Desk, body: bytes) -> None:
    desk.now += 4000
    answer = desk.browser().ask("POST", LOGIN, body)
    assert answer.status in (400, 401, 422)
    assert len(answer.detail) < 1000
    assert answer.cookies == {}
