"""Overhearing: what PCs ask the LAN's own DHCP server, which names our boot files (dhcp.mode none).

Ports 67 and 4011 stay closed: packet sockets see the broadcasts. They tell which PC begins a boot,
which PCs wait in vain for a file, and what a PC is. Nothing is sent.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Sequence
from typing import Protocol

from netboot.boot.client import Client, is_played
from netboot.boot.events import Journal
from netboot.errors import Ignored, ProtocolError
from netboot.host import filters
from netboot.host.interfaces import Interface
from netboot.serve.dhcp import frames, record
from netboot.serve.dhcp.answer import SERVER_PORT
from netboot.serve.dhcp.link import ETH_P_IP, MAX_FRAME, PACKET_IGNORE_OUTGOING, SOL_PACKET
from netboot.serve.dhcp.packet import BOOTREQUEST, MessageType, parse
from netboot.serve.dhcp.sender import client_from_packet
from netboot.serve.dhcp.sockets import PRIVILEGED_BELOW

log = logging.getLogger(__name__)

DHCP_QUESTIONS = filters.program(*filters.udp_to(SERVER_PORT))
TAKEN_AT_ONCE = 16  # before other servers have their turn: 2 ms


class Asked(Protocol):
    """The note of a PC that asks (Room.overheard)."""

    def __call__(self, client: Client, *, privileged: bool) -> None:
        """Note that ``client`` asks. ``privileged``: from a port that no user of a seat can use."""


class Overhearing:
    """Tells ``asked`` of each DHCPDISCOVER of a PC that boots, and notes it in ``journal``."""

    def __init__(self, asked: Asked, journal: Journal) -> None:
        self._asked = asked
        self._journal = journal
        self._sockets: dict[int, socket.socket] = {}

    def follow(self, interfaces: Sequence[Interface]) -> None:
        """Hear these interfaces, and no others. Warn of one that cannot be heard."""
        names = {each.index: each.name for each in interfaces}
        for gone in set(self._sockets) - set(names):
            self._close(gone)
        for index in set(names) - set(self._sockets):
            try:
                self._sockets[index] = _open(names[index])
            except OSError as error:
                log.warning(
                    "%s: DHCP cannot be overheard: %s; a PC that boots again may wait 2 minutes for "
                    "its script, and none is told that gets no boot file",
                    names[index],
                    error.strerror,
                )
                continue
            asyncio.get_running_loop().add_reader(self._sockets[index], self._readable, index)

    def stop(self) -> None:
        """Close the sockets."""
        for index in list(self._sockets):
            self._close(index)

    def _close(self, index: int) -> None:
        bound = self._sockets.pop(index)
        asyncio.get_running_loop().remove_reader(bound)
        bound.close()

    def _readable(self, index: int) -> None:
        bound = self._sockets[index]
        for _ in range(TAKEN_AT_ONCE):
            try:
                data = bound.recv(MAX_FRAME)
            except OSError:  # the queue is empty, or the interface is down
                return
            found = frames.udp(data)
            if found is not None:
                self._take(found)

    def _take(self, found: frames.Datagram) -> None:
        try:
            packet = parse(found.payload)
            if packet.op != BOOTREQUEST or packet.message_type is not MessageType.DHCPDISCOVER:
                return
            client = client_from_packet(packet)
        except ProtocolError:
            return  # it is another server's to complain
        if isinstance(client, Ignored) or is_played(client.mac):
            return
        self._asked(client, privileged=found.source < PRIVILEGED_BELOW)
        self._journal.record(record.of_overheard(client, time.time()))


def _open(name: str) -> socket.socket:
    """Return a socket that receives the DHCP questions on the interface ``name``. Raises OSError."""
    # Protocol 0 receives nothing. Frames that come before the filter is set would pass it.
    bound = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)
    try:
        filters.attach(bound, DHCP_QUESTIONS)
        bound.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        bound.bind((name, ETH_P_IP))
    except OSError:
        bound.close()
        raise
    return bound
