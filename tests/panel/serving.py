"""A panel behind a real socket on loopback, and a reader of its stream."""

import asyncio
import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator

from fastapi import FastAPI

from netboot.panel.web.server import WebServer, listen

PATIENCE = 60.0


@contextlib.contextmanager
def serving(
    app: FastAPI, address: str = "127.0.0.1"
) -> Iterator[tuple[int, asyncio.AbstractEventLoop]]:
    """Serve an application in a thread; yield its port and its loop."""
    sock = listen(address, 0)
    server = WebServer(app)
    began = threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        task = asyncio.create_task(server.serve([sock]))
        while not server.started and not task.done():
            await asyncio.sleep(0.01)
        began.set()
        await task

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="panel")
    thread.start()
    try:
        assert began.wait(PATIENCE)
        assert server.started
        yield sock.getsockname()[1], loops[0]
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        assert not thread.is_alive()
        sock.close()


class Stream:
    """One open stream. ``events`` blocks for the next one."""

    def __init__(self, port: int, path: str = "/api/v1/stream", **headers: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        fields = {key.replace("_", "-"): value for key, value in headers.items()}
        self.connection.request("GET", path, headers=fields)
        self.answer = self.connection.getresponse()
        self.status = self.answer.status

    def next(self) -> dict[str, str]:
        """Return the fields of the next event; ``{"": ...}`` for a comment, ``{}`` at the end."""
        fields: dict[str, str] = {}
        while True:
            line = self.answer.readline().decode()
            if not line:
                return {}
            if line == "\n":
                if "retry" in fields:
                    fields = {}
                    continue
                return fields
            key, _, value = line.rstrip("\n").partition(": ")
            fields[key.rstrip(":") if key else ""] = value

    def close(self) -> None:
        """Hang up."""
        if self.connection.sock is not None:
            self.connection.sock.close()
        self.answer.close()
        self.connection.close()


def unread(port: int, path: str, *, buffer: int = 4096) -> socket.socket:
    """Send a request whose answer nobody reads."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.settimeout(PATIENCE)
    sock.connect(("127.0.0.1", port))
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    return sock
