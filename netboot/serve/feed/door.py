"""The door of the feed: on a Unix socket for this machine, and over HTTP with a key."""

import asyncio
import contextlib
import json
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from aiohttp import web

from netboot.boot.limits import FEED_ORDER_BYTES
from netboot.feed.protocol import DRAIN_PATH, FEED_PATH, MAX_NAME, ORDERS_PATH, SOCKET_FILE
from netboot.host import folders
from netboot.serve.draining import Progress
from netboot.serve.feed.acting import Order, parse_order
from netboot.serve.feed.readers import Reader, Readers
from netboot.serve.http.doorkeeper import quiet_logger

log = logging.getLogger(__name__)

SOCKET_MODE = 0o660
BACKLOG = 16
MOST_ORDER_BYTES = FEED_ORDER_BYTES.in_total or 0
MAX_DIGITS = 18
SHUTDOWN_SECONDS = 0.2


class Source(Protocol):
    """The feed as its door needs it."""

    readers: Readers

    def begin(self, after: int, run: str) -> Iterator[bytes]:
        """Return the lines with which a reader begins, who has the events to number ``after``."""

    async def carry_out(self, order: Order) -> dict[str, str]:
        """Carry out an order. Return by seat why it was refused; an empty text if it was not."""


class Drains(Protocol):
    """The drain of this server as its door needs it."""

    def obstacle(self) -> str:
        """Return why this server cannot be drained; empty if it can."""

    async def drain(self, by: str) -> bool:
        """Begin to drain. Return whether the order is saved, for the next server."""

    async def undrain(self, by: str) -> bool:
        """Take swap again. Return whether that is saved."""

    def progress(self) -> Progress:
        """Return how far it is."""


class Door:
    """Lets panels in. ``is_key`` tells whether a text is the key of a panel."""

    def __init__(self, source: Source, is_key: Callable[[str], bool], drains: Drains) -> None:
        self._source = source
        self._drains = drains
        self._is_key = is_key
        self._runner: web.AppRunner | None = None
        self._path: Path | None = None
        self._inode = 0

    # Over HTTP, see netboot.serve.http.server.Panels.

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Return the routes that ask for the key."""
        return [
            web.get(FEED_PATH, partial(self._asked, self._feed), allow_head=False),
            web.post(ORDERS_PATH, partial(self._asked, self._orders)),
            web.get(DRAIN_PATH, partial(self._asked, self._drain), allow_head=False),
            web.post(DRAIN_PATH, partial(self._asked, self._drain)),
        ]

    def most_bytes(self, request: web.Request) -> int | None:
        """Return how long the body of an order may be; None for other requests."""
        return MOST_ORDER_BYTES if request.path == ORDERS_PATH and self._may(request) else None

    def _may(self, request: web.Request) -> bool:
        kind, _, key = request.headers.get("Authorization", "").partition(" ")
        return kind == "Bearer" and self._is_key(key)

    async def _asked(
        self, answer: Callable[[web.Request], Awaitable[web.StreamResponse]], request: web.Request
    ) -> web.StreamResponse:
        if not self._may(request):
            raise web.HTTPForbidden(text="wrong key: this is for a panel with this server's key\n")
        return await answer(request)

    # On a Unix socket.

    async def open(self, state: Path, group: int = -1) -> None:
        """Listen on a Unix socket for ``group``, in systemd's runtime folder, else in ``state``.

        Raises OSError.
        """
        app = web.Application(client_max_size=MOST_ORDER_BYTES)
        app.add_routes(
            [
                web.get(FEED_PATH, self._feed, allow_head=False),
                web.post(ORDERS_PATH, self._orders),
                web.get(DRAIN_PATH, self._drain, allow_head=False),
                web.post(DRAIN_PATH, self._drain),
            ]
        )
        path = (folders.given(folders.RUNTIME) or state) / SOCKET_FILE
        listener = _listen(path, group)
        self._path, self._inode = path, path.lstat().st_ino
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=SHUTDOWN_SECONDS,
            logger=quiet_logger(),
        )
        await self._runner.setup()
        await web.SockSite(self._runner, listener, backlog=BACKLOG).start()

    async def close(self) -> None:
        """Let all readers go, and remove the socket."""
        self._source.readers.end()
        if self._path is not None:
            with contextlib.suppress(OSError):
                if self._path.lstat().st_ino == self._inode:  # else another server's
                    self._path.unlink()
        if self._runner is not None:
            await self._runner.cleanup()

    # Both.

    async def _feed(self, request: web.Request) -> web.StreamResponse:
        after, run = request.query.get("after", "0"), request.query.get("run", "")
        if not (after.isascii() and after.isdigit() and len(after) <= MAX_DIGITS):
            raise web.HTTPBadRequest(text="after: expected the number of an event\n")
        reader = Reader(partial(_hang_up, request))
        readers = self._source.readers
        if readers.is_full:
            raise web.HTTPTooManyRequests(text="too many readers of this feed\n")
        lines = self._source.begin(int(after), run)
        readers.add(reader)
        try:
            response = web.StreamResponse(headers={"Cache-Control": "no-store"})
            response.content_type = "application/x-ndjson"
            await response.prepare(request)
            for chunk in lines:
                await response.write(chunk)
                await asyncio.sleep(0)  # a PC's DHCP comes between two chunks
            while chunk := await reader.take():
                await response.write(chunk)
            with contextlib.suppress(ConnectionError):
                await response.write_eof()
            return response
        except ConnectionError:  # the reader is gone, or was too slow
            return web.Response()
        finally:
            readers.discard(reader)

    async def _orders(self, request: web.Request) -> web.Response:
        order = parse_order(await request.read())
        if isinstance(order, str):
            raise web.HTTPBadRequest(text=f"{order}\n")
        return web.json_response(
            await self._source.carry_out(order), dumps=partial(json.dumps, separators=(",", ":"))
        )

    async def _drain(self, request: web.Request) -> web.Response:
        drains, do, by = self._drains, request.query.get("do"), request.query.get("by", "")
        if request.method == "POST":
            if do not in ("drain", "undrain") or not (by.isprintable() and 0 < len(by) <= MAX_NAME):
                raise web.HTTPBadRequest(text="expected do=drain or do=undrain, and by=NAME\n")
            if do == "drain" and (obstacle := drains.obstacle()):
                raise web.HTTPConflict(text=f"{obstacle}\n")
            if not await (drains.drain(by) if do == "drain" else drains.undrain(by)):
                raise web.HTTPInsufficientStorage(text="the order cannot be saved; see its log\n")
        return web.json_response(drains.progress().as_json())


def _hang_up(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _listen(path: Path, group: int) -> socket.socket:
    """Return a socket that listens at ``path``, in place of one that an earlier server left.

    Raises OSError. The path may be longer than the 107 bytes of an address (unix(7)).
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    fresh = f".{path.name}.{os.getpid()}"
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh, dir_fd=folder)
        sock.bind(f"/proc/self/fd/{folder}/{fresh}")
        try:
            os.chmod(fresh, SOCKET_MODE, dir_fd=folder)
            if group >= 0:
                os.chown(fresh, -1, group, dir_fd=folder)
            sock.listen(BACKLOG)
            os.rename(fresh, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            os.unlink(fresh, dir_fd=folder)
            raise
        sock.setblocking(False)
        return sock
    except OSError:
        sock.close()
        raise
    finally:
        os.close(folder)
