"""The answers to /status: cheap however often they are asked for, and however slowly read."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable

from aiohttp import web

from netboot.boot.limits import STATUS_ANSWERS
from netboot.host import processes

KEPT_SECONDS = 1.0
PIECE_BYTES = 64 << 10


class Overview:
    """The answer to /status. ``make`` gets the CPU seconds of the server and returns it as JSON."""

    def __init__(
        self, make: Callable[[float], str], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._make = make
        self._now = now
        self._content = b""
        self._made = float("-inf")
        self._lock = asyncio.Lock()

    async def content(self) -> bytes:
        """Return the answer, at most ``KEPT_SECONDS`` old. Readers share one copy."""
        async with self._lock:
            if self._now() - self._made >= KEPT_SECONDS:
                # Reads a file of each process of the machine: some milliseconds.
                spent = await asyncio.to_thread(processes.cpu_seconds, os.getpid())
                self._content = self._make(spent).encode()
                self._made = self._now()
            return self._content


class Readers:
    """The answers to /status that are under way. An address has a limited number of them."""

    def __init__(self) -> None:
        self._reading: Counter[str] = Counter()

    async def send(self, request: web.Request, content: bytes) -> web.StreamResponse:
        """Send JSON piece by piece, so that no slow reader makes this process hold a copy."""
        address = str(request.remote)
        if self._reading[address] >= (STATUS_ANSWERS.per_address or 0):
            raise web.HTTPTooManyRequests(text="too many answers at a time for your address\n")
        self._reading[address] += 1
        try:
            return await _send(request, content)
        finally:
            self._reading[address] -= 1
            if not self._reading[address]:
                del self._reading[address]


async def _send(request: web.Request, content: bytes) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_type, response.content_length = "application/json", len(content)
    try:
        async with asyncio.timeout(STATUS_ANSWERS.seconds):
            await response.prepare(request)
            if request.method == "GET":
                for begin in range(0, len(content), PIECE_BYTES):
                    await response.write(content[begin : begin + PIECE_BYTES])
                await response.write_eof()
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionAbortedError("the reader is too slow") from None
    return response
