"""The stream of changes: in memory, and to real browsers."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from netboot.panel.records import Patch
from netboot.panel.web import server as web
from netboot.panel.web import stream
from netboot.panel.web.stream import Browser, Hub
from tests.panel.conftest import Desk, make_desk
from tests.panel.fakes import MACS, XSS, FakeRoom
from tests.panel.serving import Stream, serving, unread

STREAM = "/api/v1/stream"


def _data(text: bytes | None) -> Any:
    assert text is not None
    return json.loads(text.partition(b"data: ")[2])


def _taken(browser: Browser) -> bytes | None:
    return asyncio.run(browser.take(0.01))


# The hub, without a loop


def test_a_browser_gets_what_it_lacks_in_one_patch() -> None:
    room = FakeRoom()
    hub = Hub(room)
    browser = hub.join("192.0.2.1", 100)
    room.change(MACS[0], stage="swap")
    room.change(MACS[0], stage="userland")
    room.change(MACS[1], stage="dhcp")
    hub.send()
    text = _taken(browser)
    assert text is not None
    assert text.startswith(b"event: patch\nid: 103\ndata: ")
    assert [(each["mac"], each["stage"]) for each in _data(text)["seats"]] == [
        (MACS[0], "userland"),
        (MACS[1], "dhcp"),
    ]
    assert "plan" not in _data(text)
    assert _taken(browser) == stream.HEARTBEAT


def test_a_changed_plan_and_texts_of_a_pc_stay_what_they_are() -> None:
    assert _data(stream.patch_text(Patch(1, plan=((XSS,),))))["plan"] == [[XSS]]
    room = FakeRoom()
    room.change(MACS[0], message=XSS + '\r\n\n\0,"plan":null}')
    text = stream.patch_text(room.changes(100) or Patch(0))
    assert text.count(b"\n") == 4  # no text of a PC ends a line of the stream
    assert _data(text)["seats"][0]["message"] == XSS + '\r\n\n\0,"plan":null}'


def test_a_browser_that_comes_back_gets_one_patch_or_loads_again() -> None:
    room = FakeRoom(kept=3)
    for _ in range(5):
        room.change(MACS[0])
    hub = Hub(room)
    assert _data(_taken(hub.join("a", 103)))["number"] == 105
    for after in (99, 101, 106, 0):
        browser = hub.join("a", after)
        assert _taken(browser) == b'event: reload\nid: 105\ndata: {"number":105}\n\n'
        assert _taken(browser) is None
    assert _taken(hub.join("a", 105)) == stream.HEARTBEAT
    assert _taken(hub.join("a", None)) == stream.HEARTBEAT


def test_a_browser_that_joined_late_misses_nothing_and_gets_nothing_twice() -> None:
    room = FakeRoom()
    hub = Hub(room)
    early = hub.join("a", 100)
    room.change(MACS[0])
    late = hub.join("a", 100)  # before the hub has told the others
    room.change(MACS[1])
    hub.send()
    assert [each["mac"] for each in _data(_taken(early))["seats"]] == [MACS[0], MACS[1]]
    text = _taken(late) or b""
    first, second = (json.loads(each.partition(b"data: ")[2]) for each in text.split(b"\n\n")[:2])
    assert [each["mac"] for each in first["seats"]] == [MACS[0]]
    assert [each["mac"] for each in second["seats"]] == [MACS[1]]


def test_a_slow_browser_is_told_to_load_again_and_others_are_served() -> None:
    room = FakeRoom()
    hub = Hub(room)
    slow, quick = hub.join("a", 100), hub.join("b", 100)
    for number in range(stream.QUEUE + 1):
        room.change(MACS[0], since=float(number))
        hub.send()
        assert _data(_taken(quick))["seats"][0]["since"] == number
    assert (_taken(slow) or b"").startswith(b"event: reload\n")
    assert _taken(slow) is None


def test_streams_have_a_limit_by_address_and_in_all() -> None:
    hub = Hub(FakeRoom())
    browsers = [hub.join("192.0.2.1", None) for _ in range(stream.MOST_OF_ADDRESS)]
    assert hub.refusal("192.0.2.1").startswith("32 streams of 192.0.2.1 are open")
    assert hub.refusal("192.0.2.2") == ""
    hub.leave(browsers[0])
    assert hub.refusal("192.0.2.1") == ""


def test_an_address_with_many_streams_gives_one_to_another_address() -> None:
    hub = Hub(FakeRoom())
    many = [hub.join(f"10.0.0.{n % 10}", None) for n in range(stream.MOST)]
    assert hub.refusal("192.0.2.2") == ""
    hub.join("192.0.2.2", None)
    [loser] = [each for each in many if each.ended]
    hub.leave(loser)
    for number in range(stream.MOST - 10):
        address = f"10.1.{number >> 8}.{number & 255}"
        if hub.refusal(address) == "":
            hub.join(address, None)
            for each in many:
                if each.ended and each in hub._browsers:
                    hub.leave(each)
    assert len(hub) == stream.MOST
    assert hub.refusal("192.0.2.3").startswith("200 streams are open")
    assert all(hub._of[f"10.0.0.{n}"] >= 1 for n in range(10))


# Real browsers


@pytest.fixture
def served(desk: Desk) -> Any:
    """A panel behind a socket: its desk, its port, and a call that changes a seat."""
    app = desk.browser().app
    with serving(app) as (port, loop):

        def change(mac: str, **values: object) -> None:
            loop.call_soon_threadsafe(lambda: desk.fakes.room.change(mac, **values))

        yield desk, port, change


Served = tuple[Desk, int, Callable[..., None]]


def test_a_change_is_seen_at_once_and_patches_come_once_a_second(served: Served) -> None:
    _, port, change = served
    browser = Stream(port, f"{STREAM}?after=100")
    assert browser.answer.headers["content-type"].startswith("text/event-stream")
    assert browser.answer.headers["cache-control"] == "no-store"
    begin = time.monotonic()
    change(MACS[0], stage="swap")
    assert json.loads(browser.next()["data"])["seats"][0]["stage"] == "swap"
    first = time.monotonic()
    patches, since = 0, 0.0
    for number in range(10):
        change(MACS[1], since=float(number))
        time.sleep(0.02)
    while since < 9.0:  # one patch has all ten changes if they take less than a second
        since = json.loads(browser.next()["data"])["seats"][0]["since"]
        patches += 1
    assert patches * 0.8 < time.monotonic() - begin
    assert first - begin < 5.0  # 0.05 s on an idle machine
    browser.close()


def test_a_browser_says_the_number_that_it_has(served: Served) -> None:
    desk, port, change = served
    change(MACS[0], stage="one")
    change(MACS[1], stage="two")
    while desk.fakes.room.number < 102:
        time.sleep(0.01)
    browser = Stream(port, f"{STREAM}?after=100", Last_Event_ID="101")
    event = browser.next()
    assert (event["event"], event["id"]) == ("patch", "102")
    assert [each["mac"] for each in json.loads(event["data"])["seats"]] == [MACS[1]]
    browser.close()
    again = Stream(port, f"{STREAM}?after=7", Last_Event_ID="none")
    assert again.next()["event"] == "reload"
    assert again.next() == {}
    again.close()


def test_a_stream_beats_and_is_forgotten_when_its_browser_leaves(served: Served) -> None:
    desk, port, _ = served
    hub = desk.panel.hub
    hub.beat = 0.05
    browser = Stream(port)
    assert browser.next() == {"": "alive"}
    assert len(hub) == 1
    browser.close()
    deadline = time.monotonic() + 60
    while len(hub) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(hub) == 0


def test_a_browser_that_reads_nothing_holds_up_nobody_and_is_hung_up_on(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "ANSWER_SECONDS", 1.0)
    desk, port, change = served
    monkeypatch.setattr(desk.panel.hub, "_interval", 0.06)
    slow = unread(port, f"{STREAM}?after=100")
    quick = Stream(port, f"{STREAM}?after=100")
    deadline = time.monotonic() + 60
    number = 0
    while len(desk.panel.hub) == 2 and time.monotonic() < deadline:
        number += 1
        change(MACS[0], message="x" * 300_000, since=float(number))
        assert json.loads(quick.next()["data"])["seats"][0]["since"] == number
    assert len(desk.panel.hub) == 1
    quick.close()
    slow.close()


def test_a_stream_ends_with_its_session(tmp_path: Path) -> None:
    desk = make_desk(tmp_path / "state", login_for_all=True)
    desk.panel.hub.beat = 0.05
    cookie = desk.logged_in("viktor").cookies["netboot_session"]
    with serving(desk.browser().app) as (port, _):
        refused = Stream(port)
        assert refused.status == 401
        refused.close()
        browser = Stream(port, Cookie=f"netboot_session={cookie}")
        assert browser.next() == {"": "alive"}
        desk.accounts.delete("viktor")
        while browser.next():
            pass
        browser.close()


def test_the_panel_ends_while_browsers_are_there(desk: Desk) -> None:
    begin = 0.0
    with serving(desk.browser().app) as (port, _):
        browsers = [Stream(port) for _ in range(3)]
        begin = time.monotonic()
    assert time.monotonic() - begin < 10
    for browser in browsers:
        assert browser.next() == {}
        browser.close()
