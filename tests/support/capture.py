"""Read a capture of a boot with scapy, which is independent of our codecs; join TCP streams."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scapy.layers.inet import IP, TCP
from scapy.utils import rdpcap


@dataclass
class Stream:
    """One TCP connection: its bytes each way, and the time of each segment of the client."""

    client: tuple[str, int]
    server: tuple[str, int]
    sent: bytearray = field(default_factory=bytearray)  # client to server
    received: bytearray = field(default_factory=bytearray)
    marks: list[tuple[int, float]] = field(default_factory=list)  # offset in ``sent``, time
    _next: dict[bool, int] = field(default_factory=dict)
    _early: dict[tuple[bool, int], tuple[float, bytes]] = field(default_factory=dict)

    def add(self, packet: Any) -> None:
        """Take a segment. Drop retransmitted bytes, and keep early ones for later."""
        tcp = packet[TCP]
        from_client = (packet[IP].src, tcp.sport) == self.client
        if tcp.flags.S:
            self._next[from_client] = tcp.seq + 1
            return
        length = packet[IP].len - 4 * packet[IP].ihl - 4 * tcp.dataofs
        payload = bytes(tcp.payload)[:length]  # short frames are padded
        if payload and from_client in self._next:
            self._early[from_client, tcp.seq] = (float(packet.time), payload)
            self._drain(from_client)

    def _drain(self, from_client: bool) -> None:
        while True:
            expected = self._next[from_client]
            ready = [
                key
                for key, (_, payload) in self._early.items()
                if key[0] == from_client and key[1] <= expected
            ]
            if not ready:
                return
            for key in ready:
                when, payload = self._early.pop(key)
                fresh = payload[self._next[from_client] - key[1] :]
                if fresh:
                    self._append(from_client, when, fresh)

    def _append(self, from_client: bool, when: float, fresh: bytes) -> None:
        if from_client:
            self.marks.append((len(self.sent), when))
            self.sent += fresh
        else:
            self.received += fresh
        self._next[from_client] += len(fresh)

    def time_of(self, offset: int) -> float:
        """Return the time when the byte at ``offset`` of ``sent`` was sent."""
        return max(when for start, when in self.marks if start <= offset)


def read(path: Path) -> list[Any]:
    """Return all frames of a pcap file."""
    return list(rdpcap(str(path)))


def streams(packets: list[Any], port: int) -> Iterator[Stream]:
    """Yield the TCP connections to ``port``, in the order of their opening."""
    found: dict[tuple[str, int], Stream] = {}
    for packet in packets:
        if TCP not in packet:
            continue
        ip, tcp = packet[IP], packet[TCP]
        if tcp.flags.S and not tcp.flags.A and tcp.dport == port:
            found[ip.src, tcp.sport] = Stream((ip.src, tcp.sport), (ip.dst, port))
        key = (ip.src, tcp.sport) if tcp.dport == port else (ip.dst, tcp.dport)
        if key in found:
            found[key].add(packet)
    yield from found.values()
