"""Send a PC's packets through a copy of this machine's firewall, in a network namespace of its own.

A firewall that names its network card lets everything else pass, and packets of this machine to
itself do not come in by that card. So the copy has a virtual card of the same name, and the rules as
they were read. The kernel decides, and not our understanding of the rules. Nothing of this machine's
own network is touched. The namespace ends with its only process, however that ends.

``python -P -m netboot.deploy.firewall.replica`` is that process: JSON on standard input and output.
"""

import contextlib
import json
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from typing import Any

from netboot.deploy.firewall.needs import Need
from netboot.deploy.firewall.rules import Packet
from netboot.errors import OperatorError
from netboot.host.programs import convert

SECONDS = 20  # for all of it; it takes a half
WAIT_SECONDS = 0.3  # for a packet that goes from one end of a cable in memory to the other
PC_CARD = "netboot-pc"
PC_MAC, HERE_MAC = bytes.fromhex("020000000002"), bytes.fromhex("020000000001")
ETHERNET_IPV4, UDP, TCP = 0x0800, 17, 6
SYN, SYN_ACK = 0x02, 0x12
ANY_PROTOCOL = 3  # ETH_P_ALL


@dataclass(frozen=True, slots=True)
class Order:
    """The input of the process: cards, rules as texts, and the packets to send."""

    interface: str
    here: str
    prefix: int
    others: list[str]  # names of this machine's other cards: rules may name them
    texts: list[str]
    saved: list[tuple[str, str]]
    packets: list[dict[str, Any]]


def ask(order: Order) -> list[bool] | str:
    """Return for each packet of ``order`` whether it passes, or why no copy can be made."""
    command = ["unshare", "--net", sys.executable, "-P", "-m", __name__]
    try:
        answer = json.loads(convert(command, json.dumps(asdict(order)).encode()))
    except (OperatorError, ValueError) as error:  # no namespace, or too slow
        return str(error)
    return [bool(each) for each in answer] if isinstance(answer, list) else str(answer)


def as_order(need: Need) -> dict[str, Any]:
    """Return the packet of a need, JSON-ready."""
    packet = asdict(need.packet)
    return packet | {"source": str(need.packet.source), "target": str(need.packet.target)}


def _packet(given: dict[str, Any]) -> Packet:
    ends = {name: IPv4Address(given[name]) for name in ("source", "target")}
    return Packet(**(given | ends))


def main() -> None:
    """Make the copy, send the packets, and write the answer."""
    signal.alarm(SECONDS)
    order = Order(**json.load(sys.stdin))
    try:
        _build(order)
    except OperatorError as error:
        json.dump(str(error), sys.stdout)
        return
    json.dump([_passes(_packet(each)) for each in order.packets], sys.stdout)


def _run(*command: str, text: str = "") -> None:
    convert(command, text.encode())


def _build(order: Order) -> None:
    """Make the cards and load the rules. Raises OperatorError."""
    _run("ip", "link", "set", "lo", "up")
    for number, name in enumerate(order.others):
        with contextlib.suppress(OperatorError):  # this kernel has one already
            _run("ip", "link", "add", name, "type", "veth", "peer", "name", f"nb-other{number}")
    peer = ("type", "veth", "peer", "name", PC_CARD)
    _run("ip", "link", "add", order.interface, "address", HERE_MAC.hex(":"), *peer)
    _run("ip", "address", "add", f"{order.here}/{order.prefix}", "dev", order.interface)
    for name in (order.interface, PC_CARD):
        _run("ip", "link", "set", name, "up")
    for text in order.texts:
        _run("nft", "-f", "-", text=text)
    for program, text in order.saved:
        _run(program, text=text)


def _passes(packet: Packet) -> bool:
    """Return whether a packet arrives at a program, or at the PC if it is an answer."""
    with ExitStack() as opened:
        link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ANY_PROTOCOL))
        opened.enter_context(link).bind((PC_CARD, 0))
        pc = packet.target if packet.answer else packet.source
        if int(pc) and not packet.is_broadcast:
            mac = PC_MAC.hex(":")
            interface = packet.interface
            _run("ip", "neighbour", "replace", str(pc), "lladdr", mac, "dev", interface)
        if packet.protocol == "tcp":
            return _connects(packet, link)
        server = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        own_port = packet.source_port if packet.answer else packet.target_port
        server.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, packet.interface.encode())
        server.bind(("", own_port))
        if packet.answer or not packet.is_new:
            other = packet.target_port if packet.answer else packet.source_port
            with contextlib.suppress(PermissionError):  # the firewall's answer to the sender
                server.sendto(b"data", (str(pc), other))
            if packet.answer:
                return any(_is_datagram(frame, packet) for frame in _frames(link))
        link.send(_frame(packet))
        return bool(select.select([server], [], [], WAIT_SECONDS)[0])


def _connects(packet: Packet, link: socket.socket) -> bool:
    with socket.create_server(("", packet.target_port)):
        link.send(_frame(packet))
        return any(_is_welcome(frame, packet) for frame in _frames(link))


def _frames(link: socket.socket) -> Iterator[bytes]:
    """Yield the frames that arrive at the PC, after their Ethernet header, for a time."""
    end = time.monotonic() + WAIT_SECONDS
    while (left := end - time.monotonic()) > 0 and select.select([link], [], [], left)[0]:
        frame = link.recv(2048)
        if frame[12:14] == ETHERNET_IPV4.to_bytes(2, "big"):
            yield frame[14:]


def _is_datagram(data: bytes, packet: Packet) -> bool:
    ports = struct.pack("!HH", packet.source_port, packet.target_port)
    return data[9] == UDP and data[20:24] == ports


def _is_welcome(data: bytes, packet: Packet) -> bool:
    ports = struct.pack("!HH", packet.target_port, packet.source_port)
    return data[9] == TCP and data[20:24] == ports and data[33] == SYN_ACK


def _frame(packet: Packet) -> bytes:
    """Return a packet of a PC as an Ethernet frame (RFC 791, 768, 9293)."""
    if packet.protocol == "tcp":
        head = struct.pack(
            "!HHIIBBH", packet.source_port, packet.target_port, 1, 0, 0x50, SYN, 1024
        )
        inner, number, place = head + bytes(4), TCP, 16
    else:
        payload = b"netboot doctor".ljust(64, b"\0")
        head = struct.pack("!HHH", packet.source_port, packet.target_port, 8 + len(payload))
        inner, number, place = head + bytes(2) + payload, UDP, 6
    ends = packet.source.packed + packet.target.packed
    pseudo = ends + struct.pack("!BBH", 0, number, len(inner))
    inner = _with(inner, place, _sum(pseudo + inner))
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(inner), 1, 0, 64, number, 0) + ends
    target = b"\xff" * 6 if packet.is_broadcast else HERE_MAC
    ethernet = target + PC_MAC + ETHERNET_IPV4.to_bytes(2, "big")
    return ethernet + _with(header, 10, _sum(header)) + inner


def _with(data: bytes, place: int, checksum: int) -> bytes:
    return data[:place] + checksum.to_bytes(2, "big") + data[place + 2 :]


def _sum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def names_of(others: Sequence[str], interface: str) -> list[str]:
    """Return the cards to make beside ``interface`` and lo."""
    return [name for name in others if name not in (interface, "lo")]


if __name__ == "__main__":
    main()
