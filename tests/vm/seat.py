"""A PC whose clock says 2009, with files of its own on a root image that knows nothing of it."""

import asyncio
import json
import sys
from pathlib import Path

from netboot.boot import cpio
from netboot.images import initramfs
from netboot.lab import network
from netboot.lab.rig import Classroom, Lesson

GUEST = Path(__file__).parent / "userland/seat"
WANTED = "userland/etc/systemd/system/multi-user.target.wants"
UNIT = """[Unit]
After=multi-user.target
[Service]
ExecStart=/run/netboot/busybox sh /usr/local/bin/seat
"""
HASH = "$6$vwemE1GhKa.cyT8A$xAzWahK08BakUtal4Rg3p8nEv31ChtRhgKmqVRsCXDP0hsrZK5LXcgY9XWQzJhsmLfIQq4"
ZONE = "usr/share/zoneinfo/Europe/Berlin"  # of the package tzdata, which the minimal image has not
CLOCK = ("-rtc", "base=2009-03-01T12:00:00")


def body() -> int:
    image, folder, built = map(Path, sys.argv[1:4])
    check, profile, logo = folder / "check.img", folder / "room.yaml", folder / "logo"
    records = (
        cpio.file("userland/usr/local/bin/seat", GUEST.read_bytes(), executable=True),
        cpio.file("userland/etc/systemd/system/seat.service", UNIT.encode()),
        cpio.symlink(f"{WANTED}/seat.service", "../seat.service"),
        cpio.file(f"userland/{ZONE}", Path("/", ZONE).read_bytes()),
    )
    check.write_bytes(initramfs.compressed(cpio.archive(records)))
    logo.write_text("a picture")
    profile.write_text(
        f"root: {{kind: nbd, image: {image}}}\nswap: {{size: 0}}\n"
        "dhcp: {dns: [10.77.0.9, 9.9.9.9], domain: school.example}\n"
        f"seat: {{keyboard: de(nodeadkeys), timezone: Europe/Berlin, accounts: {{anna: {HASH}}},\n"
        f"       files: {{/opt/logo: {logo}}}}}\n"
        'groups: {all: {match: "*", seat: {start: kiosk}}}\n'
    )
    lesson = Lesson(
        profile,
        built,
        folder,
        dhcp=sys.argv[4],
        until="seat:checked",
        initrds=(check,),
        devices=CLOCK,
    )
    classroom = Classroom(lesson)
    asyncio.run(classroom.run())
    (report,) = classroom.seats.values()
    sys.stdout.write(json.dumps([[e.stage, e.message, e.data] for e in report.events]) + "\n")
    return 0 if classroom.ok else 1


if __name__ == "__main__":
    network.run_isolated(body)
