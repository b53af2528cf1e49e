"""A page server with one lease, as a process of its own: ``python -m tests.support.leasing``.

The arguments are the store's kind, the folder of its pages, the port, and the seconds between two
pings of a worker, of which ten have to be unanswered.
"""

import asyncio
import contextlib
import signal
import sys
from pathlib import Path

from netboot.pages import crew, process
from netboot.pages.exports import LeasedExports
from netboot.pages.lease import LeaseTable
from netboot.pages.server import PageServer
from netboot.pages.stores.disk import DiskStore
from netboot.pages.stores.memory import MemoryStore

MIB = 1 << 20
SEAT, EXPORT, TOKEN = "52:54:00:12:34:01", "seat-525400123401", "t1"
NAME = "room"


async def serve(kind: str, folder: Path, port: int) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    store = MemoryStore(folder, NAME, maps=False) if kind == "memory" else DiskStore(folder, NAME)
    with contextlib.closing(store):
        table = LeaseTable(64 * MIB)
        exports = LeasedExports(store, table)
        table.grant(SEAT, EXPORT, TOKEN, MIB, 0.0)
        server = PageServer(exports, listen=[("127.0.0.1", port)], workers=1)
        await server.start()
        sys.stdout.write("listening\n")
        sys.stdout.flush()
        await ended.wait()
        await server.stop()
        await exports.files.keeper.stop()
        exports.close()


if __name__ == "__main__":
    kind, folder, port, ping = sys.argv[1:]
    process.PING_SECONDS = float(ping)
    crew.TAKE_OVER_SECONDS = min(crew.TAKE_OVER_SECONDS, 10 * process.PING_SECONDS)
    asyncio.run(serve(kind, Path(folder), int(port)))
