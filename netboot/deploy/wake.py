"""Wake-on-LAN: AMD's Magic Packet, six bytes FF and the MAC address sixteen times."""

import socket
import time
from collections.abc import Sequence

from netboot.deploy.report import Outcome
from netboot.deploy.roster import Host

DISCARD_PORT = 9  # the usual port; the card looks at the content alone
REPEATS = 3  # no card confirms a packet
PAUSE_SECONDS = 2.0  # between waves: a room that starts at once may trip its fuse


def magic_packet(mac: str) -> bytes:
    """Return the packet that wakes ``aa:bb:cc:dd:ee:ff``."""
    return b"\xff" * 6 + bytes.fromhex(mac.replace(":", "")) * 16


def wake(hosts: Sequence[Host], broadcast: str, wave: int) -> list[Outcome]:
    """Send packets for ``wave`` hosts at a time to the LAN's ``broadcast`` address."""
    outcomes = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for number, host in enumerate(hosts):
            if number and number % wave == 0:
                time.sleep(PAUSE_SECONDS)
            result, ok = "sent; a PC does not confirm it", bool(host.mac)
            if not host.mac:
                result = "no MAC address given for it"
            else:
                try:
                    for _ in range(REPEATS):
                        sock.sendto(magic_packet(host.mac), (broadcast, DISCARD_PORT))
                except OSError as error:
                    result, ok = f"{broadcast}: {error.strerror}", False
            outcomes.append(Outcome(host.seat, "wake", ok, result, 0.0))
    return outcomes
