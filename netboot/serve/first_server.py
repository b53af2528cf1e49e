"""The first one of two boot servers, as the second one asks after it."""

import asyncio
import logging
import time

from netboot.errors import AnswerError
from netboot.host.complaints import Complaints
from netboot.serve.dhcp.standby import AWAY_SECONDS, Standby
from netboot.serve.http.client import http_read

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0


class FirstServer:
    """Asks the first server's ``port`` each second whether it serves, and tells ``standby``.

    The answer to /status has 100 bytes without the secret, and is made once a second at most.
    """

    def __init__(self, standby: Standby, port: int) -> None:
        self._standby = standby
        self._port = port
        self._complaints = Complaints(log)
        self._was_away = False

    async def run(self) -> None:
        """Ask until cancelled. Does nothing while this machine is the first server."""
        while True:
            begin = time.monotonic()
            await self._ask()
            self._tell()
            await asyncio.sleep(max(0.0, begin + POLL_SECONDS - time.monotonic()))

    async def _ask(self) -> None:
        first = self._standby.superior
        if first is None:
            return
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await http_read(f"http://{first}:{self._port}/status", patience=POLL_SECONDS)
        except (AnswerError, TimeoutError):
            return
        self._standby.heard(time.monotonic())

    def _tell(self) -> None:
        """Log that the first server went away or came back. A loose cable makes few lines."""
        first = self._standby.superior
        is_away = first is not None and self._standby.is_away(time.monotonic())
        if is_away == self._was_away:
            return
        self._was_away = is_away
        message = (
            f"the first boot server, {first}, has not answered for {AWAY_SECONDS:g} s: this server "
            "boots the PCs until it answers again"
            if is_away
            else "the first boot server answers again: PCs are left to it"
        )
        self._complaints.warn(message, "%s", message)
