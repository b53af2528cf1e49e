"""HTTP beacons: the report, and what the journal and its readers get of it.

An input is the stage, both times of the client's clock and the body, separated by zero bytes.
"""

import json

from netboot.boot.events import Journal
from netboot.boot.limits import BEACON_BYTES, BEACON_KEYS
from netboot.pages.lease import LeaseTable
from netboot.profile.profile import Profile
from netboot.serve.boot_files import BootFiles
from netboot.serve.http.beacon import MAX_AGE_SECONDS, parse_beacon
from netboot.serve.room import Room

SEAT = "52:54:00:12:34:56"
MOST_BYTES = 4 * (BEACON_BYTES.per_address or 0) + 1000  # of an event in the journal
PROFILE = Profile()


def one_input(data: bytes) -> None:
    """Run one input."""
    stage, uptime, sent, body = (
        part.decode("utf-8", "replace") for part in (data + bytes(3)).split(b"\0", 3)
    )
    beacon = parse_beacon(body, uptime, sent)
    assert 0.0 <= beacon.age <= MAX_AGE_SECONDS
    assert beacon.message.isprintable()
    assert len(beacon.message.encode()) <= (BEACON_BYTES.per_address or 0)
    assert len(beacon.data) <= (BEACON_KEYS.per_address or 0) + 1  # the uptime
    for key, value in beacon.data.items():
        assert key.isprintable() and str(value).isprintable()
    json.dumps(beacon.data, allow_nan=False)
    if not stage.isprintable():
        return  # the HTTP server answers 400
    room = Room(PROFILE, BootFiles(None, PROFILE), b"s" * 32, Journal(), LeaseTable(1 << 30))
    room.beacon(SEAT, stage[:40], beacon)
    # A report can make an event of its own and some that follow from it.
    for text in room.journal.texts(SEAT):
        assert len(text) <= 6 * MOST_BYTES and text.isprintable()
        json.loads(text)
    room.status(0.0)
