"""The charts of docs/measurements/at-a-glance.md, each from the tables of its pages. Pure."""

from collections.abc import Mapping

from tools.plots.draw import Bar, Chart, Group
from tools.plots.figures import FigureError, cell, number, rows

PEERS = ("nbdkit", "nbd-server")
PAGE_BYTES = 4096
GBIT_BYTES = 117e6  # payload of 1 Gbit/s, a second (performance.md)
SHORTER = "shorter is better"
PEERS_OF_DEBIAN = "Debian's own programs"

Pages = Mapping[str, str]
"""Text of each page of docs/measurements by the name of its file, without ``.md``."""


def charts(pages: Pages) -> list[Chart]:
    """Return all charts. Raise FigureError if a table lacks what one of them needs."""
    found = []
    for make in (_server, _boot, _memory, _swap, _faults, _room):
        try:
            found.append(make(pages))
        except FigureError as error:
            raise FigureError(f"plot '{make.__name__.strip('_')}': {error}") from None
    return found


def _servers(page: str, heading: str, row: str, shown: str) -> list[Bar]:
    found = []
    for name in ("netboot", *PEERS):
        value = number(cell(page, [row], name, under=heading))
        found.append(Bar(name, value, shown.format(value), ours=name == "netboot"))
    return found


def _server(pages: Pages) -> Chart:
    page = pages["performance"]
    latencies, costs = (
        "Latency, mean / p99 in microseconds",
        "Server CPU, microseconds for each request",
    )
    wait = _servers(page, latencies, "pinned randread 4k d1 c1", "{:.0f} µs")
    rate = _servers(page, "IOPS", "free randread 4k d32 c8", "{:,.0f}")
    cpu = _servers(page, costs, "pinned randread 4k d32 c1", "{:.1f} µs")
    best = max(rate[1:], key=lambda bar: bar.value)
    share = 100 * GBIT_BYTES / PAGE_BYTES * cpu[0].value / 1e6
    return Chart(
        "server",
        "A page of memory, read over the network",
        (
            Group("Wait of a PC that asks for one page at a time", SHORTER, wait),
            Group("Pages a second, for 8 busy connections", "longer is better", rate),
            Group("CPU time of the server for each page", SHORTER, cpu),
        ),
        f"The server gives {rate[0].value / best.value:.1f} times as many pages a second as "
        f"{best.label}. A full link of 1 Gbit/s costs it {share:.0f} % of one CPU. nbdkit and nbd-server "
        f"are servers of network disks, written in C.",
    )


def _boot(pages: Pages) -> Chart:
    page = pages["boot"]
    ours, peer = ["netboot", "512", "swap"], ["baseline", "512", "swap"]
    names = ("netboot", PEERS_OF_DEBIAN)

    def bars(column: str, unit: str) -> list[Bar]:
        values = [cell(page, row, column) for row in (ours, peer)]
        return [
            Bar(name, number(text), f"{text} {unit}", ours=name == "netboot")
            for name, text in zip(names, values, strict=True)
        ]

    seconds, loaded = bars("s", "s"), bars("MB to the PC", "MB")
    return Chart(
        "boot",
        "From power-on to swap, one PC",
        (
            Group("Seconds", SHORTER, seconds),
            Group("Data that the PC loads", SHORTER, loaded),
        ),
        f"A PC has its swap {seconds[0].shown.replace(' s', ' seconds')} after power-on, "
        f"and has loaded {loaded[0].shown} by then. Debian's own programs are "
        f"dnsmasq, initramfs-tools and nbd-server.",
    )


def _memory(pages: Pages) -> Chart:
    page = pages["boot"]
    ours = number(cell(page, ["netboot"], "smallest RAM MB"))
    peer = number(cell(page, ["baseline with `rootfstype=ramfs`"], "smallest RAM MB"))
    screens = (
        ("a page in NetSurf", "kiosk, NetSurf"),
        ("a page in surf (WebKit)", "kiosk, surf"),
        ("a desktop with three programs", "desktop, three programs"),
        ("a page in Firefox", "Firefox, a real page"),
    )
    bars = [(label, _smallest(pages["screens"], name)) for label, name in screens]
    shown = [Bar(label, mib, f"{mib:.0f} MB", ours=True) for label, mib in bars]
    return Chart(
        "memory",
        "The RAM that a PC needs",
        (
            Group(
                "To boot and have swap",
                SHORTER,
                (
                    Bar("netboot", ours, f"{ours:.0f} MB", ours=True),
                    Bar(PEERS_OF_DEBIAN, peer, f"{peer:.0f} MB"),
                ),
            ),
            Group("To show its screen, with network swap", SHORTER, shown),
        ),
        f"A PC whose network card is known boots with {ours:.0f} MB. {shown[-1].shown} are enough to "
        f"show a real page in Firefox. At its smallest RAM a program is slow.",
    )


def _smallest(page: str, name: str) -> float:
    """Return the smallest RAM with which the screen came in every boot, in MB."""
    found = [
        number(row["RAM MB"])
        for row in rows(page)
        if row.get("screen", "").removesuffix(" *") == name
        and (row["swap"], row["shown"]) == ("network", "1/1")
    ]
    if not found:
        raise FigureError(f"no row '{name}' with swap 'network' and shown '1/1'")
    return min(found)


def _swap(pages: Pages) -> Chart:
    page = pages["client"]
    ways = (
        ("disk that never seeks", "disk, 7200 rpm, never seeks, zswap"),
        ("SD card", "SD card, 500 requests/s, zswap"),
        ("netboot, 1 Gbit/s", "netboot, 1 Gbit/s, zswap"),
        ("netboot, 100 Mbit/s", "netboot, 100 Mbit/s, zswap"),
        ("disk that seeks each time", "disk, 7200 rpm, seeks each time, zswap"),
    )
    bars = []
    for label, way in ways:
        # A table for each load: the usual one comes first.
        text = cell(page, [way], "total", topmost=True)
        bars.append(Bar(label, number(text), text, ours=label.startswith("netboot")))
    quick, seeks, ours = bars[0], bars[-1], bars[2]
    return Chart(
        "swap",
        "A program that needs more memory than the PC has",
        (Group("Time for the same work, by the place of the swap", SHORTER, bars),),
        f"With swap over 1 Gbit/s the work takes {ours.shown.replace(' s', ' seconds')}. A disk needs "
        f"between {_plain(quick.shown)} and {_plain(seeks.shown)} seconds, by how often it has to seek.",
    )


def _faults(pages: Pages) -> Chart:
    page = pages["reliability"]
    away = cell(page, ["server killed", "128 MB"], "away at most")
    faults = (
        ("server upgraded", ["server upgraded", "each"]),
        ("page workers killed", ["workers killed", "128 MB"]),
        ("one of two servers killed", ["the first of two"]),
        (f"only server killed, away {away}", ["server killed", "128 MB"]),
        ("cable pulled for 60 s", ["cable pulled, 60 s", "128 MB"]),
    )
    bars = []
    for label, row in faults:
        text = cell(page, row, "longest stall")
        value = number(text)
        bars.append(Bar(label, value, text if value else "less than 1 s", ours=True))
    return Chart(
        "faults",
        "A server dies while a PC swaps",
        (Group("Longest time that a program stood still", SHORTER, bars),),
        f"Programs wait until the server is back, and go on. If a second server has the same pages, they "
        f"wait {_plain(bars[2].shown)} seconds, and do not wait for the first one. In all of these runs no page was "
        f"wrong, and no program was killed.",
    )


def _room(pages: Pages) -> Chart:
    page = pages["scale"]
    limited = cell(page, ["1 Gbit/s"], "all s")
    wire = number(limited) / number(cell(page, ["1 Gbit/s"], "/ wire"))
    free = cell(page, ["no limit"], "all s")
    attach = number(cell(page, ["seats: all attached, s"], "measured"))
    back = number(cell(page, ["killed: all back, s"], "measured"))
    return Chart(
        "room",
        "1,000 PCs on one server with two CPUs",
        (
            Group(
                "All switched on in one instant, until the last one has swap",
                SHORTER,
                (
                    Bar("network of 1 Gbit/s", number(limited), f"{limited} s", ours=True),
                    Bar("that network alone, same data", wire, f"{wire:.1f} s"),
                    Bar("network without a limit", number(free), f"{free} s", ours=True),
                ),
            ),
            Group(
                "All running, until the last one is attached to its swap",
                SHORTER,
                (
                    Bar("all ask in one instant", attach, f"{attach:.1f} s", ours=True),
                    Bar("server killed and started again", back, f"{back:.1f} s", ours=True),
                ),
            ),
        ),
        f"The last of 1,000 PCs has its swap after {limited} seconds, and {wire:.1f} of them are the "
        f"network's. If the server is killed, all 1,000 are back {back:.1f} s after it serves again.",
    )


def _plain(text: str) -> str:
    return text.removesuffix(" s")
