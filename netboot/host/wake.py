"""Wake-on-LAN: AMD's Magic Packet, six bytes FF and the MAC address sixteen times."""

import socket
from ipaddress import IPv4Address

DISCARD_PORT = 9  # the usual port; the card looks at the content alone
REPEATS = 3  # no card confirms a packet


def magic_packet(mac: str) -> bytes:
    """Return the packet that wakes ``aa:bb:cc:dd:ee:ff``."""
    return b"\xff" * 6 + bytes.fromhex(mac.replace(":", "")) * 16


def open_socket(source: IPv4Address | None = None) -> socket.socket:
    """Return a socket that may send to a broadcast address, from ``source``. Raises OSError.

    Packets to 255.255.255.255 leave on the interface of ``source``.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        if source is not None:
            sock.bind((str(source), 0))
    except OSError:
        sock.close()
        raise
    return sock


def send(sock: socket.socket, mac: str, broadcast: str) -> None:
    """Send packets that wake a PC to the address ``broadcast``. Raises OSError."""
    for _ in range(REPEATS):
        sock.sendto(magic_packet(mac), (broadcast, DISCARD_PORT))
