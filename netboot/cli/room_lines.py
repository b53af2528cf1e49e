"""The lines of a server while it runs. Pure.

Apart from netboot.cli.show, which a server need not import: that has rich and the lab behind it.
"""

import time
from typing import Any

from netboot.boot.events import BootEvent
from netboot.boot.limits import TIMELINE_CHARACTERS
from netboot.feed.state import Standing


def event_line(event: BootEvent, hostname: str) -> str:
    """Return one event of a room: ``18:03:12 pc-770001   swap        attached 512 MiB``."""
    clock = time.strftime("%H:%M:%S", time.localtime(event.when))
    line = f"{clock} {hostname:<12} {event.stage:<14} {event.message}"
    return line[: TIMELINE_CHARACTERS.per_address]


def event_message(event: BootEvent, hostname: str) -> str:
    """Return one event of a room for the journal, which notes the time itself."""
    return f"{hostname} {event.stage}: {event.message}"[: TIMELINE_CHARACTERS.per_address]


def standing(room: Standing, *, left: bool = False) -> str:
    """Return how a room stands: ``60 seats: 52 running, 5 booting, 3 in trouble``.

    ``left``: DHCP is left to another server (dhcp.mode none).
    """
    seats = sum(room.states.values())
    counts = {
        "running": room.states["running"] + room.states["short"],
        "booting": room.states["booting"] + room.states["waiting"],
        "off": room.states["off"],
        "in trouble": room.troubled,
    }
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    line = f"{seats} seat{'' if seats == 1 else 's'}: {told or 'none was seen yet'}"
    return f"{line}; boot files named by the LAN's own DHCP server" if left else line


def lost(count: int) -> str:
    """Return the line in place of ``count`` dropped lines."""
    return f"netboot: {count} events dropped: output not read in time"


def ready(description: dict[str, Any]) -> str:
    """Return the lines that say where a room is served."""
    none = description["dhcp"] == "none"
    lines = [
        f"netboot: serving {'without' if none else 'with ' + description['dhcp']} DHCP; Ctrl-C stops"
    ]
    if description.get("named_by") == "lan":
        lines.append(
            "  the LAN's own DHCP server must name this server's boot files: 'netboot dhcp-snippet' "
            "prints how"
        )
    lines += [
        f"  {item['interface']}: {item['address']}, HTTP port {description['http_port']}, "
        f"pages port {description['pages_port']}"
        for item in description["interfaces"]
    ]
    return "\n".join(lines)
