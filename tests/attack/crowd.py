"""An attacker that is one PC with many addresses. Uses no code of netboot.

``images NAME EACH FIRST LAST``: connections to a root image, from 10.99.0.FIRST to 10.99.0.LAST.
``handshakes EACH FIRST LAST``: NBD connections that say nothing.
``transfers FILE EACH FIRST LAST``: TFTP transfers that go on block by block, very slowly.
``addresses COUNT``: DHCP leases for made-up PCs. ``names MAC COUNT``: DHCP in a seat's name.

Each prints its result in JSON, and then holds what it has until its standard input ends.
"""

import json
import os
import resource
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator

from tests.attack.packets import client_socket, dhcp, take
from tests.attack.wire import SERVER

NBD_OPTION = struct.Struct(">8sII")
GO, ACK, ERROR = 7, 1, 1 << 31
BLOCK_BYTES = 8


def sources(first: str, last: str) -> Iterator[str]:
    return (f"10.99.0.{number}" for number in range(int(first), int(last) + 1))


def go(source: str, name: str) -> socket.socket | None:
    """Attach to an export. Return None if that is refused."""
    sock = socket.socket()
    sock.settimeout(30)
    try:
        sock.bind((source, 0))
        sock.connect((SERVER, 10809))
        data = struct.pack(">I", len(name)) + name.encode() + b"\0\0"
        option = struct.pack(">I", 3) + NBD_OPTION.pack(b"IHAVEOPT", GO, len(data)) + data
        sock.recv(18, socket.MSG_WAITALL)
        sock.sendall(option)
        while True:
            _, _, kind, length = struct.unpack(">8s4sII", sock.recv(20, socket.MSG_WAITALL))
            sock.recv(length, socket.MSG_WAITALL)
            if kind == ACK:
                return sock
            if kind & ERROR:
                break
    except (OSError, struct.error):
        pass
    sock.close()
    return None


def images(name: str, each: str, first: str, last: str) -> tuple[int, list[socket.socket]]:
    held = []
    for source in sources(first, last):
        for _ in range(int(each)):
            sock = go(source, name)
            if sock is None:
                break
            held.append(sock)
    return len(held), held


def handshakes(each: str, first: str, last: str) -> tuple[int, list[socket.socket]]:
    held = [
        socket.create_connection((SERVER, 10809), 30, (source, 0))
        for source in sources(first, last)
        for _ in range(int(each))
    ]
    time.sleep(0.2)
    kept = sum(not is_hung_up(sock) for sock in held)
    return kept, held


def is_hung_up(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        sock.recv(18)
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def transfers(file: str, each: str, first: str, last: str) -> tuple[int, list[socket.socket]]:
    request = f"\0\1{file}\0octet\0blksize\0{BLOCK_BYTES}\0".encode()
    held: list[socket.socket] = []
    asked: list[socket.socket] = []
    for source in sources(first, last):
        for _ in range(int(each)):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind((source, 0))
            sock.sendto(request, (SERVER, 69))
            asked.append(sock)
            held += acknowledged(asked, 0.05)
    while late := acknowledged(asked, 2.0):  # the answers of a busy machine
        held += late
    return len(held), held


def acknowledged(asked: list[socket.socket], seconds: float) -> list[socket.socket]:
    """Acknowledge what was answered, after waiting for it, and take it from ``asked``."""
    ready, _, _ = select.select(asked, [], [], seconds)
    for sock in ready:
        _, worker = sock.recvfrom(600)
        sock.connect(worker)
        sock.send(b"\0\4\0\0")
        sock.send(b"\0\4\0\1")
        asked.remove(sock)
    return ready


def addresses(count: str) -> tuple[int, list[socket.socket]]:
    return take(count), []


def names(mac: str, count: str) -> tuple[int, list[socket.socket]]:
    with client_socket() as sock:
        for _ in range(int(count)):
            sock.sendto(dhcp(mac), ("255.255.255.255", 67))
            time.sleep(0.005)
    return int(count), []


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    verb = {each.__name__: each for each in (images, handshakes, transfers, addresses, names)}[
        sys.argv[1]
    ]
    result, held = verb(*sys.argv[2:])
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    del held
    os._exit(0)


if __name__ == "__main__":
    main()
