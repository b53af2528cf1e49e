"""Announcer: tells the machines on our links which MAC address our addresses have now (ARP).

Else a PC sends to the card of before, until its entry ages: after a server is replaced by other
hardware at its address, or an address moves to another card. RFC 5227 section 2.3.
"""

import asyncio
import contextlib
import socket
from collections.abc import Sequence

from netboot.host.interfaces import Interface
from netboot.serve.dhcp.frames import arp_announcement

ETH_P_ARP = 0x0806  # linux/if_ether.h
EVERYONE = b"\xff" * 6
ETHERNET_BYTES = 6  # of a MAC address; other links have no ARP
ANNOUNCE_SECONDS = (0.0, 2.0)  # ANNOUNCE_NUM and ANNOUNCE_INTERVAL of RFC 5227


class Announcer:
    """Announces addresses that are new, or that moved to another card or a link that came back."""

    def __init__(self) -> None:
        self._told: frozenset[Interface] = frozenset()
        self._timers: set[asyncio.TimerHandle] = set()

    def follow(self, interfaces: Sequence[Interface]) -> None:
        """Announce those of ``interfaces`` that changed since the last call. Never wait."""
        now = frozenset(each for each in interfaces if each.has_carrier and not _has_no_arp(each))
        new = now - self._told
        self._told = now
        if not new:
            return
        loop = asyncio.get_running_loop()
        self._timers = {timer for timer in self._timers if timer.when() > loop.time()}
        self._timers |= {
            loop.call_later(seconds, self._announce, new) for seconds in ANNOUNCE_SECONDS
        }

    def stop(self) -> None:
        """Announce nothing more."""
        for timer in self._timers:
            timer.cancel()

    def _announce(self, interfaces: frozenset[Interface]) -> None:
        for each in interfaces & self._told:
            # A server without privileges, which has no low port, cannot announce itself.
            with contextlib.suppress(OSError), _packets() as sock:
                target = (each.name, ETH_P_ARP, 0, 0, EVERYONE)
                sock.sendto(arp_announcement(each.mac, each.address), target)


def _packets() -> socket.socket:
    return socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)


def _has_no_arp(interface: Interface) -> bool:
    return len(interface.mac) != ETHERNET_BYTES or not any(interface.mac)
