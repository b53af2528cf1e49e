"""The screen of one seat in a real browser."""

import re
from dataclasses import replace

import pytest
from playwright.sync_api import expect

from tests.panel.page.conftest import Open
from tests.panel.page.test_files import TEXTS
from tests.panel.played import Running
from tests.panel.played_room import FAILED, GIB, STAGES, TAIL

pytestmark = pytest.mark.system

MAC = "52:54:00:77:00:08"


def test_a_tile_leads_to_its_seat_and_the_seat_back(visit: Open) -> None:
    page = visit().page
    page.get_by_role("link", name="pc-08").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("pc-08")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    expect(page).to_have_title("pc-08 – netboot")
    page.get_by_role("link", name="‹ Room").click()
    expect(page.locator(".tile")).to_have_count(12)


def test_the_last_boots_are_shown_stage_by_stage(visit: Open) -> None:
    page = visit().go(f"seat/{MAC}")
    rows = page.locator(".waterfall tbody tr")
    expect(rows).to_have_count(len(STAGES))
    assert rows.locator("th").all_inner_texts() == [
        TEXTS[f"stage.{stage}"]["en"] for stage, *_ in STAGES
    ]
    expect(rows.nth(2)).to_contain_text("4.1 s")
    expect(rows.nth(2).locator(".span")).to_have_count(3)
    expect(page.locator(".legend li")).to_have_count(3)
    left = "bar => bar.style.left"
    assert rows.nth(0).locator(".span").first.evaluate(left) == "0%"


def test_memory_hardware_and_events_are_told(visit: Open, panel: Running) -> None:
    page = visit().go(f"seat/{MAC}")
    expect(page.locator(".meter").first).to_contain_text("768 MiB of 1 GiB")
    facts = page.locator(".facts")
    for text in ("8086:15bb", "e1000e", "6.1.0-40-amd64", "2 GiB", MAC):
        expect(facts.get_by_text(text, exact=True).first).to_be_visible()
    expect(page.locator(".events tbody tr")).to_have_count(len(STAGES))
    expect(page.get_by_text("Close programs on this PC")).to_be_visible()
    report = panel.played.room.seats[MAC].report
    assert report is not None
    panel.played.room.change(MAC, report=replace(report, areas=((GIB, GIB),)))
    panel.played.patch(MAC)
    expect(page.locator(".meter").first).to_contain_text("1 GiB of 1 GiB")


def test_a_mirror_tells_how_far_it_is_copied(visit: Open, panel: Running) -> None:
    page, room = visit().go(f"seat/{MAC}"), panel.played.room
    report = room.seats[MAC].report
    assert report is not None
    for copied, told in ((41.7, "being copied to the second server: 41.7.%"), (-1.0, "server")):
        room.change(MAC, mirror="resyncing", report=replace(report, copied=copied))
        panel.played.patch(MAC)
        expect(page.locator(".facts").get_by_text("being copied to the second")).to_have_text(
            re.compile(f"{told}$")
        )


def test_charts_show_the_hour_and_the_day(visit: Open) -> None:
    seat = visit()
    asked: list[str] = []
    seat.page.on("request", lambda request: asked.append(request.url))
    page = seat.go(f"seat/{MAC}")
    expect(page.locator(".chart canvas")).to_have_count(2)
    chart = page.get_by_role("img", name="Swap and available RAM")
    assert "at most" in str(chart.get_attribute("aria-label"))
    page.get_by_role("button", name="Day").click()
    expect(page.get_by_role("button", name="Day")).to_have_attribute("aria-pressed", "true")
    spans = [
        dict(part.split("=") for part in url.split("?")[1].split("&"))
        for url in asked
        if "/samples" in url
    ]
    assert [int(each["until"]) - int(each["since"]) for each in spans] == [3600, 86400]


def test_a_failure_shows_its_console_and_what_to_do(visit: Open, panel: Running) -> None:
    panel.played.room.change(MAC, state="off", stage="failed:network", trouble=FAILED)
    page = visit().go(f"seat/{MAC}")
    expect(page.locator("pre")).to_have_text(TAIL)
    note = page.get_by_role("region", name="Trouble")
    expect(note).to_contain_text(FAILED.message)
    expect(note).to_contain_text(f"What to do: {FAILED.remedy}")
    expect(page.locator(".waterfall tr.failed")).to_have_count(1)


def test_an_event_of_the_seat_loads_its_events_again(visit: Open, panel: Running) -> None:
    seat = visit()
    page = seat.go(f"seat/{MAC}")
    expect(page.locator(".events tbody tr")).to_have_count(len(STAGES))
    panel.played.room.change(MAC, stage="failed:network", trouble=FAILED)
    event = {"number": 1, "when": 1.0, "seat": MAC, "stage": "x", "message": "y", "data": {}}
    panel.played.patch(MAC, events=[event | {"server": "server-1"}])
    expect(page.locator(".events tr.failed")).to_have_count(1)


def test_a_seat_that_nobody_knows_is_told(visit: Open) -> None:
    page = visit().go("seat/52:54:00:99:99:99")
    expect(page.get_by_role("alert")).to_contain_text("no seat '52:54:00:99:99:99'")
