"""A page server of a room with layout any, as a process of its own: ``python -m tests.support.pooled``.

The arguments are the room's secret in hexadecimal, the address and the port. For each line ``TOKEN BYTES`` on
its standard input it grants the lease EXPORT, and prints the key of that.
"""

import asyncio
import contextlib
import logging
import signal
import sys
import time

from netboot.boot.keyring import Keyring
from netboot.pages.lease import Lease, LeaseTable
from netboot.pages.server import PageServer
from netboot.pages.shared_exports import Room, SharedExports
from netboot.pages.stores.pool import make_store
from netboot.profile.stores import parse_store
from tests.support.ceph import POOL

GIB = 1 << 30
SEAT, EXPORT = "52:54:00:12:34:01", "seat-525400123401"
CONNECTIONS = 4


async def serve(secret: bytes, address: tuple[str, int]) -> None:
    ended, keys, loop = asyncio.Event(), Keyring(secret), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    table = LeaseTable(GIB)

    def grant() -> None:
        token, size = sys.stdin.readline().split()
        lease = table.grant(SEAT, EXPORT, token, int(size), time.time(), connections=CONNECTIONS)
        assert isinstance(lease, Lease), lease
        say(keys.swap_key(lease.generation))

    with contextlib.closing(make_store(parse_store(f"rbd:{POOL}"), "room")) as store:
        exports = SharedExports(
            store, table, Room(keys.rooms, keys.swap_key, lambda seat: CONNECTIONS)
        )
        server = PageServer(exports, listen=[address], workers=1)
        await server.start()
        following = loop.create_task(exports.run())
        loop.add_reader(sys.stdin, grant)
        say("listening")
        await ended.wait()
        following.cancel()
        await server.stop()
        await exports.files.keeper.stop()
        exports.close()


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    given, host, port = sys.argv[1:]
    asyncio.run(serve(bytes.fromhex(given), (host, int(port))))
