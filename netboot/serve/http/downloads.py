"""Files over HTTP. aiohttp answers Range and If-None-Match (ETag); the content goes by sendfile(2)."""

from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from netboot.serve.http.sending import Senders

CHUNK_BYTES = 256 << 10

Sent = Callable[[int | None], None]
"""Hears how many bytes of content were sent, or None if the PC went away."""


class Download(web.FileResponse):
    """Sends a file, or the range that was asked for. ``sent`` hears nothing if there was no content
    to send (HEAD, or the PC has it).
    """

    def __init__(self, path: Path, sent: Sent, senders: Senders) -> None:
        super().__init__(path)
        self._report = sent
        self._senders = senders

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        try:
            writer = await super().prepare(request)  # sends the whole file
        except ConnectionError:
            self._report(None)
            raise
        if request.method == "GET" and self.status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            self._report(self.content_length or 0)
        return writer

    async def _sendfile(
        self, request: web.BaseRequest, fobj: IO[Any], offset: int, count: int
    ) -> AbstractStreamWriter:
        """In place of asyncio's, which sends in the event loop."""
        writer = await web.StreamResponse.prepare(self, request)
        transport = request.transport
        if writer is None or transport is None:
            raise ConnectionResetError("the PC closed the connection")
        transport.set_write_buffer_limits(0)
        await writer.drain()  # the head is on its way
        transport.set_write_buffer_limits()
        connection = transport.get_extra_info("socket")
        await self._senders.send(connection, fobj.fileno(), offset, count)
        await self.write_eof()
        return writer


async def send_with_end(
    request: web.Request, path: Path, end: str, sent: Sent
) -> web.StreamResponse:
    """Sends an EFI program, the file ``path`` but with ``end`` as its last characters."""
    size = path.stat().st_size
    response = web.StreamResponse()
    response.content_type, response.content_length = "application/efi", size
    await response.prepare(request)
    if request.method != "GET":
        return response
    left = size - len(end)
    try:
        with path.open("rb") as file:
            while left > 0:
                chunk = file.read(min(left, CHUNK_BYTES))
                await response.write(chunk)
                left -= len(chunk)
        await response.write(end.encode())
        await response.write_eof()
    except ConnectionError:
        sent(None)
        raise
    sent(size)
    return response
