"""A swap agent as it attaches: ``python -m tests.support.swap_secret HOST PORT EXPORT SECRET SET``.

It prints the secret that opens the export from then on: the server's key, or SECRET if it has none.
"""

import asyncio
import sys

from netboot.pages.nbd.client import SwapEntry


async def main(host: str, port: str, export: str, secret: str, number: str) -> None:
    """Open a connection with SECRET, a token or a key, and close it."""
    entry = SwapEntry(host, int(port), export, secret)
    entry.begin_set(int(number))
    client = await entry.connect()
    client.close()
    sys.stdout.write(entry.secret)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
