"""Each screen: its figures, both languages, a phone's width, no HTML from texts, no barrier."""

from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import expect

from tests import ROOT
from tests.panel.page.conftest import PAINTED, Open
from tests.panel.page.visit import Visit
from tests.panel.played import Played, Running
from tests.panel.played_room import FAILED

pytestmark = pytest.mark.system

MAC = "52:54:00:77:00:08"
SCREENS = ["room", f"seat/{MAC}", "boot", "servers", "troubles", "inventory", "schedules", "login"]
READY = {
    "room": PAINTED,
    f"seat/{MAC}": ".waterfall + *, .chart canvas",
    "boot": "[role=progressbar]",
    "servers": ".chart canvas",
    "troubles": ".troubles li",
    "inventory": ".inventory td",
    "schedules": "form.schedule",
    "login": "form.login",
}
PHONE: dict[str, Any] = {"viewport": {"width": 375, "height": 700}, "has_touch": True}
AXE = (ROOT / "tests/panel/vendor/axe.min.js").read_text()
EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>\"'></textarea><svg onload=alert(3)>"


def show(visit: Visit, screen: str) -> None:
    visit.go(screen)
    visit.page.wait_for_selector(READY[screen])


def test_the_boot_of_the_room_is_told(visit: Open) -> None:
    page = visit().go("boot")
    expect(page.get_by_role("heading", name="7 of 12 PCs run")).to_be_visible()
    bar = page.get_by_role("progressbar")
    expect(bar).to_have_attribute("aria-valuenow", "7")
    expect(page.get_by_text("this boot is slower: 43 s")).to_be_visible()
    expect(page.get_by_text("12 PCs in 31 s")).to_be_visible()
    expect(page.get_by_role("row", name="pc-07")).to_contain_text("PCs in front: 3")
    expect(page.get_by_role("row", name="pc-01")).to_contain_text("43 s")


def test_each_server_is_told(visit: Open, panel: Running) -> None:
    page = visit().go("servers")
    for name in ("server-1", "server-2"):
        server = page.get_by_role("region", name=name)
        for text in (
            *("9 GiB of 32 GiB", "22 of 4,096", "11 MB/s", "3.1 ms", "refused: no room"),
            *("4,224", "6.12.1-amd64", "Linux of PCs, amd64", "At their byte rate", "13 s"),
            *("on one server", "being copied to the second server", "TFTP: broken"),
        ):
            expect(server.get_by_text(text, exact=True).first).to_be_visible()
        expect(server.locator("canvas")).to_have_count(4)
    panel.played.room.connected["server-1"] = False
    panel.played.patch(servers=panel.played.room.server_rows())
    away = page.get_by_role("region", name="server-1").get_by_text("does not answer")
    expect(away).to_be_visible()


def test_a_server_that_is_drained_says_so(visit: Open, panel: Running) -> None:
    page, servers = visit().go("servers"), panel.played.room.servers
    server = page.get_by_role("region", name="server-2")
    expect(server.get_by_text("connected", exact=True)).to_be_visible()
    expect(server.get_by_text("drained")).to_have_count(0)
    servers["server-2"] = replace(servers["server-2"], drained=True)
    panel.played.patch(servers=panel.played.room.server_rows())
    expect(server.get_by_text("drained: takes no new swap")).to_be_visible()


def test_a_trouble_has_cause_and_remedy(visit: Open) -> None:
    page = visit().go("troubles")
    item = page.locator(".troubles li")
    expect(item).to_contain_text("has no connection to its swap any more for 20 s")
    expect(item).to_contain_text("What to do: If the PC is on, its link")
    page.get_by_role("checkbox").check()
    expect(item.last).to_contain_text(
        "the panel does not hear of this server Cause: the connection broke"
    )
    expect(page.get_by_role("button", name="Acknowledge")).to_have_count(0)


def test_the_inventory_is_sorted_and_gives_advice(visit: Open) -> None:
    page = visit().go("inventory")
    expect(page.get_by_text("These 2 PCs waited for memory")).to_be_visible()
    first = page.locator(".inventory tbody th").first
    expect(first).to_have_text("pc-01")
    page.get_by_role("button", name="PC", exact=False).first.click()
    expect(first).to_have_text("pc-12")
    page.get_by_role("button", name="Short").click()
    expect(first).to_have_text("pc-03")
    header = page.get_by_role("columnheader", name="Short")
    expect(header).to_have_attribute("aria-sort", "descending")
    page.get_by_role("button", name="RAM").click()
    expect(page.locator(".inventory tbody tr").last).to_contain_text("3 GiB")
    page.get_by_role("searchbox").fill("4c4c4544-0042-3510-8053-c4c04f4d0004")
    expect(page.locator(".inventory tbody tr")).to_have_count(1)


def test_the_browsers_language_is_used_until_another_is_chosen(visit: Open) -> None:
    seat = visit(locale="de-DE")
    page = seat.page
    menu = page.get_by_role("navigation").get_by_role("link")
    expect(menu.first).to_have_text("Raum")
    expect(page.locator("html")).to_have_attribute("lang", "de")
    expect(page.locator(".tile .word").nth(7)).to_have_text("hat eine Störung: RAM knapp")
    expect(page).to_have_title("Raum – netboot")
    seat.go(f"seat/{MAC}")
    expect(page.locator(".meter").nth(1)).to_contain_text("1,9 GiB von 2 GiB")
    page.get_by_role("button", name="English").click()
    expect(menu.first).to_have_text("Room")
    page.reload()
    expect(menu.first).to_have_text("Room")


@pytest.mark.parametrize("screen", SCREENS)
def test_a_phone_shows_all_without_sideways_scrolling(screen: str, visit: Open) -> None:
    for locale in ("en-GB", "de-DE"):
        phone = visit(operator=True, locale=locale, **PHONE)
        show(phone, screen)
        width = "document.documentElement.scrollWidth"
        assert phone.page.evaluate(width) == 375


def test_a_phone_arranges_seats_by_taps(visit: Open, panel: Running) -> None:
    page = visit(operator=True, **PHONE).page
    page.get_by_role("button", name="Arrange seats").tap()
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    page.locator("[data-at='0 0']").tap()
    page.locator("[data-at='2 0']").tap()
    page.get_by_role("button", name="Save").tap()
    expect(page.locator(".toast")).to_be_visible()
    assert panel.played.requests[-1][2]["rows"][0] == ["", "pc-02", "pc-01", "pc-03", "pc-04"]


@pytest.mark.parametrize("screen", SCREENS)
def test_texts_of_strangers_stay_texts(screen: str, visit: Open, panel: Running) -> None:
    panel.played.room.change(MAC, stage="failed:network", trouble=FAILED)
    panel.played.schedules = [
        {"id": 1, "order": "message", "seats": [EVIL], "at": "17:00", "days": [1]}
        | {"text": EVIL, "enabled": True, "image": "", "loader": ""}
    ]
    panel.played.spoil = EVIL
    stranger = visit(operator=True)
    show(stranger, screen)
    panel.played.patch(*panel.played.room.seats)
    page = stranger.page
    page.wait_for_timeout(200)
    if screen != "login":
        expect(page.get_by_text("<img src=x onerror=alert(1)>").first).to_be_attached()
    assert page.locator("#app :is(script, iframe, object, [onerror], [onload])").count() == 0
    assert page.locator("#app img").count() == 1  # the sign of the page
    if screen == "room":
        page.get_by_role("checkbox").first.check()
        page.locator(".act-reboot").click()
        expect(page.get_by_role("dialog")).to_contain_text("<img src=x")
        panel.played.refusals = dict.fromkeys(panel.played.room.seats, EVIL)
        page.locator("dialog button.primary").click()
        expect(page.get_by_role("dialog")).to_contain_text("refused")
    # visit() demands that there was no dialog of alert() and nothing against the policy


def barriers(visit: Visit, part: str = "html") -> list[str]:
    """Return what axe-core finds in a part of the page that is serious or critical."""
    # An evaluated script is not under the page's policy.
    found = visit.page.evaluate(f"{AXE}; axe.run('{part}')")
    return [
        f"{each['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
def test_no_screen_has_a_barrier(screen: str, scheme: Any, visit: Open, panel: Running) -> None:
    panel.played.schedules = [{"id": 1, "order": "wake", "seats": [], "at": "07:30", "days": [1]}]
    panel.played.schedules[0] |= {"enabled": True, "text": "", "image": "", "loader": ""}
    shown = visit(operator=True, color_scheme=scheme)
    show(shown, screen)
    assert barriers(shown) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_dialog_and_no_banner_has_a_barrier(scheme: Any, visit: Open, panel: Running) -> None:
    panel.played.room.connected["server-2"] = False
    shown = visit(operator=True, color_scheme=scheme)
    page = shown.page
    page.get_by_role("button", name="Select all shown").click()
    expect(page.locator(".tile.selected")).to_have_count(12)
    assert barriers(shown) == []
    page.locator(".act-message").click()
    assert barriers(shown) == []
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Arrange seats").click()
    page.locator("[data-at='0 0']").click()
    assert barriers(shown) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_large_room_has_no_barrier(scheme: Any, visit: Open) -> None:
    with Running(Played(320)) as large:
        large.played.still = True
        shown = visit(operator=True, url=large.url, color_scheme=scheme)
        assert barriers(shown, ".field:first-child") == []  # of all it takes half a minute
