"""The kernel's network cards and their IPv4 addresses, and news of their changes (rtnetlink(7)).

pyroute2 encodes and decodes the messages. Its own sockets bring an event loop along, so ours are
plain ones.
"""

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Interface
from typing import Any

from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.marshal import MarshalRtnl

# linux/rtnetlink.h, linux/netlink.h, linux/if.h, linux/if_addr.h.
RTM_GETLINK, RTM_GETADDR = 18, 22
RTMGRP_LINK, RTMGRP_IPV4_IFADDR = 0x1, 0x10
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_DUMP, NLM_F_DUMP_INTR = 0x1, 0x300, 0x10
IFF_UP, IFF_BROADCAST, IFF_LOOPBACK, IFF_LOWER_UP = 0x1, 0x2, 0x8, 0x10000
IFA_F_PERMANENT = 0x80
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
        for message in _dump(asked, ifaddrmsg(), RTM_GETADDR, socket.AF_INET):
            addresses.setdefault(message["index"], []).append(_address(message))
        return [
            _card(message, tuple(addresses.get(message["index"], ())))
            for message in _dump(asked, ifinfmsg(), RTM_GETLINK, socket.AF_UNSPEC)
        ]


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


def _dump(asked: socket.socket, question: Any, kind: int, family: int) -> list[Any]:
    messages: list[Any] = []
    for attempt in range(ATTEMPTS):
        question["family"] = family
        question["header"]["type"] = kind
        question["header"]["flags"] = NLM_F_REQUEST | NLM_F_DUMP
        question["header"]["sequence_number"] = attempt
        question.reset()
        question.encode()
        asked.send(question.data)
        messages = list(_answers(asked))
        if not any(each["header"]["flags"] & NLM_F_DUMP_INTR for each in messages):
            break
    return [each for each in messages if each["header"]["type"] != NLMSG_DONE]


def _answers(asked: socket.socket) -> Iterator[Any]:
    """Yield the messages of an answer, the last one included. Raises OSError."""
    codec = MarshalRtnl()
    while True:
        for message in codec.parse(asked.recv(ANSWER_BYTES)):
            if message["header"]["type"] == NLMSG_ERROR:
                error = message["header"]["error"]
                # pyroute2's NetlinkError is no OSError, and has a code.
                code = getattr(error, "errno", 0) or getattr(error, "code", 0)
                raise OSError(code, f"rtnetlink: {os.strerror(code) if code else 'no answer'}")
            yield message
            if message["header"]["type"] == NLMSG_DONE:
                return


def _address(message: Any) -> Address:
    # On a point-to-point link IFA_ADDRESS is the other end's.
    own = message.get("local") or message.get("address")
    flags = message.get("flags") or 0
    return Address(IPv4Interface(f"{own}/{message['prefixlen']}"), bool(flags & IFA_F_PERMANENT))


def _card(message: Any, addresses: tuple[Address, ...]) -> Card:
    digits = message.get("address") or ""
    # An address that a card gave itself (RFC 3927) serves if there is no other one.
    return Card(
        name=message.get("ifname"),
        index=message["index"],
        flags=message["flags"],
        mtu=message.get("mtu") or 0,
        mac=bytes.fromhex(digits.replace(":", "")) if ":" in digits else b"",
        addresses=tuple(sorted(addresses, key=lambda each: each.interface.ip.is_link_local)),
    )
