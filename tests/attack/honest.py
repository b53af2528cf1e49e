"""An honest PC's requests to all doors, over and over for ``SECONDS``: how long do answers take?

Prints, for each door, the number of answers and of failures, and the p99 and maximum in seconds.
"""

import http.client
import json
import socket
import sys
import time
from collections.abc import Callable

from tests.attack.http_attacker import SERVER, asker, discover

PATIENCE = 3.0
MAC = "52:54:99:00:00:10"


def dhcp() -> None:
    with asker() as sock:
        discover(sock, MAC)


def page(path: str = "/status/none") -> None:
    connection = http.client.HTTPConnection(SERVER, 8080, timeout=PATIENCE)
    connection.request("GET", path)
    with connection.getresponse() as response:
        response.read()
    connection.close()


def status() -> None:
    page("/status")


def tftp() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE)
        sock.sendto(b"\0\1undionly.kpxe\0octet\0", (SERVER, 69))
        _, worker = sock.recvfrom(600)
        sock.sendto(b"\0\5\0\0enough\0", worker)  # else a transfer holds this port for 30 s


def pages() -> None:
    with socket.create_connection((SERVER, 10809), PATIENCE) as sock:
        sock.settimeout(PATIENCE)
        if sock.recv(8) != b"NBDMAGIC":
            raise ConnectionError


DOORS: tuple[Callable[[], None], ...] = (dhcp, page, status, tftp, pages)


def main() -> None:
    end = time.monotonic() + float(sys.argv[1])
    times: dict[str, list[float]] = {door.__name__: [] for door in DOORS}
    failed = dict.fromkeys(times, 0)
    while time.monotonic() < end:
        for door in DOORS:
            begin = time.monotonic()
            try:
                door()
            except (OSError, http.client.HTTPException):
                failed[door.__name__] += 1
            times[door.__name__].append(time.monotonic() - begin)
        time.sleep(0.02)
    result = {
        door: {
            "answers": len(found) - failed[door],
            "failed": failed[door],
            "p99": round(sorted(found)[len(found) * 99 // 100], 4),
            "max": round(max(found), 4),
        }
        for door, found in times.items()
    }
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main()
