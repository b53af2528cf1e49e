"""The screen of the room in a real browser: tiles where the seats stand, and what they tell."""

from dataclasses import replace

import pytest
from playwright.sync_api import Page, expect

from tests.panel.page.conftest import Open
from tests.panel.played import Played, Running
from tests.panel.played_room import LOST

pytestmark = pytest.mark.system

MAC = "52:54:00:77:00:{:02x}"
SHOWN = ".tile:not([hidden])"


def names(page: Page) -> list[str]:
    own = "names => names.map(name => name.firstChild.data)"
    found: list[str] = page.locator(f"{SHOWN} .name").evaluate_all(own)
    return found


def test_each_seat_stands_where_the_plan_says(visit: Open, panel: Running) -> None:
    page = visit().page
    boxes = {
        name: page.locator(".tile").nth(index).bounding_box()
        for index, name in enumerate(names(page))
    }
    columns: dict[int, set[float]] = {}
    rows: dict[int, set[float]] = {}
    for y, row in enumerate(panel.played.room.plan):
        for x, name in enumerate(row):
            if name:
                box = boxes[name]
                assert box is not None
                columns.setdefault(x, set()).add(box["x"])
                rows.setdefault(y, set()).add(box["y"])
    for found in (columns, rows):
        assert [len(found[place]) for place in sorted(found)] == [1] * len(found)
        assert sorted(found, key=lambda place: min(found[place])) == sorted(found)


def test_a_tile_has_colour_and_word_of_its_state(visit: Open) -> None:
    page = visit().page
    words = dict(zip(names(page), page.locator(".tile .word").all_inner_texts(), strict=True))
    assert words["pc-01"] == "running"
    assert words["pc-06"] == "booting"
    assert words["pc-08"].split("\n") == ["in trouble:", "low RAM"]
    assert words["pc-11"] == "unknown"
    colours = "tiles => tiles.map(tile => getComputedStyle(tile).borderLeftColor)"
    found = dict(zip(names(page), page.locator(".tile").evaluate_all(colours), strict=True))
    assert len({found[f"pc-{number:02}"] for number in (1, 6, 7, 8, 9, 10)}) == 6
    bar = page.locator(".tile .fill").nth(7).evaluate("fill => fill.style.transform")
    assert bar == "scaleX(0.75)"


def test_a_change_touches_the_tile_that_changed(visit: Open, panel: Running) -> None:
    page = visit().page
    page.evaluate(
        """() => { window.touched = new Set(); new MutationObserver(all => all.forEach(each => {
        touched.add((each.target.closest ? each.target : each.target.parentElement).closest('.tile')?.querySelector('.name').textContent)
        })).observe(document.querySelector('.room'), {subtree: true, childList: true, attributes: true,
        characterData: true}); }"""
    )
    panel.played.room.change(MAC.format(6), state="running")
    panel.played.patch(MAC.format(6), MAC.format(1))
    expect(page.locator(".tile .word").nth(5)).to_have_text("running")
    touched = set(page.evaluate("[...touched]"))
    assert touched <= {"pc-06", "pc-07"}  # the other one tells how long it has been waiting


def test_only_seats_in_trouble_can_be_shown_and_seats_be_found(visit: Open) -> None:
    page = visit().page
    page.get_by_role("button", name="In trouble 2").click()
    expect(page.locator(SHOWN)).to_have_count(2)
    assert names(page) == ["pc-08", "pc-09"]
    page.get_by_role("button", name="All 12").click()
    page.get_by_role("searchbox").fill("10.77.0.4")
    expect(page.locator(SHOWN)).to_have_count(1)
    assert names(page) == ["pc-03"]
    page.get_by_role("searchbox").fill("nobody")
    expect(page.get_by_text("No PC fits the filter.")).to_be_visible()
    page.get_by_role("searchbox").fill("")
    page.get_by_label("Group").select_option("room-a")
    expect(page.locator(SHOWN)).to_have_count(2)
    page.get_by_label("Group").select_option("")
    page.get_by_label("Server").select_option("server-2")
    expect(page.locator(SHOWN)).to_have_count(4)


def test_a_new_trouble_is_told_to_a_screen_reader_and_counted(visit: Open, panel: Running) -> None:
    page = visit().page
    expect(page.locator("nav .count")).to_contain_text("2")
    panel.played.room.change(MAC.format(1), state="lost", trouble=replace(LOST, when=1.0))
    panel.played.patch(MAC.format(1))
    expect(page.locator(".sr[role=status]")).to_have_text(f"pc-01: {LOST.message}")
    expect(page.locator("nav .count")).to_contain_text("3")


def test_a_seat_that_comes_or_goes_gets_or_loses_its_tile(visit: Open, panel: Running) -> None:
    page = visit().page
    room = panel.played.room
    room.seats["52:54:00:77:01:01"] = replace(
        room.seats[MAC.format(1)], mac="52:54:00:77:01:01", name="stranger", named=False
    )
    panel.played.patch("52:54:00:77:01:01")
    expect(page.locator(".tile")).to_have_count(13)
    expect(page.get_by_role("heading", name="Not on the plan")).to_be_visible()
    panel.played.patch(gone=["52:54:00:77:01:01"])
    expect(page.locator(".tile")).to_have_count(12)


def test_a_server_that_is_gone_is_told_and_its_seats_are_grey(visit: Open, panel: Running) -> None:
    page = visit().page
    panel.played.room.connected["server-2"] = False
    panel.played.patch(servers=panel.played.room.server_rows())
    banner = page.get_by_role("alert")
    expect(banner).to_contain_text("Server server-2 has not answered since")
    expect(page.locator(".tile.gone")).to_have_count(4)
    panel.played.room.connected["server-2"] = True
    panel.played.patch(servers=panel.played.room.server_rows())
    expect(banner).to_have_count(0)
    expect(page.locator(".tile.gone")).to_have_count(0)


def test_a_panel_that_is_gone_is_told_and_found_again(visit: Open, panel: Running) -> None:
    page = visit().page
    panel.played.deaf = True
    expect(page.get_by_role("alert")).to_contain_text("The panel has not answered since")
    expect(page.locator(".tile.gone")).to_have_count(12)
    panel.played.room.change(MAC.format(1), state="off")
    panel.played.deaf = False
    panel.played.patch(MAC.format(1))
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.locator(".tile .word").first).to_have_text("off")


def test_the_room_is_loaded_again_if_the_stream_says_so(visit: Open, panel: Running) -> None:
    page = visit().page
    panel.played.room.change(MAC.format(1), name="renamed")
    panel.played.reload = True
    expect(page.get_by_text("renamed")).to_be_visible()


def test_seats_are_dragged_to_their_places(visit: Open, panel: Running) -> None:
    page = visit(operator=True).page
    page.get_by_role("button", name="Arrange seats").click()
    page.drag_and_drop("[data-at='0 0']", "[data-at='2 1']")  # to a free place
    page.drag_and_drop("[data-at='1 0']", "[data-at='0 1']")  # two change places
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("The plan is saved.").last).to_be_visible()
    method, path, body = panel.played.requests[-1]
    assert (method, path) == ("PUT", "/api/v1/plan")
    assert body["rows"][0] == ["", "pc-05", "", "pc-03", "pc-04"]
    assert body["rows"][1] == ["pc-02", "pc-06", "pc-01", "pc-07", "pc-08"]
    expect(page.locator(".tile")).to_have_count(12)


def test_seats_are_moved_by_keys_alone(visit: Open, panel: Running) -> None:
    page = visit(operator=True).page
    page.get_by_role("button", name="Arrange seats").press("Enter")
    page.locator("[data-at='0 0']").focus()
    for key in ("Enter", "ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    expect(page.locator(".sr[role=status]")).to_have_text("pc-01 is in row 1, column 3.")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Delete")
    page.get_by_role("button", name="Save").press("Enter")
    expect(page.locator(".toast")).to_have_text("The plan is saved.")
    rows = panel.played.requests[-1][2]["rows"]
    assert rows[0] == ["", "pc-02", "pc-01", "pc-03", "pc-04"]
    assert rows[1] == ["pc-05", "pc-06", "", "", "pc-08"]


def test_a_room_without_a_plan_is_put_in_rows_by_name(visit: Open, panel: Running) -> None:
    panel.played.room.plan = []
    page = visit(operator=True).page
    assert names(page) == [f"pc-{number:02}" for number in range(1, 13)]
    page.get_by_role("button", name="Arrange seats").click()
    page.get_by_role("button", name="All by name").click()
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".front")).to_be_visible()
    rows = [[f"pc-{6 * row + number:02}" for number in range(1, 7)] for row in range(2)]
    assert panel.played.requests[-1][2] == {"rows": rows}


def test_a_large_room_stands_in_groups_that_can_be_chosen(visit: Open) -> None:
    with Running(Played(400)) as large:
        large.played.still = True
        page = visit(operator=True, url=large.url).page
        expect(page.locator(".field h2")).to_have_count(8)
        page.get_by_label("room-b").check()
        expect(page.locator(".selection")).to_contain_text("50 PCs chosen")
