"""What a user can do on the page: log in and out, orders, schedules, acknowledge; the requests are right."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.panel.page.conftest import Open
from tests.panel.played import WRONG, Running

pytestmark = pytest.mark.system

ONE, TWO = "52:54:00:77:00:01", "52:54:00:77:00:02"
FIELDS = {"message": "text", "image": "image", "loader": "loader", "entry": "text"}
BUTTONS = {
    "wake": "Wake",
    "reboot": "Reboot",
    "poweroff": "Switch off",
    "message": "Message",
    "identify": "Identify",
    "image": "Image",
    "loader": "Loader",
    "entry": "Menu entry",
    "end-lease": "End lease",
}
VALUES = {"text": "Please save your work", "image": "desktop", "loader": "native"}


def fill(page: Page, field: str) -> None:
    if field == "loader":
        page.locator("dialog [name=loader]").select_option(VALUES[field])
    elif field:
        page.locator(f"dialog [name={field}]").fill(VALUES[field])


def sent(panel: Running) -> list[Any]:
    return [body for _, path, body in panel.played.requests if path == "/api/v1/orders"]


@pytest.mark.parametrize("order", BUTTONS)
def test_an_order_for_one_seat_is_sent(order: str, visit: Open, panel: Running) -> None:
    page = visit(operator=True).go(f"seat/{ONE}")
    button = page.locator(".actions").get_by_role("button", name=BUTTONS[order], exact=True)
    button.click()
    field = FIELDS.get(order, "")
    if order not in ("wake", "identify"):
        expect(page.get_by_role("dialog")).to_contain_text("pc-01")
        assert sent(panel) == []
        fill(page, field)
        page.locator("dialog button.primary").click()
    expect(page.locator(".toast")).to_have_text(f"{BUTTONS[order]}: sent to 1 PC.")
    more = {field: VALUES[field]} if field else {}
    assert sent(panel) == [{"order": order, "seats": [ONE], **more}]
    expect(page.get_by_role("dialog")).to_have_count(0)


@pytest.mark.parametrize("order", BUTTONS)
def test_an_order_for_many_is_asked_for(order: str, visit: Open, panel: Running) -> None:
    page = visit(operator=True).page
    page.get_by_label("Select pc-01").check()
    page.get_by_label("Select pc-02").check()
    expect(page.locator(".selection")).to_contain_text("2 PCs chosen")
    page.locator(f".act-{order}").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading")).to_contain_text("2 PCs")
    expect(dialog).to_contain_text("pc-01, pc-02")
    assert sent(panel) == []
    field = FIELDS.get(order, "")
    fill(page, field)
    page.locator("dialog button.primary").click()
    expect(page.locator(".toast")).to_have_text(f"{BUTTONS[order]}: sent to 2 PCs.")
    more = {field: VALUES[field]} if field else {}
    assert sent(panel) == [{"order": order, "seats": [ONE, TWO], **more}]


def test_a_group_is_chosen_by_its_filter(visit: Open, panel: Running) -> None:
    page = visit(operator=True).page
    page.get_by_label("Group").select_option("room-a")
    page.get_by_role("button", name="Select all shown").click()
    page.locator(".act-wake").click()
    page.locator("dialog button.primary").click()
    expect(page.locator(".toast")).to_be_visible()
    assert sent(panel) == [{"order": "wake", "seats": [ONE, TWO]}]
    page.get_by_role("button", name="Clear selection").click()
    expect(page.locator(".selection")).to_have_count(0)


def test_an_order_that_is_not_wanted_is_not_sent(visit: Open, panel: Running) -> None:
    page = visit(operator=True).go(f"seat/{ONE}")
    page.get_by_role("button", name="Switch off").click()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Switch off").click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert sent(panel) == []


def test_refusals_are_told_with_their_reasons(visit: Open, panel: Running) -> None:
    panel.played.refusals = {TWO: "the PC is off: wake it first"}
    page = visit(operator=True).page
    page.get_by_label("Select pc-01").check()
    page.get_by_label("Select pc-02").check()
    page.locator(".act-reboot").click()
    page.locator("dialog button.primary").click()
    dialog = page.get_by_role("dialog", name="1 PC refused")
    expect(dialog).to_contain_text("pc-02: the PC is off: wake it first")
    dialog.get_by_role("button", name="Close").click()
    expect(page.locator(".toast")).to_have_text("Reboot: sent to 1 PC.")


def test_a_wrong_token_is_refused_and_told(visit: Open, panel: Running) -> None:
    page = visit(operator=True).go(f"seat/{ONE}")
    page.route(
        "**/api/v1/orders",
        lambda route: route.continue_(headers=route.request.headers | {"x-csrf-token": "old"}),
    )
    page.get_by_role("button", name="Reboot").click()
    page.locator("dialog button.primary").click()
    expect(page.get_by_role("alert")).to_have_text("refused: no CSRF token; load the page again")


def test_guests_see_no_actions(visit: Open) -> None:
    page = visit().page
    expect(page.locator(".tile input")).to_have_count(0)
    expect(page.get_by_role("button", name="Arrange seats")).to_have_count(0)
    page.get_by_role("link", name="pc-01").click()
    page.wait_for_selector(".waterfall")
    expect(page.locator(".actions")).to_have_count(0)


def test_a_wrong_password_is_told_and_can_be_typed_again(visit: Open, panel: Running) -> None:
    seat = visit()
    page = seat.log_in(password="wrong")
    expect(page.get_by_role("alert")).to_have_text(WRONG)
    expect(page.get_by_label("Password")).to_be_focused()
    expect(page.get_by_label("Password")).to_have_value("")
    page.keyboard.type("secret")
    page.keyboard.press("Enter")
    expect(page.locator(".who")).to_have_text("operator")
    assert panel.played.requests[0][2] == {"name": "operator", "password": "wrong"}


def test_a_panel_for_users_alone_shows_nothing_else(visit: Open, panel: Running) -> None:
    panel.played.needs_login = True
    seat = visit()
    expect(seat.page.locator("form.login")).to_be_visible()
    expect(seat.page.locator(".tile")).to_have_count(0)
    page = seat.log_in()
    expect(page.locator(".tile")).to_have_count(12)
    page.get_by_role("button", name="Log out").click()
    expect(page.locator("form.login")).to_be_visible()
    assert [path for _, path, _ in panel.played.requests][-1] == "/api/v1/logout"


def test_a_session_that_ends_leads_to_the_login(visit: Open, panel: Running) -> None:
    panel.played.needs_login = True
    seat = visit(operator=True)
    seat.page.context.clear_cookies()
    page = seat.go("inventory")
    expect(page.locator("form.login")).to_be_visible()


def test_the_page_remembers_the_session(visit: Open) -> None:
    seat = visit(operator=True)
    seat.page.reload()
    expect(seat.page.locator(".who")).to_have_text("operator")
    expect(seat.page.get_by_label("Select pc-01")).to_be_visible()


def test_a_trouble_is_acknowledged(visit: Open, panel: Running) -> None:
    page = visit(operator=True).go("troubles")
    expect(page.locator(".troubles li")).to_have_count(1)
    page.get_by_role("button", name="Acknowledge").click()
    expect(page.get_by_text("No trouble. All is well.")).to_be_visible()
    assert panel.played.requests[-1][:2] == ("POST", "/api/v1/troubles/9/acknowledge")
    page.get_by_label("Also those that are over or acknowledged").check()
    expect(page.locator(".troubles li")).to_have_count(2)
    expect(page.locator(".troubles")).to_contain_text("Acknowledged by operator")


def test_schedules_are_added_and_removed(visit: Open, panel: Running) -> None:
    page = visit(operator=True).go("schedules")
    page.locator("[name=order]").select_option("poweroff")
    page.get_by_label("For").select_option("group:room-a")
    page.locator("[name=at]").fill("17:00")
    page.get_by_label("Fri").uncheck()
    page.get_by_role("button", name="Add").click()
    row = page.get_by_role("row", name="17:00")
    expect(row).to_contain_text("Mon\u2060–\u2060Thu")
    expect(row).to_contain_text("group room-a")
    method, path, body = panel.played.requests[-1]
    assert (method, path) == ("POST", "/api/v1/schedules")
    wanted = {"order": "poweroff", "seats": ["group:room-a"], "at": "17:00", "days": [0, 1, 2, 3]}
    assert body == wanted | {"enabled": True}
    page.get_by_role("button", name="Remove: Switch off, 17:00").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.get_by_text("No schedule yet.")).to_be_visible()
    assert panel.played.requests[-1][:2] == ("DELETE", "/api/v1/schedules/1")


def test_a_message_is_scheduled_with_its_text(visit: Open, panel: Running) -> None:
    page = visit(operator=True).go("schedules")
    page.locator("[name=order]").select_option("message")
    page.get_by_label("Text").fill("Ten minutes left")
    page.locator("[name=at]").fill("12:50")
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("row", name="12:50")).to_contain_text("Message Ten minutes left")
    assert panel.played.requests[-1][2]["text"] == "Ten minutes left"
    assert panel.played.requests[-1][2]["seats"] == []


def test_all_of_it_works_by_keyboard(visit: Open, panel: Running) -> None:
    page = visit().page
    press = page.keyboard.press

    def go_to(text: str) -> None:
        """Press Tab until the focus is on an element with this text or label."""
        said = "document.activeElement.ariaLabel ?? document.activeElement.innerText"
        for _ in range(60):
            press("Tab")
            if text in str(page.evaluate(said)):
                return
        raise AssertionError(text)

    press("Tab")
    expect(page.get_by_role("link", name="To the content")).to_be_focused()
    press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.reload()
    page.wait_for_selector("h1")
    go_to("Log in")
    press("Enter")
    expect(page.get_by_role("heading", name="Log in")).to_be_focused()
    press("Tab")
    page.keyboard.type("operator")
    press("Tab")
    page.keyboard.type("secret")
    press("Enter")
    expect(page.locator(".tile input")).to_have_count(12)
    go_to("Select pc-01")
    press("Space")
    go_to("Select pc-02")
    press("Space")
    go_to("Reboot")
    press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    go_to("Reboot")
    press("Enter")
    expect(page.locator(".toast")).to_have_text("Reboot: sent to 2 PCs.")
    assert sent(panel) == [{"order": "reboot", "seats": [ONE, TWO]}]
    page.locator("main").focus()
    go_to("pc-03")
    press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("pc-03")
