"""Packets of an attacker and of an honest PC, one verb a call. No code of netboot is used.

Each verb prints ``begun`` and, at its end, an answer in JSON.
"""

import contextlib
import json
import os
import re
import signal
import socket
import struct
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tests.attack.wire import MACS, PLACES, SERVER, SERVER_MAC

COOKIE = bytes((99, 130, 83, 99))
DISCOVER, OFFER, REQUEST, DECLINE, RELEASE = 1, 2, 3, 4, 7
SERVER_ID = bytes((54, 4)) + socket.inet_aton(SERVER)
ETH_P_IP = 0x0800


def dhcp(
    mac: str,
    kind: int = DISCOVER,
    options: bytes = b"",
    *,
    boots: bool = True,
    ciaddr: str = "0.0.0.0",
    giaddr: str = "0.0.0.0",
) -> bytes:
    """Return a message of an iPXE, or of a plain DHCP client."""
    head = struct.pack(
        "!4BI2H4s8x4s",
        *(1, 1, 6, 0, int.from_bytes(os.urandom(4)), 0, 0x8000),
        socket.inet_aton(ciaddr),
        socket.inet_aton(giaddr),
    )
    options = bytes((53, 1, kind)) + options
    if boots:
        options += bytes((60, 9)) + b"PXEClient" + bytes((93, 2, 0, 0))
        options += bytes((77, 4)) + b"iPXE" + bytes((175, 6, 0x13, 1, 1, 0x18, 1, 1))
    chaddr = bytes.fromhex(mac.replace(":", "")).ljust(16, b"\0")
    return head + chaddr + bytes(192) + COOKIE + options + b"\xff"


def client_socket() -> socket.socket:
    """Return a socket that hears what DHCP servers broadcast."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # several attacks at once
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0\0")
    sock.bind(("", 68))
    return sock


def asked(sock: socket.socket, message: bytes, seconds: float = 20.0) -> bytes:
    """Return the server's answer to a broadcast message, empty if there is none."""
    sock.sendto(message, ("255.255.255.255", 67))
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        sock.settimeout(left)
        with contextlib.suppress(TimeoutError):
            data = sock.recv(2000)
            if data[0] == 2 and data[4:8] == message[4:8]:
                return data
    return b""


def address_of(answer: bytes) -> str:
    """Return the address that an answer gives, empty if it gives none."""
    return socket.inet_ntoa(answer[16:20]) if answer and any(answer[16:20]) else ""


def frame(source: str, port: int, payload: bytes, to_port: int) -> bytes:
    """Return a UDP packet to the server with a false ``source``."""
    udp = struct.pack("!4H", port, to_port, 8 + len(payload), 0) + payload
    head = struct.pack(
        "!BBHHHBBH4s4s",
        *(69, 0, 20 + len(udp), 0, 0, 64, 17, 0),
        socket.inet_aton(source),
        socket.inet_aton(SERVER),
    )
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    checksum: int = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    head = head[:10] + checksum.to_bytes(2, "big") + head[12:]
    ethernet = bytes.fromhex((SERVER_MAC + MACS["attacker"]).replace(":", "")) + b"\x08\0"
    frame: bytes = ethernet + head + udp
    return frame


def raw_socket() -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IP))
    sock.bind(("eth0", ETH_P_IP))
    return sock


def tftp_flood(rate: str, seconds: str) -> int:
    """Fill all places with requests of silent, made-up addresses, and keep them filled (a22)."""
    request = b"\0\1undionly.kpxe\0octet\0timeout\x0030\0"
    end, sent = time.monotonic() + float(seconds), 0
    with raw_socket() as sock:
        while time.monotonic() < end:
            number = sent % 60_000
            sock.send(frame(f"10.99.0.{110 + sent % 3}", 5000 + number, request, 69))
            sent += 1
            if sent > PLACES:
                time.sleep(1 / float(rate))
    return sent


def tftp_as(source: str, port: str, request: str) -> int:
    """Ask for a file in the name of ``source`` (a12). Return the bytes of the IP packet."""
    data = frame(source, int(port), bytes.fromhex(request), 69)
    with raw_socket() as sock:
        sock.send(data)
    return len(data) - 14


def received(seconds: str, address: str, to_port: str, patience: str = "0") -> list[int]:
    """Return the sizes of IP packets with this target address and port, which we never answer.

    Listen for some seconds after the first one, which may take ``patience`` more to come.
    """
    target, port = socket.inet_aton(address), int(to_port)
    found: list[int] = []
    end = time.monotonic() + float(seconds) + float(patience)
    with raw_socket() as sock, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        # An open port sends no ICMP message, as behind a firewall that drops packets.
        with contextlib.suppress(OSError):  # not our own address
            silent.bind((address, port))
        while (left := end - time.monotonic()) > 0:
            sock.settimeout(left)
            with contextlib.suppress(TimeoutError):
                packet = sock.recv(2048)[14:]
                if packet[16:20] == target and int.from_bytes(packet[22:24]) == port:
                    end = end if found else min(end, time.monotonic() + float(seconds))
                    found.append(int.from_bytes(packet[2:4]))
    return found


def tftp(name: str, patience: str, first_wait: str = "1") -> int:
    """Fetch a file as a boot ROM does, which asks again after 1, 2, 4 s.

    Return how often it asked, -1 if it got no file.
    """
    begin, request = time.monotonic(), b"\0\1" + name.encode() + b"\0octet\0blksize\x001456\0"
    wait, times = float(first_wait), 0
    while time.monotonic() < begin + float(patience):
        times += 1
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:  # from another port
            sock.settimeout(wait)
            sock.sendto(request, (SERVER, 69))
            with contextlib.suppress(OSError):
                while True:
                    data, peer = sock.recvfrom(2000)
                    block = data[2:4] if data[1] == 3 else b"\0\0"
                    sock.sendto(b"\0\4" + block, peer)
                    if data[1] == 3 and len(data) < 1460:
                        return times
        wait *= 2
    return -1


def discover(mac: str) -> str:
    """Return the address that a PC is offered within a second, empty if there is none."""
    with client_socket() as sock:
        return address_of(asked(sock, dhcp(mac, boots=False), 1.0))


def lease(mac: str) -> str:
    """Return the address that a PC gets."""
    with client_socket() as sock:
        address = address_of(asked(sock, dhcp(mac, boots=False)))
        wanted = SERVER_ID + bytes((50, 4)) + socket.inet_aton(address)
        return address_of(asked(sock, dhcp(mac, REQUEST, wanted, boots=False)))


def offered_to(
    sock: socket.socket, macs: Iterable[str], seconds: float
) -> Iterator[tuple[str, bytes]]:
    """Yield each PC that is offered an address, and the options that name it to the server."""
    for mac in macs:
        address = address_of(asked(sock, dhcp(mac, boots=False), seconds))
        if address:
            yield mac, SERVER_ID + bytes((50, 4)) + socket.inet_aton(address)


def take(count: str, seconds: str = "0.5", first: str = "0") -> int:
    """Ask for leases for made-up PCs, which wait some seconds each. Return how many they got."""
    numbers = range(int(first), int(first) + int(count))
    macs = (f"02:ee:00:00:{number >> 8:02x}:{number & 255:02x}" for number in numbers)
    with client_socket() as sock:
        return sum(
            address_of(asked(sock, dhcp(mac, REQUEST, wanted, boots=False))) != ""
            for mac, wanted in offered_to(sock, macs, float(seconds))
        )


def decline(count: str) -> int:
    """Take ``count`` addresses for made-up PCs, and decline each (a15)."""
    declined, macs = 0, (f"02:dd:00:00:00:{number:02x}" for number in range(int(count)))
    with client_socket() as sock:
        for mac, wanted in offered_to(sock, macs, 20.0):
            asked(sock, dhcp(mac, DECLINE, wanted, boots=False), 0.02)
            declined += 1
    return declined


def release_of(mac: str, address: str) -> None:
    """Give back the address of another PC, with its address as the source."""
    message = dhcp(mac, RELEASE, SERVER_ID, boots=False, ciaddr=address)
    with raw_socket() as sock:
        sock.send(frame(address, 68, message, 67))
        sock.send(frame("10.99.0.66", 68, message, 67))


def relayed(*addresses: str) -> None:
    """Send questions of a PC behind a relay that does not ask (a17)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for address in addresses:
            sock.sendto(dhcp("02:00:00:00:00:33", giaddr=address), (SERVER, 67))
            sock.sendto(dhcp("02:00:00:00:00:33", ciaddr=address), (SERVER, 67))


def ask_4011(port: str, seconds: str) -> int:
    """Ask port 4011 from a port of ours (a25). Return the bytes of the answer, 0 for none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("10.99.0.66", int(port)))
        sock.settimeout(float(seconds))
        sock.sendto(dhcp("02:00:00:00:00:34", REQUEST), (SERVER, 4011))
        try:
            return len(sock.recv(2000))
        except TimeoutError:
            return 0


def rival() -> int:
    """Answer every question of the server's survey as a second proxyDHCP server (a18).

    Until SIGTERM; return how many were answered.
    """
    us, answered = socket.inet_aton("10.99.0.66"), 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options = bytes((53, 1, OFFER, 54, 4)) + us + bytes((60, 9)) + b"PXEClient"
    options += bytes((43, 4, 6, 1, 8, 255, 255))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0\0")
        sock.bind(("", 67))
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                question = sock.recv(2000)
                if question[0] == 1:
                    head = b"\2" + question[1:20] + us + question[24:240]
                    sock.sendto(head + options + bytes(60), ("255.255.255.255", 68))
                    answered += 1
    return answered


def script_of(sock: socket.socket, mac: str) -> str:
    """Return the HTTP script of a PC, by way of DHCP as iPXE does."""
    name = asked(sock, dhcp(mac))[108:236].split(b"\0")[0].decode()
    with urllib.request.urlopen(f"http://{SERVER}:8080/boot/{mac}/{name}") as reply:
        return str(reply.read().decode())


def made_up(count: str) -> int:
    """Fetch the script of ``count`` PCs that do not exist, and nothing else (a21)."""
    with client_socket() as sock:
        for number in range(int(count)):
            with contextlib.suppress(urllib.error.HTTPError):  # refused: no PC has this address
                script_of(sock, f"02:ad:00:00:{number >> 8:02x}:{number & 255:02x}")
    return int(count)


def turn(mac: str, patience: str) -> float:
    """Return how long a PC was told to wait until it may download, -1 if it may not.

    It asks again when it is told to.
    """
    begin, waited = time.monotonic(), 0.0
    with client_socket() as sock:
        while time.monotonic() < begin + float(patience):
            told = re.search(r"about (\d+) s", script_of(sock, mac))
            if told is None:
                return waited
            time.sleep(wait := min(int(told[1]), 5))
            waited += wait
    return -1.0


VERBS: dict[str, Callable[..., Any]] = {
    verb.__name__: verb
    for verb in (
        *(tftp_flood, tftp_as, received, tftp),
        *(discover, lease, take, decline, release_of, relayed, ask_4011, rival),
        *(made_up, turn),
    )
}


def main() -> None:
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    sys.stdout.write(json.dumps(VERBS[sys.argv[1]](*sys.argv[2:])))


if __name__ == "__main__":
    main()
