"""The bars of a mirror over two of four servers, and how its played seats tell right from wrong."""

import asyncio
from dataclasses import replace

import pytest

from bench.scale import cells
from bench.scale.cells import PAGE, PAGES, Leg, Result, Seat, page_of
from netboot.errors import AnswerError
from netboot.profile import file as profile_file

MAC = "52:54:00:79:00:01"
FINE = Result(
    seats=200,
    servers=4,
    operations=33484,
    degraded=99,
    taken=(36, 33, 30),
    stall=3.9,
    whole=14.0,
    wrong=0,
    lost=0,
)


def test_a_run_that_loses_nothing_meets_all_bars() -> None:
    assert all(each.met for each in cells.verdicts(FINE))
    lines = cells.table(FINE).splitlines()
    assert lines[0] == "| one of the servers killed | |"
    assert "| legs that the others took | 36, 33, 30 |" in lines


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({"wrong": 1}, "wrong pages"),
        ({"lost": 1}, "lost pages"),
        ({"stall": 5.1}, "longest stall, s"),
        ({"whole": 61.0}, "all mirrors whole again, s"),
        ({"degraded": 200}, "degraded: standard deviations off 2/N"),
        ({"taken": (99, 0, 0)}, "other servers that took a leg"),
    ],
)
def test_each_bar_can_be_missed(change: dict[str, object], missed: str) -> None:
    found = cells.verdicts(replace(FINE, **change))  # type: ignore[arg-type]
    assert [each.name for each in found if not each.met] == [missed]


class Server:
    """A server's pages, as a connection has them."""

    def __init__(self) -> None:
        self.pages = [bytes(PAGE)] * PAGES
        self.gone = False

    async def read(self, offset: int, length: int) -> bytes:
        if self.gone:
            raise AnswerError("gone")
        first = offset // PAGE
        return b"".join(self.pages[first : first + length // PAGE])

    async def write(self, offset: int, data: bytes) -> None:
        for number in range(len(data) // PAGE):
            self.pages[offset // PAGE + number] = data[number * PAGE : (number + 1) * PAGE]


def seat(*servers: Server) -> Seat:
    made = Seat(MAC, "10.78.1.1", "s", ["10.79.0.1", "10.79.0.2", "10.79.0.3"])
    for leg, server in zip(made.legs, servers, strict=True):
        leg.client = server  # type: ignore[assignment]
    return made


def test_a_page_of_before_another_seats_and_an_empty_one_are_wrong() -> None:
    good, bad = Server(), Server()
    pc = seat(good, bad)
    pc.versions[3:6] = [2, 1, 1]
    good.pages[3:6] = [page_of(MAC, 3, 2), page_of(MAC, 4, 1), page_of(MAC, 5, 1)]
    bad.pages[3:6] = [page_of(MAC, 3, 1), page_of("52:54:00:79:00:02", 4, 1), bytes(PAGE)]
    asyncio.run(pc.verify())
    assert (pc.wrong, pc.lost) == (3, 0)


def test_a_server_that_is_gone_and_a_leg_that_was_not_copied_are_lost_pages() -> None:
    gone, pc = Server(), seat(Server(), Server())
    gone.gone = True
    pc.legs[0].client = gone  # type: ignore[assignment]
    pc.legs[1].whole = False
    asyncio.run(pc.verify())
    assert pc.lost == 2 * PAGES


def test_a_copy_has_all_pages() -> None:
    full, empty = Server(), Server()
    full.pages = [page_of(MAC, number, 7) for number in range(PAGES)]
    pc = seat(full, empty)
    leg: Leg = pc.legs[1]
    leg.whole = False
    asyncio.run(pc._copy(leg, pc.legs[0]))
    assert leg.whole and empty.pages == full.pages


def test_seats_take_their_servers_from_the_boot_plan() -> None:
    text = "swap: {servers: [10.79.0.1, 10.79.0.2, 10.79.0.3, 10.79.0.4], layout: mirror}"
    hosts = cells.hosts_of(profile_file.parse(text, "cells"), MAC)
    assert sorted(hosts) == [f"10.79.0.{last}" for last in (1, 2, 3, 4)]
