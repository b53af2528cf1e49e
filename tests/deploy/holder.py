"""A seat that uses its swap while the server is upgraded: ``holder.py SERVER WHO``.

It prints ``attached``, then reads its page repeatedly until its input ends. Then it prints the
number of reads, or the error.
"""

import asyncio
import re
import secrets
import select
import sys

from netboot.pages.nbd.client import PageClient
from netboot.serve.http.client import http_read


async def main(server: str, who: str) -> None:
    base = f"http://{server}:8080"
    script = (await http_read(f"{base}/boot/{who}/bios.ipxe")).decode()
    words = dict(re.findall(r"netboot\.(swap|token|ticket)=(\S+)", script))
    await http_read(f"{base}/lease/{words['ticket']}?ram=1000000")
    export = words["swap"].partition("/")[2]
    client = await PageClient.attach(server, 10809, f"{export}@{words['token']}.1")
    page, reads = secrets.token_bytes(4096), 0
    await client.write(8192, page)
    sys.stdout.write("attached\n")
    sys.stdout.flush()
    while not select.select([sys.stdin], [], [], 0.01)[0]:
        assert await client.read(8192, 4096) == page
        reads += 1
    client.close()
    sys.stdout.write(f"{reads} reads\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
