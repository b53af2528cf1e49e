"""The kernel's network cards and their IPv4 addresses, and news of their changes (rtnetlink(7)).

The messages are a head, and attributes that follow (netlink(7)). A library for all of rtnetlink took
a sixth of the time until a server's first answer.
"""

import os
import socket
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface

# linux/rtnetlink.h, linux/netlink.h, linux/if.h, linux/if_addr.h.
RTM_GETLINK, RTM_GETADDR = 18, 22
RTMGRP_LINK, RTMGRP_IPV4_IFADDR = 0x1, 0x10
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_DUMP, NLM_F_DUMP_INTR = 0x1, 0x300, 0x10
IFF_UP, IFF_BROADCAST, IFF_LOOPBACK, IFF_LOWER_UP = 0x1, 0x2, 0x8, 0x10000
IFA_F_PERMANENT = 0x80
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU = 1, 3, 4  # linux/if_link.h
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS = 1, 2, 8
NLA_TYPE_MASK = 0x3FFF  # the two other bits say how the value is written
HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence number, port
LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
ADDRESS = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix bits, flags, scope, index
ATTRIBUTE = struct.Struct("=HH")  # rtattr: length, type
ANSWER_BYTES = 1 << 20  # the kernel sends at most 32 KiB at once, if it is offered as much
ATTEMPTS = 5  # a list during which the world changed is asked for again
PATIENCE_SECONDS = 2.0  # the kernel answers at once


@dataclass(frozen=True, slots=True)
class Address:
    """An IPv4 address with its network. ``lasts`` is False if it has an end, as DHCP's have."""

    interface: IPv4Interface
    lasts: bool = True


@dataclass(frozen=True, slots=True)
class Card:
    """A network card, real or virtual. ``flags`` are IFF_*; ``mac`` may be empty."""

    name: str
    index: int
    flags: int
    mtu: int
    mac: bytes
    addresses: tuple[Address, ...] = ()


def cards() -> list[Card]:
    """Return all cards, with their addresses in the kernel's order. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as asked:
        asked.settimeout(PATIENCE_SECONDS)
        addresses: dict[int, list[Address]] = {}
        for body in _dump(asked, RTM_GETADDR, socket.AF_INET):
            index, address = _address(body)
            addresses.setdefault(index, []).append(address)
        return [_card(body, addresses) for body in _dump(asked, RTM_GETLINK, socket.AF_UNSPEC)]


def subscribe() -> socket.socket:
    """Return a socket that becomes readable when a card or an address changes.

    Its content is worth nothing, because messages may be lost: ask ``cards`` again. Raises OSError.
    """
    news = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
    )
    news.bind((0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR))
    return news


def drain(news: socket.socket) -> None:
    """Empty a socket of ``subscribe``."""
    while True:
        try:
            news.recv(1)  # the rest of the datagram goes with it
        except BlockingIOError:
            return
        except OSError:  # ENOBUFS: messages were lost
            continue


def _dump(asked: socket.socket, kind: int, family: int) -> list[bytes]:
    """Return the bodies of the messages that answer a question of ``kind``. Raises OSError."""
    bodies: list[bytes] = []
    for attempt in range(ATTEMPTS):
        flags = NLM_F_REQUEST | NLM_F_DUMP
        asked.send(HEADER.pack(HEADER.size + 1, kind, flags, attempt, 0) + bytes((family,)))
        messages = list(_answers(asked))
        bodies = [body for _, body in messages]
        if not any(flags & NLM_F_DUMP_INTR for flags, _ in messages):
            break
    return bodies[:-1]  # the last one ends the list


def _answers(asked: socket.socket) -> Iterator[tuple[int, bytes]]:
    """Yield flags and body of the messages of an answer, the last one included. Raises OSError."""
    while True:
        for kind, flags, body in messages(asked.recv(ANSWER_BYTES)):
            if kind == NLMSG_ERROR:
                code = -int.from_bytes(body[:4], sys.byteorder, signed=True)
                raise OSError(code, f"rtnetlink: {os.strerror(code) if code else 'no answer'}")
            yield flags, body
            if kind == NLMSG_DONE:
                return


def messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield kind, flags and body of each whole message in a datagram of the kernel."""
    start = 0
    while start + HEADER.size <= len(data):
        length, kind, flags, _, _ = HEADER.unpack_from(data, start)
        if not HEADER.size <= length <= len(data) - start:
            return
        yield kind, flags, data[start + HEADER.size : start + length]
        start += _aligned(length)


def attributes(data: bytes, start: int) -> dict[int, bytes]:
    """Return the values of the attributes that follow a body's head, by their kinds."""
    found: dict[int, bytes] = {}
    while start + ATTRIBUTE.size <= len(data):
        length, kind = ATTRIBUTE.unpack_from(data, start)
        if not ATTRIBUTE.size <= length <= len(data) - start:
            break
        found[kind & NLA_TYPE_MASK] = data[start + ATTRIBUTE.size : start + length]
        start += _aligned(length)
    return found


def _aligned(length: int) -> int:
    return -(-length // 4) * 4


def _address(body: bytes) -> tuple[int, Address]:
    """Return the index of a card, and an address of that card."""
    _, bits, flags, _, index = ADDRESS.unpack_from(body)
    given = attributes(body, ADDRESS.size)
    # On a point-to-point link IFA_ADDRESS is the other end's.
    own = IPv4Address(given.get(IFA_LOCAL) or given[IFA_ADDRESS])
    if IFA_FLAGS in given:  # 32 bits, of which the head has 8
        flags = _number(given[IFA_FLAGS])
    return index, Address(IPv4Interface((own, bits)), bool(flags & IFA_F_PERMANENT))


def _card(body: bytes, addresses: Mapping[int, Sequence[Address]]) -> Card:
    _, _, index, flags, _ = LINK.unpack_from(body)
    given = attributes(body, LINK.size)
    # An address that a card gave itself (RFC 3927) serves if there is no other one.
    return Card(
        name=os.fsdecode(given[IFLA_IFNAME].rstrip(b"\0")),
        index=index,
        flags=flags,
        mtu=_number(given.get(IFLA_MTU, b"")),
        mac=given.get(IFLA_ADDRESS, b""),
        addresses=tuple(
            sorted(addresses.get(index, ()), key=lambda each: each.interface.ip.is_link_local)
        ),
    )


def _number(value: bytes) -> int:
    return int.from_bytes(value, sys.byteorder)
