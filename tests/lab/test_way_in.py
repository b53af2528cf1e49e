"""Connections from outside of the lab, here through one network."""

import asyncio
import socket

import pytest

from netboot.lab import way_in as module
from netboot.lab.way_in import LOOPBACK, listen, way_in

pytestmark = pytest.mark.system
LARGE = bytes(range(256)) * 2000


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(4096):
        writer.write(data)
        await writer.drain()
    writer.close()


async def _said(listener_port: int, content: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(LOOPBACK, listener_port)

    async def say() -> None:
        writer.write(content)
        await writer.drain()
        writer.write_eof()

    answer, _ = await asyncio.gather(reader.read(-1), say())
    writer.close()
    return answer


def test_both_directions_and_their_ends_pass() -> None:
    async def work() -> None:
        inside = await asyncio.start_server(_echo, LOOPBACK, 0)
        listener = listen(0)
        async with inside, way_in(listener, inside.sockets[0].getsockname()[1]):
            port = listener.getsockname()[1]
            said = await asyncio.gather(_said(port, LARGE), _said(port, b"x"))
            assert list(said) == [LARGE, b"x"]

    asyncio.run(asyncio.wait_for(work(), 30))


def test_a_browser_waits_for_a_panel_that_starts() -> None:
    async def work() -> None:
        with socket.create_server((LOOPBACK, 0)) as free:
            later = free.getsockname()[1]
        listener = listen(0)
        async with way_in(listener, later):
            early = asyncio.create_task(_said(listener.getsockname()[1], b"early"))
            await asyncio.sleep(0.3)
            async with await asyncio.start_server(_echo, LOOPBACK, later):
                assert await early == b"early"

    asyncio.run(asyncio.wait_for(work(), 30))


def test_a_panel_that_does_not_come_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.3)

    async def work() -> None:
        with socket.create_server((LOOPBACK, 0)) as free:
            nobody = free.getsockname()[1]
        listener = listen(0)
        async with way_in(listener, nobody):
            reader, writer = await asyncio.open_connection(LOOPBACK, listener.getsockname()[1])
            assert await reader.read(-1) == b""
            writer.close()

    asyncio.run(asyncio.wait_for(work(), 30))


def test_a_port_in_use_gives_another_one() -> None:
    with socket.create_server((LOOPBACK, 0)) as used:
        port = used.getsockname()[1]
        with listen(port) as other:
            assert other.getsockname()[1] != port
