"""GET /words/MAC: the signed words of a seat, for a PC that a signed image has started.

The answer is the signature and what it signs. The query has a random number of the PC's, which comes
back in what is signed, and the digest of the image that runs.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address
from typing import Protocol

from aiohttp import web

from netboot.boot import own_image, ticket
from netboot.boot.ticket import Key
from netboot.errors import DeniedError, OperatorError

log = logging.getLogger(__name__)


class WordsAnswers(Protocol):
    """The answers that the door needs."""

    def open(self, who: str, address: IPv4Address) -> Key | None:
        """Return the seat that begins a boot, or None. Raises DeniedError."""

    def words(
        self, mac: str, nonce: str, image: str, server: IPv4Address, address: IPv4Address
    ) -> bytes:
        """Return what is to be signed for a seat that runs ``image``."""

    def sign(self, text: bytes) -> bytes:
        """Return the signature of ``text``. It takes a while. Raises OperatorError."""


class WordsDoor:
    """The door to the words of seats. ``asker`` returns the address that asks."""

    def __init__(
        self, answers: WordsAnswers, asker: Callable[[web.Request], Awaitable[IPv4Address]]
    ) -> None:
        self._answers = answers
        self._asker = asker

    def routes(self) -> list[web.RouteDef]:
        """Return the route of the words."""
        return [web.get("/words/{mac}", self._answer, allow_head=False)]

    async def _answer(self, request: web.Request) -> web.Response:
        who, query = request.match_info["mac"], request.query
        nonce, image = query.get("nonce", ""), query.get("image", "")
        address = await self._asker(request)
        if not ticket.is_mac(who) or not own_image.is_nonce(nonce):
            raise web.HTTPNotFound(text="no such words\n")
        try:
            key = self._answers.open(who, address)
            if key is None:
                raise web.HTTPNotFound(text="this server has no signed image\n")
            assert request.transport is not None
            server = IPv4Address(request.transport.get_extra_info("sockname")[0])
            text = self._answers.words(key.mac, nonce, image, server, address)
        except DeniedError as error:
            raise web.HTTPForbidden(text=f"{error}\n") from None
        try:
            signature = await asyncio.to_thread(self._answers.sign, text)
        except OperatorError as error:
            log.warning("%s: no words for a PC with Secure Boot: %s", who, error)
            raise web.HTTPServiceUnavailable(text="the words cannot be signed\n") from None
        return web.Response(body=signature + text)
