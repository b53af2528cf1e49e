"""Serve a folder over TFTP with our server: ``python -m tests.support.serve_tftp ADDRESS FOLDER``.

Prints ``ready``, and then each finished transfer as JSON.
"""

import asyncio
import json
import sys
from dataclasses import asdict
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from netboot.serve.tftp.server import TftpServer, Transfer


async def main(address: str, folder: Path) -> None:
    """Serve until the process is killed."""

    def read(name: str, server: IPv4Address, client: IPv4Address) -> Path | None:
        path = folder / name
        return path if path.parent == folder and path.is_file() else None

    def report(transfer: Transfer) -> None:
        tell(json.dumps(asdict(transfer)))

    server = TftpServer(read, report, networks=[IPv4Network("10.0.0.0/8")])
    await server.start([IPv4Address(address)])
    tell("ready")
    await asyncio.Event().wait()


def tell(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
