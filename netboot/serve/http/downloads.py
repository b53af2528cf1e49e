"""Files over HTTP. aiohttp answers Range and If-None-Match (ETag); sendfile(2) sends content."""

from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any

from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter

from netboot.serve.http.sending import Senders

CHUNK_BYTES = 256 << 10

Sent = Callable[[int | None], None]
"""Called with the number of bytes of content that were sent, or None if the PC went away."""


class Download(web.FileResponse):
    """A response with a file, or with the requested range of it.

    ``sent`` is not called if the response has no content (HEAD, or the PC has the file already).
    ``unreadable`` is called if the file does not exist or may not be read.
    """

    def __init__(
        self, path: Path, sent: Sent, senders: Senders, unreadable: Callable[[], object]
    ) -> None:
        super().__init__(path)
        self._unreadable = unreadable
        self._report = sent
        self._senders = senders

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        try:
            writer = await self._send(request)
        except ConnectionError:
            self._report(None)
            raise
        if self.status in (HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN):
            self._unreadable()
        if request.method == "GET" and self.status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            self._report(self.content_length or 0)
        return writer

    async def _send(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Open the file and send it, or what the request asks for instead.

        aiohttp would have a thread open the file, and close it. Each time the threads that send have
        to wait for Python's lock; and the path was looked up in this very thread a moment ago.
        """
        encodings = request.headers.get(hdrs.ACCEPT_ENCODING, "").lower()
        try:
            _, file, status, encoding = self._make_response(request, encodings)
        except OSError:  # told as aiohttp does
            return await super().prepare(request)
        if file is None:  # the PC has it already, or it is no file
            return await super().prepare(request)
        with file:
            return await self._prepare_open_file(request, file, status, encoding)

    async def _sendfile(
        self, request: web.BaseRequest, fobj: IO[Any], offset: int, count: int
    ) -> AbstractStreamWriter:
        """Send by threads. asyncio's method would send in the event loop."""
        writer = await web.StreamResponse.prepare(self, request)
        transport = request.transport
        if writer is None or transport is None:
            raise ConnectionResetError("the PC closed the connection")
        transport.set_write_buffer_limits(0)
        await writer.drain()  # send the head first
        transport.set_write_buffer_limits()
        connection = transport.get_extra_info("socket")
        await self._senders.send(connection, fobj.fileno(), offset, count)
        await self.write_eof()
        return writer


async def send_with_end(
    request: web.Request, path: Path, end: str, sent: Sent
) -> web.StreamResponse:
    """Send an EFI program: the file ``path`` with its last characters replaced by ``end``."""
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
