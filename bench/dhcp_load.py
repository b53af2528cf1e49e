"""A room of PXE clients on a packet socket: ``python -m bench.dhcp_load IFACE SCENARIO ...``.

It prints one JSON object. Frames are built before the clock starts. A client's time begins just
before the kernel gets its DISCOVER, and ends with the kernel's own time stamp on its OFFER.
"""

import json
import select
import socket
import struct
import sys
import time
from dataclasses import dataclass, field

ETH_P_IP = 0x0800
SO_TIMESTAMPNS, SO_RCVBUFFORCE = 35, 33  # asm-generic/socket.h
TIMESPEC = struct.Struct("@qq")
BUFFER_BYTES = 16 << 20
BOOTP_AT = 14 + 20 + 8  # Ethernet, IPv4, UDP
XID_AT, YIADDR_AT, COOKIE_AT = BOOTP_AT + 4, BOOTP_AT + 16, BOOTP_AT + 236
OFFER, ACK = b"\x35\x01\x02", b"\x35\x01\x05"
SERVER_ID = b"\x36\x04"
LIMIT_SECONDS = 2.0
GRACE_SECONDS = 2.5  # after the last DISCOVER


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def frame(number: int, kind: int, more: bytes = b"") -> bytes:
    """Return a broadcast of the UEFI client ``number``, with this number in MAC and xid."""
    mac = b"\x52\x54" + number.to_bytes(4, "big")
    options = bytes((53, 1, kind)) + more
    options += b"\x3c\x20PXEClient:Arch:00007:UNDI:003016"
    options += b"\x5d\x02\x00\x07\x5e\x03\x01\x03\x10\x61\x11\x00" + mac.rjust(16, b"\1")
    options += b"\x37\x08\x01\x03\x06\x0c\x2b\x3c\x42\x43\xff"
    bootp = struct.pack("!4BIHH16x16s192x", 1, 1, 6, 0, number, 0, 0x8000, mac)
    payload = (bootp + bytes((99, 130, 83, 99)) + options).ljust(300, b"\0")
    udp = struct.pack("!4H", 68, 67, 8 + len(payload), 0) + payload
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, bytes(4), b"\xff" * 4
    )
    head = head[:10] + _checksum(head).to_bytes(2, "big") + head[12:]
    return b"\xff" * 6 + mac + b"\x08\x00" + head + udp


@dataclass
class Room:
    """The clients ``first`` to ``first + count - 1``, with the times of requests and answers."""

    device: socket.socket
    first: int
    count: int
    requests: bool  # continue with REQUEST and ACK
    sent: dict[int, float] = field(default_factory=dict)
    offered: dict[int, float] = field(default_factory=dict)
    acknowledged: dict[int, float] = field(default_factory=dict)

    def discover(self, number: int, data: bytes) -> None:
        self.sent[number] = time.time()
        while True:
            try:
                self.device.send(data)
                return
            except BlockingIOError:  # the device's queue is full
                select.select([], [self.device], [], 1)
            except OSError as error:
                if error.errno != 105:  # ENOBUFS
                    raise
                time.sleep(0.0001)

    def listen(self, seconds: float) -> int:
        """Receive for ``seconds``; return the number of clients that got their offer meanwhile."""
        end, fresh = time.monotonic() + seconds, 0
        while True:
            left = end - time.monotonic()
            ready, _, _ = select.select([self.device], [], [], max(left, 0))
            if not ready:
                return fresh
            fresh += self.drain()
            if left <= 0:
                return fresh

    def drain(self) -> int:
        """Receive all waiting packets; return the number of new offers."""
        fresh = 0
        while True:
            try:
                data, ancillary, _, address = self.device.recvmsg(2048, 128)
            except BlockingIOError:
                return fresh
            if address[2] == socket.PACKET_OUTGOING or data[34:36] != b"\0\x43":
                continue
            number = int.from_bytes(data[XID_AT : XID_AT + 4], "big")
            seconds, nanoseconds = TIMESPEC.unpack(ancillary[0][2])
            now = seconds + nanoseconds / 1e9
            options = data[COOKIE_AT + 4 :]
            if OFFER in options and number in self.sent and number not in self.offered:
                self.offered[number] = now
                fresh += 1
                if self.requests:
                    self._request(number, data, options)
            elif ACK in options and number in self.sent:
                self.acknowledged.setdefault(number, now)

    def _request(self, number: int, data: bytes, options: bytes) -> None:
        at = options.index(SERVER_ID)
        wanted = b"\x32\x04" + data[YIADDR_AT : YIADDR_AT + 4] + options[at : at + 6]
        self.device.send(frame(number, 3, wanted))

    def report(self) -> dict[str, float]:
        """Return milliseconds, counts, and offers/s from the first DISCOVER to the last OFFER."""
        waits = sorted(when - self.sent[number] for number, when in self.offered.items())
        late = [wait for wait in waits if wait >= LIMIT_SECONDS]
        acks = [t for n, t in self.acknowledged.items() if t - self.sent[n] < LIMIT_SECONDS]
        began = min(self.sent.values())
        over = max(self.offered.values(), default=began) - began
        return {
            "sent": len(self.sent),
            "in_time": len(waits) - len(late),
            "acks_in_time": len(acks),
            "p50_ms": _percentile(waits, 0.5) * 1e3,
            "p99_ms": _percentile(waits, 0.99) * 1e3,
            "max_ms": _percentile(waits, 1.0) * 1e3,
            "per_second": len(waits) / over if over > 0 else 0.0,
        }


def _percentile(values: list[float], share: float) -> float:
    return values[min(int(share * len(values)), len(values) - 1)] if values else float("nan")


def paced(room: Room, seconds: float) -> None:
    """Send all clients' packets evenly within ``seconds`` (0: at once), without retries."""
    frames = [frame(room.first + index, 1) for index in range(room.count)]
    begin = time.monotonic()
    for index, data in enumerate(frames):
        due = begin + seconds * index / room.count
        while (left := due - time.monotonic()) > 0:
            # A sleep is too coarse for the last moment before a client is due.
            room.listen(left if left > 0.001 else 0)
        room.discover(room.first + index, data)
        if seconds and index % 8 == 7:
            room.drain()
    room.listen(GRACE_SECONDS)


def closed(room: Room, seconds: float, outstanding: int) -> None:
    """Keep ``outstanding`` clients waiting: each answer starts the next client."""
    frames = [frame(room.first + index, 1) for index in range(room.count)]
    end, at, open_ones = time.monotonic() + seconds, 0, 0
    while time.monotonic() < end and at < room.count:
        while open_ones < outstanding and at < room.count:
            room.discover(room.first + at, frames[at])
            at, open_ones = at + 1, open_ones + 1
        open_ones -= room.listen(0) or room.listen(min(0.001, max(end - time.monotonic(), 0)))
    room.listen(0.2)


def main() -> None:
    """Run the command line: interface, scenario, first client, clients, seconds, outstanding."""
    name, scenario, first, count, seconds, outstanding = sys.argv[1:]
    device = socket.socket(
        socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(ETH_P_IP)
    )
    device.bind((name, ETH_P_IP))
    device.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
    device.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    with device:
        room = Room(device, int(first), int(count), requests=scenario == "lease")
        if scenario == "closed":
            closed(room, float(seconds), int(outstanding))
        else:
            paced(room, float(seconds))
        sys.stdout.write(json.dumps(room.report()) + "\n")


if __name__ == "__main__":
    main()
