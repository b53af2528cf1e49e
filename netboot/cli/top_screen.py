"""The screens of ``netboot top``: a table of all seats, and one seat. Needs Textual."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import DataTable, Footer, Input, Static

from netboot.cli import seat_lines
from netboot.cli.seat_lines import COLUMNS, Line
from netboot.host.text import printable
from netboot.panel.follow import Follower
from netboot.panel.records import RoomSeat
from netboot.panel.room import Room
from netboot.panel.servers import Servers

SECONDS = 1.0
MOST_SERVERS = 4  # lines above the table
WIDTHS = (16, 8, 5, 11, 5, 5)  # of all columns but the last; with gaps they leave 18 of 80
GAPS = 14


class SeatScreen(Screen[None]):
    """All that is known of one seat."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "close", "Back"),
    ]

    def __init__(self, room: Room, mac: str, clock: Callable[[], float]) -> None:
        super().__init__()
        self._room = room
        self._mac = mac
        self._clock = clock

    def compose(self) -> ComposeResult:
        """Make the widgets."""
        yield Static(id="title")
        with VerticalScroll():
            yield Static(id="facts")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Begin to show the seat."""
        self.update()
        self.set_interval(SECONDS, self.update)

    async def action_close(self) -> None:
        """Go back to the table."""
        await self.app.pop_screen()

    def update(self) -> None:
        """Show the seat as it is now."""
        seat = self._room.seat(self._mac)
        title = self.query_one("#title", Static)
        if seat is None:
            title.update(Text(f"{self._mac}: its server has forgotten this seat"))
            return
        title.update(Text(printable(seat.name), seat_lines.STYLES[seat.state]))
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="bold", no_wrap=True)
        grid.add_column(overflow="fold")
        events = self._room.events(self._mac)
        now = seat_lines.moment(self._room.view().servers, self._clock())
        for name, text in seat_lines.details(seat, events, now):
            grid.add_row(name, Text(text))
        self.query_one("#facts", Static).update(grid)


class TopApp(App[None]):
    """The seats of a room, troubles first."""

    CSS = """
    #servers { height: auto; }
    #counts { height: 1; text-style: bold; }
    DataTable { height: 1fr; }
    #filter { display: none; height: 1; border: none; padding: 0 1; }
    #filter.shown { display: block; }
    #title { height: 1; text-style: bold; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("slash", "filter", "Filter"),
        Binding("t", "troubles", "Troubles only"),
        Binding("escape", "all", "All", show=False),
    ]

    def __init__(
        self, room: Room, followers: Sequence[Follower], clock: Callable[[], float]
    ) -> None:
        """``clock`` returns seconds since the epoch."""
        super().__init__()
        self._room = room
        self._followers = {each.source.link: each for each in followers}
        self._clock = clock
        self._words = ""
        self._only_troubles = False
        self._reading: asyncio.Task[None] | None = None
        self._lines: dict[str, Line] = {}

    def compose(self) -> ComposeResult:
        """Make the widgets."""
        yield Static(id="servers")
        yield Static(id="counts")
        yield DataTable(cursor_type="row", zebra_stripes=False)
        yield Input(
            placeholder="name, state, group, address; Enter keeps it", id="filter", compact=True
        )
        yield Footer(show_command_palette=False)

    async def on_mount(self) -> None:
        """Begin to read the feeds and to show the room."""
        self.title = "netboot top"
        table = self.query_one(DataTable)
        for name, width in zip(COLUMNS, (*WIDTHS, self._rest()), strict=True):
            table.add_column(name, key=name, width=width)
        table.focus()
        servers = Servers(self._followers.values(), self._room.servers_of)
        self._reading = asyncio.create_task(servers.run())
        self.set_interval(SECONDS, self.update)
        self.set_timer(SECONDS / 4, self.update)

    async def on_unmount(self) -> None:
        """End the reading of the feeds."""
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading

    def _rest(self) -> int:
        """Return the width of the last column."""
        return max(self.size.width - sum(WIDTHS) - GAPS - 2, seat_lines.SHORTEST_LAST)

    def on_resize(self) -> None:
        """Give the last column the rest of the line."""
        columns = self.query_one(DataTable).columns
        for key, column in columns.items():
            if key.value == COLUMNS[-1]:
                column.width = self._rest()
        self.query_one(DataTable).refresh(layout=True)

    def update(self) -> None:
        """Show the room as it is now."""
        self._room.publish()
        view = self._room.view()
        lines = [
            seat_lines.server_line(server, self._followers[link].reason)
            for link, server in zip(self._followers, view.servers, strict=False)
        ]
        if len(lines) > MOST_SERVERS:
            lines[MOST_SERVERS - 1 :] = [f"and {len(lines) - MOST_SERVERS + 1} more servers"]
        # The room's seats are on the first screen, also while another one is shown.
        base = self.screen_stack[0]
        base.query_one("#servers", Static).update(Text("\n".join(lines), no_wrap=True))
        shown = self._shown(view.seats)
        text = seat_lines.counted(view.seats, len(shown))
        base.query_one("#counts", Static).update(Text(text, no_wrap=True))
        now = seat_lines.moment(view.servers, self._clock())
        self._fill(
            base.query_one(DataTable), {seat.mac: seat_lines.line(seat, now) for seat in shown}
        )

    def _shown(self, seats: Sequence[RoomSeat]) -> list[RoomSeat]:
        return seat_lines.ordered(
            seat
            for seat in seats
            if seat_lines.matches(seat, self._words)
            and (not self._only_troubles or seat_lines.is_in_trouble(seat))
        )

    def _fill(self, table: DataTable[Text], lines: dict[str, Line]) -> None:
        """Change the cells that differ; if seats came, went or moved, lay the table out again."""
        if list(lines) == list(self._lines):
            for mac, line in lines.items():
                before = self._lines[mac]
                for name, cell, old in zip(COLUMNS, line.cells, before.cells, strict=True):
                    if cell != old or (name == "State" and line.style != before.style):
                        table.update_cell(mac, name, _cell(name, cell, line))
        else:
            chosen, top = self._chosen(table), table.scroll_y
            table.clear()
            for mac, line in lines.items():
                cells = zip(COLUMNS, line.cells, strict=True)
                table.add_row(*(_cell(name, cell, line) for name, cell in cells), key=mac)
            if chosen in lines:
                table.move_cursor(row=list(lines).index(chosen), animate=False, scroll=False)
                table.scroll_to(y=top, animate=False)
        self._lines = lines

    def _chosen(self, table: DataTable[Text]) -> str:
        """Return the MAC address of the seat under the cursor; empty if there is none."""
        row = table.cursor_row
        return list(self._lines)[row] if row < len(self._lines) else ""

    async def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Show the seat of a line."""
        if event.row_key.value is not None:
            await self.push_screen(SeatScreen(self._room, event.row_key.value, self._clock))

    def action_filter(self) -> None:
        """Ask for the words of a filter."""
        box = self.query_one("#filter", Input)
        box.add_class("shown")
        box.focus()

    def action_troubles(self) -> None:
        """Show seats in trouble only, or all again."""
        self._only_troubles = not self._only_troubles
        self.update()

    def action_all(self) -> None:
        """Show all seats again."""
        self._words, self._only_troubles = "", False
        box = self.query_one("#filter", Input)
        box.value = ""
        box.remove_class("shown")
        self.query_one(DataTable).focus()
        self.update()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while somebody types."""
        self._words = event.value
        self.update()

    def on_input_submitted(self) -> None:
        """Keep the filter, and go back to the table."""
        self.query_one(DataTable).focus()


def _cell(name: str, text: str, line: Line) -> Text:
    style = line.style if name in ("Name", "State") else ""
    justify = "right" if name in ("Since", "Swap", "Mem", "I/O") else "left"
    return Text(text, style, justify=justify, no_wrap=True, overflow="ellipsis")  # type: ignore[arg-type]
