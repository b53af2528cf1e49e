"""Each route of the API: its answer, and who may ask."""

import json
from typing import Any

import pytest

from netboot.feed.records import ServerRow
from netboot.panel.records import RoomEvent, RoomServer, Schedule
from netboot.serve.feed import acting
from netboot.serve.feed.acting import parse_order
from tests.panel.conftest import Desk
from tests.panel.fakes import MACS, XSS

MAC = MACS[0]
GETS = (
    *("/api/v1/room", f"/api/v1/seats/{MAC}", f"/api/v1/seats/{MAC}/samples"),
    *(f"/api/v1/seats/{MAC}/boots", "/api/v1/boot", "/api/v1/servers/first/samples"),
    *("/api/v1/troubles", "/api/v1/inventory", "/api/v1/plan", "/api/v1/schedules"),
)
REBOOT = {"order": "reboot", "seats": [MAC]}
CHANGES: tuple[tuple[str, str, Any], ...] = (
    ("POST", "/api/v1/orders", REBOOT),
    ("POST", "/api/v1/troubles/7/acknowledge", {}),
    ("PUT", "/api/v1/plan", {"rows": [["pc-01"]]}),
    ("POST", "/api/v1/schedules", {"order": "poweroff", "at": "17:00"}),
    ("DELETE", "/api/v1/schedules/1", None),
)


def test_the_room_has_servers_plan_and_seats(desk: Desk) -> None:
    answer = desk.browser().get("/api/v1/room").json
    assert (answer["server_time"], answer["number"]) == (1000.0, 100)
    assert answer["plan"] == [["pc-01", "", "pc-02"]]
    assert [each["name"] for each in answer["servers"]] == ["first"]
    assert {"cpu", "version", "connected", "started"} <= set(answer["servers"][0])
    assert [each["mac"] for each in answer["seats"]] == list(MACS)
    assert answer["seats"][0]["server"] == "first"


def test_the_room_is_made_once_for_all_browsers_until_it_changes(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert desk.browser().get("/api/v1/room").json["server_time"] == 1000.0
    desk.now = 1001.5
    monkeypatch.setattr(desk.fakes.room, "view", None)
    assert desk.browser().get("/api/v1/room").json["server_time"] == 1001.5
    monkeypatch.undo()
    desk.fakes.room.change(MAC, stage="swap")
    answer = desk.browser().get("/api/v1/room").json
    assert (answer["number"], answer["seats"][0]["stage"]) == (101, "swap")
    assert list(answer) == ["server_time", "number", "servers", "plan", "seats"]


def test_a_seat_has_its_events_and_boots(desk: Desk) -> None:
    desk.fakes.room.told = [RoomEvent(1, 2.0, MAC, "swap", "attached", {"x": 1}, "first")]
    answer = desk.browser().get(f"/api/v1/seats/{MAC.upper()}").json
    assert answer["seat"]["mac"] == MAC
    assert answer["events"][0]["data"] == {"x": 1}
    assert answer["boots"][0]["outcome"] == "running"
    assert ("boots", MAC, 3) in desk.fakes.history.asked


def test_an_unknown_seat_is_404(desk: Desk) -> None:
    answer = desk.browser().get("/api/v1/seats/52:54:00:00:00:99")
    assert answer.status == 404
    assert answer.detail.startswith("no seat '52:54:00:00:00:99': ")


def test_samples_are_of_the_last_hour_without_times(desk: Desk) -> None:
    desk.now = 10000.0
    answer = desk.browser().get(f"/api/v1/seats/{MAC}/samples?points=10").json
    assert answer == {"columns": ["when", "load"], "rows": [[6400.0, 0.5], [10000.0, None]]}
    assert desk.browser().get("/api/v1/servers/first/samples?since=5&until=9").status == 200
    assert desk.fakes.history.asked[-1] == ("server_samples", "first", 5.0, 9.0, 300)


def test_samples_of_no_time_or_no_server_are_refused(desk: Desk) -> None:
    browser = desk.browser()
    answer = browser.get(f"/api/v1/seats/{MAC}/samples?since=9&until=5")
    assert (answer.status, answer.detail) == (
        422,
        "query 'since': expected at most 'until', 5, found 9",
    )
    answer = browser.get("/api/v1/servers/second/samples")
    assert (answer.status, answer.detail) == (404, "no server 'second': expected one of first")
    assert browser.get(f"/api/v1/seats/{MAC}/samples?since=nan").status == 422


def test_the_boot_of_the_room_and_the_inventory(desk: Desk) -> None:
    boot = desk.browser().get("/api/v1/boot").json
    assert (boot["seats"], boot["done"], boot["slowest"][0]["mac"]) == (3, 2, MAC)
    assert desk.browser().get("/api/v1/inventory").json[0]["mac"] == MAC


def test_a_trouble_is_acknowledged_by_name(desk: Desk) -> None:
    browser = desk.logged_in()
    assert [each["id"] for each in browser.get("/api/v1/troubles").json] == [7]
    answer = browser.post("/api/v1/troubles/7/acknowledge")
    assert answer.json["acknowledged_by"] == "olga"
    assert browser.get("/api/v1/troubles").json == []
    assert len(browser.get("/api/v1/troubles?all=true").json) == 1
    assert browser.post("/api/v1/troubles/8/acknowledge").status == 404


def test_an_order_tells_each_seats_refusal(desk: Desk) -> None:
    body = {"order": "message", "text": " break\n\tnow\n", "seats": [MAC.upper(), MAC, MACS[2]]}
    answer = desk.logged_in().post("/api/v1/orders", body)
    assert answer.json == {"results": {MAC: "", MACS[2]: "it is off"}}
    [order] = desk.fakes.orders.sent
    assert (order.order, order.text, order.by, order.seats) == (
        *("message", "break now", "olga"),
        (MAC, MACS[2]),
    )


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"order": "explode", "seats": [MAC]}, "body 'order': expected 'reboot', 'poweroff'"),
        ({"order": "reboot"}, "body 'seats': missing"),
        ({"order": "reboot", "seats": []}, "body 'seats': "),
        ({"order": "reboot", "seats": ["pc-01"]}, "body 'seats.0': expected to match pattern"),
        ({"order": "message", "seats": [MAC]}, "body: text: order message needs one"),
        ({"order": "reboot", "seats": [MAC], "text": "x"}, "body: text: order reboot takes none"),
        ({"order": "loader", "seats": [MAC]}, "body: loader: order loader needs one"),
        ({**REBOOT, "sudo": 1}, "body 'sudo': unknown key"),
        (
            {"order": "message", "text": "\x1b[2J", "seats": [MAC]},
            "body 'text': expected printable",
        ),
        ({"order": "message", "text": "\ud800", "seats": [MAC]}, "body 'text': "),
        (
            {"order": "message", "text": "\u202egnp", "seats": [MAC]},
            "body 'text': expected printable",
        ),
        ({"order": "message", "text": "x" * 201, "seats": [MAC]}, "body 'text': "),
        ({"order": "image", "image": "../x", "seats": [MAC]}, "body 'image': expected the name of"),
        (
            {"order": "loader", "loader": "grub", "seats": [MAC]},
            "body 'loader': expected one of auto",
        ),
        ([], "body: "),
    ],
)
def test_a_wrong_order_is_refused_in_one_line(desk: Desk, body: Any, said: str) -> None:
    answer = desk.logged_in().post("/api/v1/orders", body)
    assert answer.status == 422
    assert answer.detail.startswith(said)
    assert desk.fakes.orders.sent == []


def test_an_order_that_the_panel_takes_is_one_that_a_server_reads(desk: Desk) -> None:
    browser = desk.logged_in()
    text = "a\n" + 99 * "ö "
    words = (
        *({"text": text[:200]}, {"image": "Kiosk-1.2"}, {"image": ""}, {"loader": "native"}),
        {"text": "debian-installer"},
    )
    kinds = ("message", "image", "image", "loader", "entry")
    for order, word in zip(kinds, words, strict=True):
        assert (
            browser.post("/api/v1/orders", {"order": order, "seats": [MAC], **word}).status == 200
        )
        sent = desk.fakes.orders.sent[-1]
        values = {"text": sent.text, "image": sent.image, "loader": sent.loader}
        body = {"order": sent.order, "seats": sent.seats, "by": sent.by, **values}
        assert isinstance(parse_order(json.dumps(body).encode()), acting.Order)


def test_the_plan_is_kept_and_shown(desk: Desk) -> None:
    browser = desk.logged_in()
    assert browser.ask("PUT", "/api/v1/plan", {"rows": [["b", ""], ["a"]]}).json == {
        "rows": [["b", ""], ["a"]]
    }
    assert desk.fakes.history.saved == (("b", ""), ("a",))
    assert desk.browser().get("/api/v1/plan").json == {"rows": [["b", ""], ["a"]]}
    twice = {"rows": [["a", "b"], ["", "", "a"]]}
    assert (
        "a seat has one place, found 'a' at 2" in browser.ask("PUT", "/api/v1/plan", twice).detail
    )
    for name in ("\u202ea", "a\nb", "\x1b[2J"):
        answer = browser.ask("PUT", "/api/v1/plan", {"rows": [[name]]})
        assert answer.status == 422 and "printable" in answer.detail
    large = {"rows": [["a"] * 400] * 11}
    assert "4400 places" in browser.ask("PUT", "/api/v1/plan", large).detail


def test_a_schedule_is_added_and_removed(desk: Desk) -> None:
    browser = desk.logged_in()
    body = {"order": "poweroff", "at": "17:00", "days": [4, 0, 4], "seats": ["group:lab"]}
    answer = browser.post("/api/v1/schedules", body)
    assert (answer.status, answer.json["id"], answer.json["days"]) == (201, 1, [0, 4])
    assert answer.json["by"] == "olga"
    assert [each["id"] for each in desk.browser().get("/api/v1/schedules").json] == [1]
    removed = browser.ask("DELETE", "/api/v1/schedules/1", None)
    assert (removed.status, removed.body) == (204, b"")
    assert browser.ask("DELETE", "/api/v1/schedules/1", None).status == 404


@pytest.mark.parametrize(
    "wrong",
    [
        {"at": "24:00"},
        {"days": []},
        {"days": [7]},
        {"seats": ["pc-01"]},
        {"seats": ["group:"]},
        {"order": "message", "text": "x" * 201},
        {"order": "loader", "loader": "grub"},
        {"order": "image", "image": "a b"},
    ],
)
def test_a_wrong_schedule_is_refused(desk: Desk, wrong: dict[str, Any]) -> None:
    body = {"order": "wake", "at": "07:30", **wrong}
    assert desk.logged_in().post("/api/v1/schedules", body).status == 422


def test_schedules_have_a_limit(desk: Desk) -> None:
    schedule = Schedule(0, "wake", (), "07:30", (0,))
    desk.fakes.history.kept = dict.fromkeys(range(200), schedule)
    answer = desk.logged_in().post("/api/v1/schedules", {"order": "wake", "at": "07:30"})
    assert (answer.status, answer.detail[:23]) == (409, "there are 200 schedules")


def test_what_was_done_is_for_operators(desk: Desk) -> None:
    browser = desk.logged_in(address="192.0.2.9")
    browser.post("/api/v1/orders", {"order": "wake", "seats": [MAC, MACS[2]]})
    done = browser.get("/api/v1/audit").json
    assert [(each["action"], each["by"], each["address"]) for each in done] == [
        ("order:wake", "olga", "192.0.2.9"),
        ("login", "olga", "192.0.2.9"),
    ]
    assert (done[0]["seats"], done[0]["outcome"]) == ([MAC, MACS[2]], "1 of 2 refused")
    assert desk.browser().get("/api/v1/audit").status == 401
    assert desk.logged_in("viktor").get("/api/v1/audit").status == 403


@pytest.mark.parametrize("path", GETS)
def test_anybody_may_look_unless_a_login_is_needed(
    desk: Desk, closed_desk: Desk, path: str
) -> None:
    assert desk.browser().get(path).status == 200
    answer = closed_desk.browser().get(path)
    assert (answer.status, answer.detail) == (
        401,
        "not logged in: this panel is for accounts only; log in",
    )
    assert closed_desk.logged_in("viktor").get(path).status == 200


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
def test_only_an_operator_changes_something(desk: Desk, method: str, path: str, body: Any) -> None:
    assert desk.browser().ask(method, path, body).status == 401
    answer = desk.logged_in("viktor").ask(method, path, body)
    assert answer.status == 403
    assert answer.detail.startswith("account 'viktor': its role is viewer, expected operator")
    assert desk.fakes.orders.sent == []
    assert [each.action for each in desk.fakes.history.noted] == ["login"]


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
@pytest.mark.parametrize("token", ["", "0" * 32, "ä"])
def test_a_change_needs_the_token_of_its_session(
    desk: Desk, method: str, path: str, body: Any, token: str
) -> None:
    browser = desk.logged_in()
    browser.csrf = ""
    answer = browser.ask(method, path, body, x_csrf_token=token)
    assert answer.status == 403
    assert answer.detail.startswith("header X-CSRF-Token: missing or of another session")


def test_a_history_that_is_away_is_503_in_one_line(desk: Desk) -> None:
    desk.fakes.history.away = True
    answer = desk.browser().get("/api/v1/inventory")
    assert (answer.status, answer.detail) == (
        503,
        "history: the database is locked; stop the other program",
    )
    assert desk.browser().get("/api/v1/room").status == 200


def test_an_order_to_a_server_that_is_away_is_noted(desk: Desk) -> None:
    browser = desk.logged_in()
    desk.fakes.orders.away = True
    answer = browser.post("/api/v1/orders", REBOOT)
    assert answer.status == 503
    assert desk.fakes.history.noted[-1].outcome == "no answer"


def test_health_is_degraded_if_a_server_is_away(desk: Desk, closed_desk: Desk) -> None:
    assert closed_desk.browser().get("/health").json["status"] == "ok"
    away = RoomServer.of(
        ServerRow(1.0), "second", "", versions={}, connected=False, started=0.0, since=5.0
    )
    desk.fakes.room.servers += (away,)
    answer = desk.browser().get("/health").json
    assert answer["status"] == "degraded"
    assert answer["servers"][1] == {"name": "second", "connected": False, "since": 5.0}


def test_figures_are_for_accounts_and_this_machine_if_a_login_is_needed(closed_desk: Desk) -> None:
    assert closed_desk.browser().get("/metrics").status == 401
    answer = closed_desk.browser(address="::1").get("/metrics")
    assert (answer.status, answer.body) == (200, b"netboot_seats 3\n")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")


def test_a_text_of_a_pc_comes_back_as_it_is(desk: Desk) -> None:
    for path in GETS:
        answer = desk.browser().get(path)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"
    seat = desk.browser().get(f"/api/v1/seats/{MAC}").json["seat"]
    assert (seat["message"], seat["report"]["screen"], seat["trouble"]["remedy"]) == (XSS, XSS, XSS)
    assert desk.browser().get("/api/v1/troubles").json[0]["cause"] == XSS


def test_half_a_character_in_a_text_breaks_nothing(desk: Desk) -> None:
    desk.fakes.room.change(MAC, message="\ud83d", since=float("nan"))
    seats = desk.browser().get("/api/v1/room").json["seats"]
    assert (seats[0]["message"], seats[0]["since"], seats[1]["mac"]) == ("\ud83d", None, MACS[1])


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("GET", "/nothing", 404, "nothing at '/nothing': "),
        ("GET", "/api/v1/nothing", 404, "nothing at '/api/v1/nothing': "),
        ("PUT", "/api/v1/room", 405, "method PUT at '/api/v1/room': expected GET"),
        ("GET", "/static/../app.py", 404, "no file '../app.py': "),
        ("GET", "/api/v1/seats/pc-01", 422, "path 'mac': expected to match pattern"),
        ("GET", "/api/v1/troubles?limit=x", 422, "query 'limit': expected a valid integer"),
        ("POST", "/api/v1/troubles/0/acknowledge", 422, "path 'id': expected"),
    ],
)
def test_each_error_is_one_line_with_where_and_expected(
    desk: Desk, method: str, path: str, status: int, said: str
) -> None:
    answer = desk.logged_in().ask(method, path, None)
    assert (answer.status, answer.detail[: len(said)]) == (status, said)
    assert answer.headers["content-type"] == "application/json"


def test_a_fault_of_ours_is_an_answer_and_tells_no_secret(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise KeyError("hunter2")

    monkeypatch.setattr(desk.fakes.room, "view", broken)
    answer = desk.browser().get("/api/v1/room")
    assert answer.status == 500
    assert (
        answer.detail
        == "the panel failed: KeyError is a fault of netboot; the panel's log has the details"
    )
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "hunter2" in caplog.text
