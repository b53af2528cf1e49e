"""Reports of seats. A room of 1,000 sends 100 of them in a second, so they take a way of their own.

A request that looks exactly as the agent writes it (initramfs/agent/report.c) is answered when its
connection is accepted: without a transport, aiohttp's parser, its task and its timers. If its bytes
are later than that, or differ, the same request takes the usual way, to the same answer.
"""

import re
import time
from ipaddress import IPv4Address
from typing import Protocol

from aiohttp import web

from netboot.boot.ticket import Key
from netboot.errors import DeniedError, ProtocolError
from netboot.feed.records import Report
from netboot.feed.report import MAX_BYTES, parse

REQUEST = re.compile(
    rb"POST /report/([0-9a-f]{1,100}) HTTP/1\.0\r\nContent-Length: ([0-9]{1,3})\r\n\r\n([ -~]+)"
)


class Room(Protocol):
    """The part of the room that takes reports."""

    def admit(self, text: str, address: IPv4Address) -> Key | None:
        """Return the ticket or session ``text``, or None. Raises DeniedError."""

    def report(self, mac: str, report: Report) -> None:
        """Note how a seat is. Each one tells it every 10 s."""


class Reports:
    """The reports of the seats of ``room``."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def take(self, ticket: str, address: IPv4Address, body: bytes) -> None:
        """Hand a report on. Raises HTTPForbidden, HTTPNotFound, HTTPBadRequest.

        A bad one is told to its sender alone. An address that the kernel does not know yet is not
        waited for, as a session needs none.
        """
        try:
            key = self._room.admit(ticket, address)
        except DeniedError as error:
            raise web.HTTPForbidden(text=f"{error}\n") from None
        if key is None:
            raise web.HTTPNotFound(text="no such seat\n")
        if len(body) > MAX_BYTES:
            raise web.HTTPBadRequest(text=f"report: expected at most {MAX_BYTES} bytes\n")
        try:
            report = parse(body.decode("ascii", "replace"), time.time())
        except ProtocolError as error:
            raise web.HTTPBadRequest(text=f"{error}\n") from None
        self._room.report(key.mac, report)

    def answer(self, data: bytes, address: str) -> bytes | None:
        """Return the answer to a whole request; None if it takes the usual way."""
        found = REQUEST.fullmatch(data)
        if found is None or int(found[2]) != len(found[3]):
            return None
        try:
            self.take(found[1].decode(), IPv4Address(address), found[3])
        except web.HTTPException as error:
            return _http(error.status, error.reason, error.text or "")
        return TAKEN


def _http(status: int, reason: str, text: str) -> bytes:
    body = text.encode()
    head = f"HTTP/1.0 {status} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


TAKEN = _http(200, "OK", "")
