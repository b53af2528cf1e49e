"""A way into the lab: a listener of this machine, whose connections end at a program in the lab.

A listener belongs to the network in which it was made. The lab's process makes it before it leaves
that network, and takes its connections from within the lab.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

LOOPBACK = "127.0.0.1"
BLOCK_BYTES = 64 << 10
PATIENCE_SECONDS = 30.0  # for a program that starts
AGAIN_SECONDS = 0.2


def listen(port: int) -> socket.socket:
    """Listen on ``port`` of 127.0.0.1, or on a free one if that is in use. Raises OSError."""
    try:
        return socket.create_server((LOOPBACK, port))
    except OSError:
        return socket.create_server((LOOPBACK, 0))


@contextlib.asynccontextmanager
async def way_in(listener: socket.socket, port: int) -> AsyncIterator[None]:
    """Pass what comes to ``listener`` on to ``port`` of 127.0.0.1 here, and back."""
    passing: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(_pass(reader, writer, port))
        passing.add(task)
        task.add_done_callback(passing.discard)

    server = await asyncio.start_server(begin, sock=listener)
    try:
        yield
    finally:
        server.close()
        for task in passing:
            task.cancel()
        await asyncio.gather(*passing, return_exceptions=True)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    """Pass one connection on until both sides have ended."""
    with contextlib.closing(writer):
        there = await _connect(port)
        if there is None:
            return
        other_reader, other_writer = there
        with contextlib.closing(other_writer):
            await asyncio.gather(_pump(reader, other_writer), _pump(other_reader, writer))


async def _connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
    """Return a connection to a program that may be starting still; None if it does not come."""
    loop = asyncio.get_running_loop()
    until = loop.time() + PATIENCE_SECONDS
    while loop.time() < until:
        with contextlib.suppress(OSError):
            return await asyncio.open_connection(LOOPBACK, port)
        await asyncio.sleep(AGAIN_SECONDS)
    return None


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(BLOCK_BYTES):
            writer.write(data)
            await writer.drain()
    # Half a connection that ended: the other half may go on.
    with contextlib.suppress(OSError):
        writer.write_eof()
