"""The questions of a PC on the LAN, or of an attacker: one a call, with an answer in JSON.

``offered MAC``, ``listen``, ``relay ADDRESS MAC``, ``ask4011 SOURCE MAC``, ``ask67 MAC``,
``tftp PATH``, ``http METHOD PATH [SERVER]``, ``attach NAME``.
DHCP is written by hand here: an attacker uses no code of netboot.
"""

import asyncio
import contextlib
import http.client
import json
import os
import socket
import struct
import sys
from typing import Any

from netboot.errors import NetbootError
from netboot.pages.nbd.client import PageClient

SERVER, SECONDS = "10.99.0.1", 3.0
COOKIE = bytes((99, 130, 83, 99))
DISCOVER, REQUEST = 1, 3


def question(mac: str, kind: int, relay: str = "0.0.0.0", more: bytes = b"") -> bytes:
    """Return a message of an iPXE with a BIOS; ``more`` are further options."""
    head = struct.pack("!4BI2H12x", 1, 1, 6, 0, int.from_bytes(os.urandom(4)), 0, 0x8000)
    head += socket.inet_aton(relay)
    options = bytes((53, 1, kind, 60, 9)) + b"PXEClient" + bytes((93, 2, 0, 0))
    options += bytes((77, 4)) + b"iPXE" + bytes((175, 6, 0x13, 1, 1, 0x18, 1, 1))
    chaddr = bytes.fromhex(mac.replace(":", "")).ljust(16, b"\0")
    return head + chaddr + bytes(192) + COOKIE + options + more + b"\xff"


def file_of(answer: bytes) -> str:
    """Return the content of the file field."""
    return answer[108:236].split(b"\0")[0].decode()


def listening() -> socket.socket:
    """Return a socket that hears what DHCP servers broadcast."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0\0")
    sock.bind(("", 68))
    sock.settimeout(SECONDS)
    return sock


def offered(mac: str) -> str:
    """Return what the server offers to ``mac``, in hexadecimal."""
    with listening() as sock:
        sock.sendto(question(mac, DISCOVER), ("255.255.255.255", 67))
        return sock.recv(2000).hex()


def listen() -> str:
    """Return the first offer to anybody, in hexadecimal, and ask nothing."""
    with listening() as sock:
        sys.stderr.write("listening\n")
        sock.settimeout(60)
        return sock.recv(2000).hex()


def ask67(mac: str) -> None:
    """Ask as ``mac`` from a port that needs no privilege."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(question(mac, DISCOVER), (SERVER, 67))


def tftp(path: str) -> str:
    """Return the first block of a file, or an empty text if the server refuses it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(SECONDS)
        request = b"\0\1" + path.encode() + b"\0octet\0blksize\x001400\0"
        sock.sendto(request, (SERVER, 69))
        answer, source = sock.recvfrom(2000)
        if answer[1] == 6:  # OACK
            sock.sendto(b"\0\4\0\0", source)
            answer, source = sock.recvfrom(2000)
        sock.sendto(b"\0\4\0\1", source)
        return answer[4:].decode("latin-1") if answer[1] == 3 else ""


def relay(address: str, mac: str) -> tuple[str, str]:
    """Be the relay at ``address``: return the IP address and the boot file that ``mac`` gets."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, 67))
        sock.settimeout(SECONDS)
        sock.sendto(question(mac, DISCOVER, address), (SERVER, 67))
        given = sock.recv(2000)[16:20]
        chosen = bytes((54, 4)) + socket.inet_aton(SERVER) + bytes((50, 4)) + given
        sock.sendto(question(mac, REQUEST, address, chosen), (SERVER, 67))
        answer = sock.recv(2000)
        assert answer[16:20] == given
        return socket.inet_ntoa(given), file_of(answer)


def ask4011(source: str, mac: str) -> str:
    """Return the boot file for ``mac`` from port 4011, or an empty text. Needs no privilege."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((source, 4011))
        sock.settimeout(SECONDS)
        sock.sendto(question(mac, REQUEST), (SERVER, 4011))
        with contextlib.suppress(TimeoutError):
            return file_of(sock.recv(2000))
        return ""


def ask_http(method: str, path: str, server: str = SERVER) -> tuple[int, str]:
    """Return status and content of an answer."""
    connection = http.client.HTTPConnection(server, 8080, timeout=SECONDS)
    connection.request(method, path)
    with connection.getresponse() as response:
        return response.status, response.read().decode()


def attach(name: str) -> str:
    """Attach to an export; return the reason of a refusal, or an empty text."""

    async def run() -> str:
        try:
            client = await PageClient.attach(SERVER, 10809, name)
        except NetbootError as error:
            return str(error)
        client.close()
        return ""

    return asyncio.run(run())


def main() -> None:
    calls: dict[str, Any] = {
        "offered": offered,
        "ask67": ask67,
        "tftp": tftp,
        "listen": listen,
        "relay": relay,
        "ask4011": ask4011,
        "http": ask_http,
        "attach": attach,
    }
    sys.stdout.write(json.dumps(calls[sys.argv[1]](*sys.argv[2:])))


if __name__ == "__main__":
    main()
