"""What a room of any size needs, from measured costs: ``python -m bench.scale.model [--help]``.

It prints RAM, wire, CPU, servers, and the times of a boot, a lost server and a resync for 100, 1,000
and 10,000 seats. ``make bench-scale`` holds it against rooms that it measures.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from bench.report import Verdict

PAGE_BYTES = 4096
GIB = 1 << 30
SIZES = (100, 1000, 10_000)
TOLERANCE = 0.2  # between the model and a measured room


@dataclass(frozen=True, slots=True)
class Costs:
    """What one seat, one page or one boot costs. The defaults were measured: docs/measurements."""

    stored_page_bytes: float = 4106.0  # page-stores.md: page, index of the tmpfs, note
    page_us: float = 4.0  # performance.md: CPU of a worker for a 4 KiB request, both directions
    header_share: float = 0.05  # NBD, TCP, IP and Ethernet around a page
    report_ms: float = 0.4  # architecture.md: CPU of the control plane, each 10 s from each seat
    attach_base: float = 0.12  # scale.md: seconds of the control plane while any room attaches
    attach_ms: float = 1.2  # more for each seat: a lease and two connections
    control_mb: float = 76.0  # scale.md: of the control plane without seats
    control_kb: float = 27.0  # more for each seat
    boot_mb: float = 10.0  # boot.md: images of a PC without a root image
    notice_seconds: float = 3.0  # swap.timeout, after which a mirror goes on with one leg
    resync_mb: tuple[float, float] = (10.0, 30.0)  # a second and seat: swap-agent.md


@dataclass(frozen=True, slots=True)
class Room:
    """A room of PCs and its servers.

    ``fill``: the share of swap that is in use at the peak. ``active``: the share of the seats that
    swap at the same time, each ``pages_a_second`` pages of 4 KiB. ``copies``: of a page. ``link_gbit``:
    of each server. ``used``: the share of a server's RAM and link that may be planned with.
    """

    seats: int = 1000
    swap_gib: float = 2.0
    fill: float = 0.35
    active: float = 0.15
    pages_a_second: float = 3000.0
    copies: int = 2
    server_gib: float = 256.0
    link_gbit: float = 10.0
    used: float = 0.8


@dataclass(frozen=True, slots=True)
class Need:
    """What a room needs. Times in seconds, ``wire_gbit`` and ``cores`` of all page servers together."""

    seats: int
    stored_gib: float
    wire_gbit: float
    cores: float
    servers: int
    control_cores: float
    control_mb: float
    attach: float
    boot: float
    lost: int
    stall: float
    resync: float


def need(room: Room, costs: Costs) -> Need:
    """Return what ``room`` needs. A mirrored room has a server more than the peak fills, to lose."""
    stored = room.seats * room.swap_gib * room.fill * room.copies
    stored *= costs.stored_page_bytes / PAGE_BYTES
    pages = room.seats * room.active * room.pages_a_second * room.copies
    wire = pages * PAGE_BYTES * 8 * (1 + costs.header_share) / 1e9
    filled = max(stored / room.server_gib, wire / room.link_gbit) / room.used
    servers = math.ceil(filled) + (room.copies - 1)
    lost = min(math.ceil(room.seats * room.copies / servers), room.seats)
    return Need(
        seats=room.seats,
        stored_gib=stored,
        wire_gbit=wire,
        cores=pages * costs.page_us / 1e6,
        servers=servers,
        control_cores=room.seats * 0.1 * costs.report_ms / 1000,
        control_mb=costs.control_mb + room.seats * costs.control_kb / 1000,
        attach=costs.attach_base + room.seats * costs.attach_ms / 1000,
        boot=boot_seconds(room.seats, costs.boot_mb, room.link_gbit * 1000),
        lost=lost,
        stall=costs.notice_seconds,
        resync=_resync(room, costs, lost, servers),
    )


def boot_seconds(seats: int, mb: float, mbit: float) -> float:
    """Return the time that a link of ``mbit`` needs for ``mb`` megabytes to each of ``seats``."""
    return seats * mb * 8 / mbit


def _resync(room: Room, costs: Costs, lost: int, servers: int) -> float:
    """Return how long until a server that came back empty has all pages: md copies whole areas."""
    if room.copies == 1:
        return 0.0
    area_mb = room.swap_gib * GIB / 1e6
    alone = area_mb / costs.resync_mb[1]
    # All go to the one server, and its link is the narrow place.
    together = lost * area_mb * 8 / (room.link_gbit * 1000 * room.used)
    return max(alone, together)


@dataclass(frozen=True, slots=True)
class Point:
    """A room that was measured, beside what the model says of it, in the same unit."""

    name: str
    measured: float
    modelled: float


def verdicts(points: Sequence[Point]) -> list[Verdict]:
    """Return the bars: how far the model is from each measured room, as a share of what was measured."""
    return [
        Verdict(
            f"model: {each.name}, off by",
            abs(each.modelled / each.measured - 1),
            TOLERANCE,
            at_least=False,
        )
        for each in points
    ]


ROWS = (
    ("stored at the peak, GiB", "stored_gib", ".0f"),
    ("wire at the peak, Gbit/s", "wire_gbit", ".1f"),
    ("CPUs of the page workers at the peak", "cores", ".1f"),
    ("page servers", "servers", "d"),
    ("CPUs of the control plane, reports", "control_cores", ".2f"),
    ("control plane, MB", "control_mb", ".0f"),
    ("all attach in one instant, s", "attach", ".1f"),
    ("all boot in one instant from one link, s", "boot", ".0f"),
    ("seats that a lost server concerns", "lost", "d"),
    ("their stall, s", "stall", ".0f"),
    ("until an empty server has its pages again, s", "resync", ".0f"),
)


def table(rooms: Sequence[Room], costs: Costs) -> str:
    """Return a Markdown table with a column for each room."""
    needs = [need(room, costs) for room in rooms]
    lines = [f"| seats | {' | '.join(f'{each.seats:,}' for each in needs)} |"]
    lines.append("|---|" + "--:|" * len(needs))
    for title, name, form in ROWS:
        cells = [format(getattr(each, name), form) for each in needs]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table of the rooms that the command line asks for."""
    options = argparse.ArgumentParser(
        prog="bench.scale.model",
        description="What a room needs. Each option replaces an assumption about the room.",
        epilog="example: python -m bench.scale.model --copies 1 --link-gbit 1 --seats 30",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    options.add_argument("--seats", type=int, nargs="+", default=SIZES)
    for each in fields(Room):
        if each.name != "seats":
            kind = type(each.default)
            options.add_argument(
                f"--{each.name.replace('_', '-')}", type=kind, default=each.default
            )
    given = vars(options.parse_args())
    seats = given.pop("seats")
    bad = [name for name, value in given.items() if value <= 0] + ["seats"] * (min(seats) < 1)
    if bad or given["copies"] > 2:
        options.error(
            f"--{(bad or ['copies'])[0].replace('_', '-')}: expected more than 0, copies 1 or 2"
        )
    rooms = [replace(Room(), seats=each, **given) for each in seats]
    sys.stdout.write(table(rooms, Costs()) + "\n")


if __name__ == "__main__":
    main()
