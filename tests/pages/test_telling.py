"""The events of a page server that is full."""

import asyncio

import pytest

from netboot.pages import telling
from netboot.pages.telling import PageEvent, Teller


def test_the_pcs_that_a_full_server_refuses_are_one_line_a_second_and_each_once_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(telling, "SUMMARY_SECONDS", 0.01)
    events: list[PageEvent] = []
    teller = Teller(events.append)

    async def run() -> None:
        for _ in range(3):
            for seat in ("seat-a", "seat-b", "seat-c"):
                teller.full(seat, "full")
            await asyncio.sleep(0.03)
        teller.full("seat-d", "full")
        await asyncio.sleep(0.03)

    asyncio.run(run())
    assert [each.message for each in events] == ["seat-a and 2 more: full", "seat-d: full"]
    assert [each.data for each in events] == [{"refused": 3}, {"refused": 1}]


def test_a_flood_of_names_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "SUMMARY_SECONDS", 0.01)
    monkeypatch.setattr(telling, "MAX_FULL", 2)
    events: list[PageEvent] = []
    teller = Teller(events.append)

    async def run() -> None:
        for number in range(100):
            teller.full(f"seat-{number}", "full")
        await asyncio.sleep(0.03)

    asyncio.run(run())
    assert [each.message for each in events] == ["seat-0 and 1 more: full"]


def test_what_all_seats_of_a_store_have_is_one_line_and_an_event_for_each(
    caplog: pytest.LogCaptureFixture,
) -> None:
    events: list[PageEvent] = []
    teller = Teller(events.append)
    for number in range(3):
        teller.tell_many("stalled", f"mac-{number}", f"l{number}", "no answer", seconds=5.0)
    assert [each.seat for each in events] == ["mac-0", "mac-1", "mac-2"]
    assert [each.getMessage() for each in caplog.records] == ["pages: stalled: mac-0: no answer"]
