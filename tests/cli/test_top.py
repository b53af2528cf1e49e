"""``netboot top``: the room in a terminal of 80x24, by the keyboard."""

import asyncio
import contextlib
import os
import pty
import sys
import termios
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Static

from netboot.cli import seat_lines, top
from netboot.cli.top_screen import SeatScreen, TopApp
from netboot.errors import OperatorError
from netboot.panel.follow import Follower, Source
from netboot.panel.records import RoomSeat
from netboot.panel.room import Room
from tests import ROOT
from tests.panel.feeding import Feeding, a_room, a_seat, fed, figures, mac_of

NOW = 1_700_000_000.0
Top = tuple[Feeding, TopApp, Pilot[None]]


def run(work: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(200):
            await work

    asyncio.run(bounded())


@asynccontextmanager
async def shown(
    place: Path, seats: int = 10, size: tuple[int, int] = (80, 24), **options: Any
) -> AsyncIterator[Top]:
    """Show a played room; yield when its rows are there."""
    async with fed(place, **options) as server:
        server.send(*a_room(seats, NOW), figures(NOW))
        room = Room((server.source.link,))
        app = TopApp(room, [Follower(server.source, (room,))], lambda: NOW)
        async with app.run_test(size=size) as pilot:
            await until(pilot, lambda: app.query_one(DataTable).row_count == seats)
            yield server, app, pilot


async def until(pilot: Pilot[None], is_so: Callable[[], object]) -> None:
    while not is_so():
        await pilot.pause(0.05)


def names(app: TopApp) -> list[str]:
    table = app.screen_stack[0].query_one(DataTable)
    return [str(table.get_row_at(row)[0]) for row in range(table.row_count)]


def text(app: TopApp) -> str:
    """Return what the terminal shows."""
    lines = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in lines)


def test_seats_are_shown_with_troubles_first_within_80_columns(tmp_path: Path) -> None:
    async def work() -> None:
        async with shown(tmp_path / "s") as (_, app, _):
            assert names(app)[:3] == ["pc-005", "pc-003", "pc-006"]
            screen = text(app)
            assert "school 0.2.0  pages 9.0G of 64G  120/480 connections  3.0 MB/s" in screen
            assert "10 seats, 2 in trouble, 1 lost, 1 short, 1 waiting, 2 booting" in screen
            assert "100M/512M" in screen and "25 %" in screen and "its server is" in screen
            lines = screen.splitlines()
            assert len(lines) == 24 and all(len(line) == 80 for line in lines)
            assert "q Quit" in lines[-1] and "/ Filter" in lines[-1]

    run(work())


def test_changes_come_within_a_second_and_the_cursor_stays_with_its_seat(tmp_path: Path) -> None:
    async def work() -> None:
        async with shown(tmp_path / "s") as (server, app, pilot):
            table = app.query_one(DataTable)
            await pilot.press("down", "down", "down")
            assert str(table.get_row_at(table.cursor_row)[0]) == "pc-002"
            server.send(replace(a_seat(0, NOW, "lost"), name="pc-000"), figures(NOW + 1))
            await until(pilot, lambda: names(app)[0] == "pc-000")
            assert str(table.get_row_at(table.cursor_row)[0]) == "pc-002"
            server.send(
                replace(a_seat(0, NOW, "lost"), trouble=None, message="gone"), figures(NOW + 2)
            )
            await until(
                pilot,
                lambda: "userland gone" in text(app) or "gone" in str(table.get_row_at(0)[-1]),
            )

    run(work())


def test_a_filter_of_words_is_kept_until_escape(tmp_path: Path) -> None:
    async def work() -> None:
        async with shown(tmp_path / "s") as (_, app, pilot):
            await pilot.press("slash", *"boot fr")
            await until(pilot, lambda: names(app) == ["pc-009"])
            assert "1 of 10 seats, " in text(app)
            await pilot.press("enter")
            assert isinstance(app.focused, DataTable) and names(app) == ["pc-009"]
            await pilot.press("escape")
            await until(pilot, lambda: len(names(app)) == 10)

    run(work())


def test_t_shows_troubles_only_and_all_again(tmp_path: Path) -> None:
    async def work() -> None:
        async with shown(tmp_path / "s") as (_, app, pilot):
            await pilot.press("t")
            assert names(app) == ["pc-005", "pc-003"]
            await pilot.press("t")
            assert len(names(app)) == 10

    run(work())


def test_enter_shows_a_seat_with_its_events_and_escape_goes_back(tmp_path: Path) -> None:
    async def work() -> None:
        async with shown(tmp_path / "s") as (server, app, pilot):
            server.send(server.event(5, "agent:lost", "10.0.0.1: hung up"), figures(NOW + 1))
            await pilot.press("enter")
            await until(pilot, lambda: isinstance(app.screen, SeatScreen))
            await until(pilot, lambda: "hung up" in text(app))
            screen = text(app)
            for part in ("pc-005", "bring the server back", mac_of(5), "e1000", "64M available"):
                assert part in screen, screen
            server.send(replace(a_seat(5, NOW), message="well again"), figures(NOW + 2))
            await until(pilot, lambda: "well again" in text(app))
            await pilot.press("escape")
            await until(pilot, lambda: not isinstance(app.screen, SeatScreen))
            await pilot.press("q")

    run(work())


def test_a_seat_that_is_forgotten_while_it_is_shown_is_told(tmp_path: Path) -> None:
    async def work() -> None:
        async with shown(tmp_path / "s") as (server, app, pilot):
            await pilot.press("enter")
            await until(pilot, lambda: isinstance(app.screen, SeatScreen))
            from netboot.feed.records import Gone

            server.send(Gone(mac_of(5)), figures(NOW + 1))
            await until(pilot, lambda: "has forgotten this seat" in text(app))

    run(work())


def test_a_server_that_is_away_is_told_and_its_seats_stay(tmp_path: Path) -> None:
    async def work() -> None:
        async with shown(tmp_path / "s") as (server, app, pilot):
            server.status = 503
            server.break_off()
            await until(pilot, lambda: "school: the server refused: busy" in text(app))
            assert len(names(app)) == 10

    run(work())


def test_text_of_a_pc_moves_no_cursor_and_is_no_markup(tmp_path: Path) -> None:
    async def work() -> None:
        async with shown(tmp_path / "s") as (server, app, pilot):
            evil = replace(
                a_seat(5, NOW), name="[red]x\x1b[2J\n\u202e", message="[bold]\x1b]0;t\x07"
            )
            server.send(evil, figures(NOW + 1))
            await until(pilot, lambda: "[red]x?[2J??" in text(app))
            await pilot.press("slash", *"red", "enter", "enter")
            await until(pilot, lambda: isinstance(app.screen, SeatScreen))
            await until(pilot, lambda: "[bold]?]0;t?" in text(app))
            title = app.screen.query_one("#title", Static)
            assert "[red]x?" in str(title.render())

    run(work())


def test_a_room_of_1000_seats_is_shown(tmp_path: Path) -> None:
    async def work() -> None:
        async with shown(tmp_path / "s", seats=1000, size=(120, 40)) as (server, app, pilot):
            server.send(*(a_seat(number, NOW + 1) for number in range(1000)), figures(NOW + 1))
            await until(pilot, lambda: "1000 seats, 1000 running" in text(app))

    run(work())


def test_a_pipe_and_a_missing_package_are_one_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OperatorError, match="expected a terminal"):
        top.top()
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(OperatorError, match="needs Textual, which is not installed") as found:
        top.top()
    assert "netboot-classroom[top]" in found.value.hint


def test_a_server_that_is_not_there_is_told_before_a_screen_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    with pytest.raises(
        OperatorError, match=r"no server tells of a room: .*feed.sock: cannot connect"
    ):
        top.top(feed=tmp_path / "feed.sock")


@pytest.mark.system
def test_it_runs_in_a_terminal_and_q_ends_it(tmp_path: Path) -> None:
    async def work() -> None:
        async with fed(tmp_path / "s") as server:
            server.send(*a_room(10, NOW), figures(NOW))
            ours, its = pty.openpty()
            termios.tcsetwinsize(its, (24, 80))
            words = ("-P", "-m", "netboot", "top", "--feed", str(tmp_path / "s"))
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *words,
                env=os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color"},
                stdin=its,
                stdout=its,
                stderr=its,
                start_new_session=True,
            )
            os.close(its)
            os.set_blocking(ours, False)
            shown = bytearray()

            def read() -> None:
                with contextlib.suppress(OSError):
                    shown.extend(os.read(ours, 65536))

            loop = asyncio.get_running_loop()
            loop.add_reader(ours, read)
            while b"pc-005" not in shown:
                await asyncio.sleep(0.05)
            os.write(ours, b"q")
            assert await process.wait() == 0
            read()
            loop.remove_reader(ours)
            os.close(ours)
            assert b"\x1b[?1049l" in shown, "the terminal is as it was"

    run(work())


# The lines themselves.


def seat(**changes: Any) -> RoomSeat:
    return RoomSeat.of(replace(a_seat(1, NOW), **changes), "school")


@pytest.mark.parametrize(
    ("number", "shown_as"),
    (
        (0, "0K"),
        (1 << 20, "1M"),
        (999 << 20, "999M"),
        (1000 << 20, "1.0G"),
        (64 << 30, "64G"),
        (3 << 50, "3072T"),
    ),
)
def test_sizes(number: int, shown_as: str) -> None:
    assert seat_lines.size(number) == shown_as


@pytest.mark.parametrize(
    ("seconds", "shown_as"), ((-3, "0s"), (59.9, "60s"), (60, "1m"), (3600, "1h"), (9e6, "104d"))
)
def test_times(seconds: float, shown_as: str) -> None:
    assert seat_lines.ago(seconds) == shown_as


def test_a_seat_without_a_report_has_no_figures() -> None:
    assert seat_lines.line(seat(report=None), NOW).cells[3:6] == ("", "", "")
    assert seat_lines.line(seat(state="off"), NOW).cells[3:6] == ("", "", "")


def test_a_filter_looks_at_all_words() -> None:
    assert seat_lines.matches(seat(), "front RUNNING") and seat_lines.matches(seat(), "")
    assert not seat_lines.matches(seat(), "front booting")


def test_the_time_is_the_servers_if_one_is_connected() -> None:
    room = Room(("a",))
    assert seat_lines.moment(room.view().servers, 5.0) == 5.0
    room.connected("a", "")
    room.take("a", figures(NOW))
    assert seat_lines.moment(room.view().servers, 5.0) == NOW


def test_sources_of_top_default_to_this_machines_server() -> None:
    from netboot.cli.feeds import sources

    assert sources(None, (), ()) == [Source(Path("/var/lib/netboot/feed.sock"))]
