"""A seat's report, alone and in the request as its agent writes it. An input is the report's text."""

import json
import math
from dataclasses import asdict
from ipaddress import IPv4Address

from netboot.boot.ticket import Key
from netboot.errors import ProtocolError
from netboot.feed.records import Report
from netboot.feed.report import MAX_AREAS, MAX_BYTES, parse, text
from netboot.serve.http.reports import Reports

SESSION = "7" * 64


class Room:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Report] = []

    def admit(self, text: str, address: IPv4Address) -> Key | None:
        """Return the key of the one seat."""
        return Key("52:54:00:12:34:56", text) if text == SESSION else None

    def report(self, mac: str, report: Report) -> None:
        """Keep the report."""
        self.told.append(report)


def one_input(data: bytes) -> None:
    """Run one input."""
    said = data.decode("ascii", "replace")
    report = None
    try:
        report = parse(said, 0.0)
    except ProtocolError as error:
        assert str(error).isprintable() and len(str(error)) < 150
    if report is not None:
        assert len(said) <= MAX_BYTES and len(report.areas) <= MAX_AREAS
        assert math.isfinite(report.load) and 0 <= report.pressure.io_full <= 100
        json.dumps(asdict(report), allow_nan=False)
        parse(text(report), 0.0)
    room = Room()
    head = f"POST /report/{SESSION} HTTP/1.0\r\nContent-Length: {len(data)}\r\n\r\n"
    answer = Reports(room).answer(head.encode() + data, "10.0.0.5")
    if answer is not None:
        assert answer.startswith(b"HTTP/1.0 200 " if room.told else b"HTTP/1.0 400 ")
        assert bool(room.told) == (report is not None)
