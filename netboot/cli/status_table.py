"""The table of ``netboot status``: all seats of a server as its feed tells them, troubles first."""

import asyncio
import io
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from netboot.cli import seat_lines
from netboot.errors import AnswerError
from netboot.feed.records import Record
from netboot.host.text import printable
from netboot.panel.follow import Follower, Source
from netboot.panel.records import RoomSeat, RoomView
from netboot.panel.room import Room

SECONDS = 5.0
WIDTH = 200  # of a line for another program
COLUMNS = ("Name", "MAC address", "State", "Since", "Swap", "Mem")
IMAGE = "Image"
WIDE = 100  # from here on there is a column for the version of the root image


def fetch(feed: Path) -> str | None:
    """Return the table for the terminal that we have; None if there is no feed at ``feed``."""
    source = Source(feed)

    async def ask() -> list[Record]:
        async with Follower(source, ()) as follower:
            return await follower.first(SECONDS)

    try:
        records = asyncio.run(ask())
    except AnswerError:
        return None
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH
    return text(view_of(records), columns, time.time(), colours=sys.stdout.isatty())


def view_of(records: Iterable[Record]) -> RoomView:
    """Return the room that a feed begins with."""
    room = Room(("",))
    room.connected("", "")
    for record in records:
        room.take("", record)
    room.publish()
    return room.view()


def text(view: RoomView, columns: int, now: float, *, colours: bool = False) -> str:
    """Return the lines of the servers, the sums of the states and the table."""
    now = seat_lines.moment(view.servers, now)
    lines = [seat_lines.server_line(server)[:columns] for server in view.servers]
    lines.append(seat_lines.counted(view.seats, len(view.seats))[:columns])
    if not view.seats:
        return "\n".join([*lines[:-1], "no seat has asked for anything yet"])
    return "\n".join([*lines, _table(view.seats, columns, now, colours=colours)])


def _table(seats: Sequence[RoomSeat], columns: int, now: float, *, colours: bool) -> str:
    shown = seat_lines.ordered(seats)
    lines = [seat_lines.line(seat, now) for seat in shown]
    rows: list[tuple[str, ...]] = [(each.cells[0], each.mac, *each.cells[1:5]) for each in lines]
    names: tuple[str, ...] = COLUMNS
    if columns >= WIDE and any(seat.image for seat in shown):
        names += (IMAGE,)
        rows = [(*row, printable(seat.image)) for row, seat in zip(rows, shown, strict=True)]
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, header_style="bold")
    for name, width in zip(names, widths, strict=True):
        right = name in ("Since", "Swap", "Mem")
        table.add_column(name, no_wrap=True, width=width, justify="right" if right else "left")
    # What is left behind two spaces a column; Rich would narrow all columns for a long text.
    rest = max(columns - sum(widths) - 2 * len(widths) - 1, seat_lines.SHORTEST_LAST)
    table.add_column("Last", no_wrap=True, overflow="ellipsis", width=rest)
    for line, cells in zip(lines, rows, strict=True):
        styled = (line.style if name in ("Name", "State") else "" for name in names)
        table.add_row(*map(Text, cells, styled), Text(line.cells[-1]))
    output = io.StringIO()
    console = Console(
        file=output, width=columns, force_terminal=colours, no_color=not colours, highlight=False
    )
    console.print(table)
    return "\n".join(each.rstrip() for each in output.getvalue().rstrip().splitlines())
