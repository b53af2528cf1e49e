"""Connections from outside of the lab."""

import asyncio
import socket
import subprocess
import sys

import pytest

from netboot.lab import way_in as module
from netboot.lab.way_in import LOOPBACK, listen, way_in
from tests.support.ports import free_port

pytestmark = pytest.mark.system
LARGE = bytes(range(256)) * 2000
# A program in a network of its own, which has the port on which it listens there.
LAB = """
import asyncio, sys
from netboot.lab import network
from netboot.lab.way_in import listen, way_in

listener = listen(0)
print(listener.getsockname()[1], flush=True)

async def say(reader, writer):
    writer.write(b"from within")
    writer.close()

async def work():
    async with await asyncio.start_server(say, "127.0.0.1", 8081), way_in(listener, 8081):
        await asyncio.to_thread(sys.stdin.read)

network.run_isolated(lambda: asyncio.run(work()) or 0)
"""


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

    asyncio.run(asyncio.wait_for(work(), 60))


def test_a_browser_waits_for_a_panel_that_starts() -> None:
    async def work() -> None:
        later = free_port()
        listener = listen(0)
        async with way_in(listener, later):
            early = asyncio.create_task(_said(listener.getsockname()[1], b"early"))
            await asyncio.sleep(0.3)
            async with await asyncio.start_server(_echo, LOOPBACK, later):
                assert await early == b"early"

    asyncio.run(asyncio.wait_for(work(), 60))


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

    asyncio.run(asyncio.wait_for(work(), 60))


def test_a_port_in_use_gives_another_one() -> None:
    with socket.create_server((LOOPBACK, 0)) as used:
        port = used.getsockname()[1]
        with listen(port) as other:
            assert other.getsockname()[1] != port


@pytest.mark.root
def test_a_listener_leads_into_the_network_of_the_lab() -> None:
    words = [sys.executable, "-c", LAB]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as lab:
        assert lab.stdin is not None and lab.stdout is not None
        port = int(lab.stdout.readline())
        with socket.create_connection((LOOPBACK, port), timeout=60) as browser:
            assert browser.recv(100) == b"from within"
        lab.stdin.close()
        assert lab.wait(20) == 0
