"""A page server with one lease, as a process of its own: ``python -m tests.support.leasing``.

The arguments are the store's kind, the folder of its pages, the address and port, the lease's token,
and the seconds between two pings of a worker, of which ten have to be unanswered. With ``apart`` behind
them, the folder is on a file system that carries no locks between machines, and NETBOOT_BOOT_ID names
the machine.
"""

import asyncio
import contextlib
import fcntl
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from netboot.pages import crew, process
from netboot.pages.exports import LeasedExports
from netboot.pages.lease import LeaseTable
from netboot.pages.server import PageServer
from netboot.pages.stores import folder as folders
from netboot.pages.stores import holder
from netboot.pages.stores.disk import DiskStore
from netboot.pages.stores.memory import MemoryStore
from netboot.pages.stores.store import PageStore
from netboot.pages.stores.tiered import TieredStore

MIB = 1 << 20
SEAT, EXPORT = "52:54:00:12:34:01", "seat-525400123401"
NAME = "room"
WATCH_SECONDS = 1.0


def be_apart() -> None:
    """Have no lock of the folder reach another process, and watch it for a short time."""

    def flock(descriptor: int, how: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().suffix == folders.SUFFIX:
            fcntl.flock(descriptor, how)

    for module in (folders, holder):
        vars(module)["fcntl"] = SimpleNamespace(**{**vars(fcntl), "flock": flock})
    vars(holder)["is_remote"] = lambda path: True
    holder.WATCH_SECONDS, holder.BEAT_SECONDS, holder.SETTLE_SECONDS = WATCH_SECONDS, 0.05, 0.1


def make_store(kind: str, folder: Path) -> PageStore:
    match kind:
        case "memory":
            return MemoryStore(folder, NAME, maps=False)
        case "disk":
            return DiskStore(folder, NAME)
        case _:
            return TieredStore(folder / "disk", 8 * MIB, NAME, tmpfs=folder)


async def serve(kind: str, folder: Path, address: tuple[str, int], token: str) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    with contextlib.closing(make_store(kind, folder)) as store:
        table = LeaseTable(64 * MIB)
        exports = LeasedExports(store, table)
        table.grant(SEAT, EXPORT, token, MIB, time.time())
        server = PageServer(exports, listen=[address], workers=1)
        await server.start()
        sys.stdout.write("listening\n")
        sys.stdout.flush()
        await ended.wait()
        await server.stop()
        await exports.files.keeper.stop()
        exports.close()


if __name__ == "__main__":
    kind, folder, host, port, token, ping, *apart = sys.argv[1:]
    if apart:
        be_apart()
    process.PING_SECONDS = float(ping)
    crew.TAKE_OVER_SECONDS = min(crew.TAKE_OVER_SECONDS, 10 * process.PING_SECONDS)
    asyncio.run(serve(kind, Path(folder), (host, int(port)), token))
