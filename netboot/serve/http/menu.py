"""GET /menu/MAC/SCRIPT: the boot menu of a PC, and with ?entry=ID the script of an entry.

iPXE sends the typed password by HTTP's Basic scheme (RFC 7617), once it was asked for one. So the
password is in no URL, no script and no log.
"""

from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address
from typing import Protocol

from aiohttp import web

from netboot.boot import ticket
from netboot.boot.ticket import Key
from netboot.errors import DeniedError
from netboot.profile.menu import USUAL

MAX_ENTRY_CHARACTERS = 80


class MenuAnswers(Protocol):
    """The answers that the door to the menu needs."""

    @property
    def needs_password(self) -> bool:
        """True if the menu has a password."""

    def open(self, who: str, address: IPv4Address, *, begins: bool = False) -> Key | None:
        """Return the seat of a loader. Raises DeniedError if ``address`` may not begin its boot."""

    async def admit_to_menu(self, mac: str, address: IPv4Address, password: str) -> None:
        """Return if a PC may open the menu. Raises DeniedError if it may not."""

    def menu_script(self, mac: str, name: str, server: IPv4Address, entry: str) -> str | None:
        """Return the menu, or the script of an entry; None if there is no such script."""


class MenuDoor:
    """The door to the menu of ``room``. ``asker`` returns the address that asks."""

    def __init__(
        self, room: MenuAnswers, asker: Callable[[web.Request], Awaitable[IPv4Address]]
    ) -> None:
        self._room = room
        self._asker = asker

    def routes(self) -> list[web.RouteDef]:
        """Return the route of the menu."""
        return [web.get("/menu/{mac}/{name}", self._answer, allow_head=False)]

    async def _answer(self, request: web.Request) -> web.Response:
        who, name = request.match_info["mac"], request.match_info["name"]
        entry = request.query.get("entry", "")
        address = await self._asker(request)
        if not ticket.is_mac(who) or len(entry) > MAX_ENTRY_CHARACTERS:
            raise web.HTTPNotFound(text="no such menu\n")
        try:
            key = self._room.open(who, address, begins=True)
            if key is None:
                raise web.HTTPNotFound(text="no such seat\n")
            # Without a choice there is nothing to protect.
            if entry != USUAL and self._room.needs_password:
                await self._room.admit_to_menu(key.mac, address, _password(request))
        except DeniedError as error:
            raise web.HTTPForbidden(text=f"{error}\n") from None
        assert request.transport is not None
        server = IPv4Address(request.transport.get_extra_info("sockname")[0])
        text = self._room.menu_script(key.mac, name, server, entry)
        if text is None:
            raise web.HTTPNotFound(text="no such menu or entry\n")
        return web.Response(text=text)


def _password(request: web.Request) -> str:
    """Return the typed password. Raises HTTPUnauthorized: iPXE keeps it until it is asked."""
    header = request.headers.get("Authorization", "")
    if not header:
        challenge = {"WWW-Authenticate": 'Basic realm="netboot"'}
        raise web.HTTPUnauthorized(text="the menu needs its password\n", headers=challenge)
    return ticket.password(header)
