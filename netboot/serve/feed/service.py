"""The feed as a part of the server: made, opened for panels, and closed."""

import logging
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address
from pathlib import Path

from netboot.boot import ticket
from netboot.feed.protocol import KEY_FILE
from netboot.feed.state import Standing
from netboot.host.files import replace_file
from netboot.serve.feed.acting import Acting
from netboot.serve.feed.door import Door, Drains
from netboot.serve.feed.feed import Feed
from netboot.serve.feed.figures import Counted, Figures, Sending, Transferring
from netboot.serve.http.orders import Orders
from netboot.serve.room import Room

log = logging.getLogger(__name__)

KEY_MODE = 0o640


class FeedService:
    """The feed of ``room``, with the key and the socket for panels in the folder ``state``.

    ``pages`` is the page server, ``folders`` have its page files (see Figures), ``links`` are our
    addresses (see Acting), ``drains`` drains this server. ``group`` may open the socket, besides us;
    -1 for our own.
    """

    def __init__(
        self,
        room: Room,
        pages: Counted,
        folders: Sequence[Path],
        links: Callable[[], Sequence[tuple[IPv4Address, IPv4Address]]],
        state: Path,
        drains: Drains,
        group: int = -1,
    ) -> None:
        self._keys = room.keys
        self._state, self._group = state, group
        self.orders = Orders()
        acting = Acting(room, self.orders, links)
        self._figures = Figures(pages, room.table, room.admission, folders)
        self._feed = Feed(room, self._figures, acting)
        self.door = Door(self._feed, room.keys.is_panel_key, drains)

    async def start(self) -> None:
        """Begin. No seat needs the key or the socket: if one cannot be made, that is told."""
        self._feed.start()
        try:
            self._write_key()
            await self.door.open(self._state, self._group)
        except OSError as error:
            self._warn(error)

    def rekey(self) -> None:
        """Write the key for panels again, after a new secret. Panels that follow notice nothing."""
        try:
            self._write_key()
        except OSError as error:
            self._warn(error)

    def _write_key(self) -> None:
        key = ticket.panel_key(self._keys.current)
        replace_file(self._state / KEY_FILE, f"{key}\n", mode=KEY_MODE)

    def _warn(self, error: OSError) -> None:
        where = error.filename or self._state
        log.warning("no panel can follow this server: %s: %s", where, error.strerror)

    def standing(self) -> Standing:
        """Return how many seats there are of each state, and how many are in trouble."""
        return self._feed.standing()

    def count(self, http: Sending, tftp: Transferring | None = None) -> None:
        """Tell what these servers send, from now on."""
        self._figures.http, self._figures.tftp = http, tftp

    async def stop(self) -> None:
        """Let all panels go."""
        self._feed.stop()
        await self.door.close()
