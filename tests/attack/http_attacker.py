"""An attacker of the HTTP server, in a namespace of its own. Uses no code of netboot.

``idle N SECONDS``: half requests that never end. ``stalled N SECONDS``: downloads that are never
read. ``beacons SEATS EACH``: of played seats, as large as they may be. ``status READERS SECONDS``:
answers to /status that are read by nobody, and asked for again and again.
"""

import contextlib
import http.client
import json
import os
import re
import resource
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable

SERVER = "10.99.0.1"
DISCOVER_OF_AN_IPXE = (
    bytes((99, 130, 83, 99, 53, 1, 1, 60, 9))
    + b"PXEClient"
    + bytes((93, 2, 0, 0, 77, 4))
    + b"iPXE"
    + bytes((175, 6, 0x13, 1, 1, 0x18, 1, 1, 255))
)


def asker() -> socket.socket:
    """Return a socket of a DHCP client."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0\0")
    sock.bind(("", 68))
    sock.settimeout(2)
    return sock


def discover(sock: socket.socket, mac: str) -> str:
    """Return the boot file of the offer to ``mac``. Raises TimeoutError."""
    number = os.urandom(4)
    head = struct.pack("!4B4s2H16x", 1, 1, 6, 0, number, 0, 0x8000)
    chaddr = bytes.fromhex(mac.replace(":", "")).ljust(16, b"\0")
    sock.sendto(head + chaddr + bytes(192) + DISCOVER_OF_AN_IPXE, ("255.255.255.255", 67))
    while True:
        answer = sock.recv(2000)
        if answer[0] == 2 and answer[4:8] == number:
            return answer[108:236].split(b"\0")[0].decode()


def connect(said: bytes, buffer: int = 4096) -> socket.socket | None:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.settimeout(3)
    with contextlib.suppress(OSError):
        sock.connect((SERVER, 8080))
        sock.sendall(said)
        return sock
    sock.close()
    return None


def is_open(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        while data := sock.recv(65536):
            del data
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def hold(said: bytes, number: int, is_over: Callable[[], bool]) -> Counter[str]:
    """Hold ``number`` connections. Those that are hung up on are made again, at a bounded rate.

    ``most open`` counts those that were open for a second: a busy server may not have seen the
    newest yet.
    """
    found: Counter[str] = Counter()
    held = dict[socket.socket, float]()
    while not is_over():
        if len(held) < number:
            sock = connect(said)
            found["dialled"] += 1
            if sock is not None:
                held[sock] = time.monotonic()
        else:
            time.sleep(0.1)
            gone = [sock for sock in held if not is_open(sock)]
            for sock in gone:
                del held[sock]
                sock.close()
            found["hung up on"] += len(gone)
            settled = sum(since < time.monotonic() - 1 for since in held.values())
            found["most open"] = max(found["most open"], settled)
    return found


def beacons(seats: int, each: int) -> Counter[str]:
    found: Counter[str] = Counter()
    keys = "".join(f"{key:x}={key + 300}\n" for key in range(520))
    connection = http.client.HTTPConnection(SERVER, 8080, timeout=3)
    for seat in range(seats):
        mac = f"02:6e:62:73:{seat >> 8:02x}:{seat & 255:02x}"  # of a storm: anybody may play one
        connection.request("GET", f"/boot/{mac}/bios.ipxe")
        with connection.getresponse() as response:
            script = response.read().decode()
        key = re.search(r"netboot\.ticket=(\w+)", script)
        if key is None:
            found["no script"] += 1
            continue
        for number in range(each):
            body = f"m{number}\n{keys}"[:4096]
            connection.request("POST", f"/beacon/{key[1]}/x", body=body)
            with connection.getresponse() as response:
                response.read()
                found[str(response.status)] += 1
    return found


def request(what: str) -> bytes:
    """Return what each connection of an attack sends."""
    if what == "idle":
        return b"GET /status HTTP/1.1\r\nX: "
    if what == "status":
        return b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n" * 20
    return b"GET /boot/amd64/vmlinuz HTTP/1.1\r\nHost: x\r\n\r\n"


def raise_limit() -> None:
    """Allow this process as many descriptors as it may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> None:
    raise_limit()
    what, number, last = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    if what == "beacons":
        found = beacons(number, int(last))
    else:
        end = time.monotonic() + last
        found = hold(request(what), number, lambda: time.monotonic() >= end)
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
