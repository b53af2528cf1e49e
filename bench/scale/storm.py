"""A room of 1,000 PCs switched on in one instant: ``python -m bench.scale.storm [--quick]``.

`netboot storm` plays them, each from an address of its own, against the whole of ``netboot serve``:
once behind a link of 1 Gbit/s (tc tbf, both ways), once without a limit, as behind 10 Gbit/s. Then
1,000 PCs send their DISCOVER in one instant. It prints tables and the result of each bar, and writes
JSON. The exit status is 1 if a bar is missed. It needs root: servers and clients are in network
namespaces, which it removes. Conditions: docs/measurements/scale.md.
"""

import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import NoReturn

from bench import dhcp, storm
from bench.machine import versions
from bench.report import OURS, Verdict, in_network, parser, publish, tell
from bench.storm import MBIT
from netboot.lab import network
from tests.support.images import write_images

CLIENTS = 1000
SOURCES, CLIENT = "10.78.0.0/16", "10.77.0.2"  # of the PCs, and where they are behind
LIMIT_SECONDS = 300
# A real PC's images (docs/measurements/boot.md): those of 1,000 are 80 s of the wire. Half of that in
# a quick run, in which the time before the first download counts twice as much.
PC_MB, QUICK_PC_MB = 10, 5
LOADER_BYTES = 75_000
RATIO, OFFERED_MS = 1.2, 500.0

WIRE, NO_LIMIT = "1 Gbit/s", "no limit"
DISCOVERS = dhcp.Row("storm", CLIENTS, 0.0)


@dataclass(frozen=True, slots=True)
class Sample:
    """One storm. ``room`` is as in ``bench.storm``, without a limit in relation to 1 Gbit/s too.

    ``swap_p99``: seconds of the stage. ``load``: processes of the machine that ran or waited for a
    CPU at its end.
    """

    room: storm.Sample
    swap_p99: float
    load: float


@dataclass(frozen=True, slots=True)
class Results:
    """The storms by their links, and the DISCOVERs of one instant."""

    storms: Mapping[str, Sample]
    offers: dhcp.Sample


def verdicts(results: Results) -> list[Verdict]:
    """Return the bars: all through, the time of the wire, and every DISCOVER answered soon."""
    found = [
        Verdict(f"{CLIENTS} PCs, {link}: with swap", got.room.done, CLIENTS, at_least=True)
        for link, got in results.storms.items()
    ]
    ratio, offers = results.storms[WIRE].room.ratio, results.offers
    share, at = offers.in_time / offers.sent, f"{CLIENTS} DISCOVERs in one instant"
    return [
        *found,
        Verdict(f"{CLIENTS} PCs, {WIRE}: seconds / wire", ratio, RATIO, at_least=False),
        Verdict(f"{at}: offered in 2 s", share, 1.0, at_least=True),
        Verdict(f"{at}: p99, ms", offers.p99_ms, OFFERED_MS, at_least=False),
    ]


def table(results: Results) -> str:
    """Return Markdown tables: a line for each storm, and one for the DISCOVERs."""
    titles = "with swap | all s | / wire | MB | server CPU s | storm CPU s | longest wait s"
    lines = [
        f"| {CLIENTS} PCs in one instant | {titles} | download p50 s | swap p99 s | load |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for link, got in results.storms.items():
        room = got.room
        ratio = f"{room.ratio:.2f}" if link == WIRE else "-"
        lines.append(
            f"| {link} | {room.done:.0f}/{CLIENTS} | {room.seconds:.1f} | {ratio} | {room.mb:.0f} "
            f"| {room.server_cpu:.1f} | {room.own_cpu:.1f} | {room.wait_max:.1f} "
            f"| {room.download_p50:.2f} | {got.swap_p99:.2f} | {got.load:.1f} |"
        )
    offers = results.offers
    lines += [
        "",
        "| DISCOVERs in one instant | offered in 2 s | p50 ms | p99 ms | max ms | offers/s |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    lines.append(
        f"| {CLIENTS} | {offers.in_time:.0f}/{offers.sent:.0f} | {offers.p50_ms:.0f} "
        f"| {offers.p99_ms:.0f} | {offers.max_ms:.0f} | {offers.per_second:.0f} |"
    )
    return "\n".join(lines)


def median_of(samples: Sequence[Sample]) -> Sample:
    """Return the median of each figure on its own, but the lowest number of PCs with swap."""
    return Sample(
        storm.median_of([each.room for each in samples]),
        median(each.swap_p99 for each in samples),
        median(each.load for each in samples),
    )


def sample(link: str, built: Path) -> Sample:
    """Return one storm on a newly started server."""
    with dhcp.lan(), tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        inside = ("-n", dhcp.NAMESPACE)
        network.ip(*inside, "address", "add", f"{CLIENT}/16", "dev", dhcp.CLIENT_DEVICE)
        network.ip(*inside, "link", "set", "lo", "up")
        network.ip(*inside, "route", "add", "local", SOURCES, "dev", "lo")
        network.ip("route", "add", SOURCES, "via", CLIENT)
        # Without a limit tc only counts.
        count = "tc qdisc add dev {} root pfifo limit 10000"
        for namespace, device in ((dhcp.NAMESPACE, dhcp.CLIENT_DEVICE), ("", dhcp.SERVER_DEVICE)):
            words = storm.shaping(device) if link == WIRE else count.format(device).split()
            storm.run_in(namespace, *words)
        with storm.serving(_profile(link), built, Path(name), ""):
            before = storm.sent_bytes(dhcp.SERVER_DEVICE, "")
            words = [sys.executable, "-m", "netboot", "storm", "--json", "--over", "0"]
            words += ["--clients", str(CLIENTS), "--limit", str(LIMIT_SECONDS)]
            words += ["--interface", dhcp.CLIENT_DEVICE, "--server", dhcp.ADDRESS]
            words += ["--addresses", "10.78.0.1-10.78.15.254"]
            report = json.loads(storm.run_in(dhcp.NAMESPACE, *words, check=False))
            room = storm.parse(report, storm.sent_bytes(dhcp.SERVER_DEVICE, "") - before)
    if report["failures"]:
        tell(f"{link}: {report['failures']}")
    swap = next(row["p99"] for row in report["stages"] if row["stage"] == "swap")
    return Sample(room, swap, os.getloadavg()[0])


def _profile(link: str) -> str:
    # The network of the PCs' addresses needs a range in full mode, of which none is given out.
    networks = f"{{{SOURCES}: {{range: 10.78.255.1-10.78.255.9}}}}"
    return (
        f"interface: {dhcp.SERVER_DEVICE}\n"
        f"dhcp: {{mode: full, range: {dhcp.FIRST}-{dhcp.LAST}, networks: {networks}}}\n"
        f"http: {{rate: {f'{MBIT}Mbit' if link == WIRE else 'none'}, panel: off}}\n"
    )


def measure(repetitions: int, pc_mb: int) -> Results:
    """Return medians. The links take turns, so that drift affects both alike."""
    samples: dict[str, list[Sample]] = {WIRE: [], NO_LIMIT: []}
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        images = pc_mb * 1_000_000
        sizes = {"amd64/vmlinuz": images // 2, "amd64/initramfs.img": images // 2}
        write_images(built := Path(name), {**sizes, "undionly.kpxe": LOADER_BYTES})
        for number in range(repetitions):
            for link, found in samples.items():
                found.append(sample(link, built))
                room = found[-1].room
                tell(
                    f"{number + 1} {link}: {room.done:.0f}/{CLIENTS} in {room.seconds:.1f} s, "
                    f"{room.ratio:.2f} of {MBIT} Mbit/s, CPU {room.server_cpu:.1f} s"
                )
    with dhcp.lan():
        offers = [dhcp.sample(OURS, DISCOVERS) for _ in range(repetitions)]
    storms = {link: median_of(found) for link, found in samples.items()}
    return Results(storms, dhcp.median_of(offers))


def run(repetitions: int, pc_mb: int, folder: Path) -> int:
    """Measure, print, write ``scale-storm.json``; return the number of missed bars."""
    results = measure(repetitions, pc_mb)
    about = {"versions": versions({"tc": ("tc", "-V")}), "repetitions": repetitions, "MB": pc_mb}
    return publish(
        folder,
        "scale-storm",
        verdicts(results),
        tables=[table(results)],
        details={
            "storms": {link: asdict(got) for link, got in results.storms.items()},
            "offers": asdict(results.offers),
        },
        about=about,
    )


def main() -> NoReturn:
    """Run the command line. Exits with status 1 if a bar is missed."""
    given = parser(
        "scale.storm", __doc__, "once instead of three times, with images of half the size"
    ).parse_args()
    folder = given.output.resolve()
    repetitions, pc_mb = (1, QUICK_PC_MB) if given.quick else (3, PC_MB)
    in_network(lambda: run(repetitions, pc_mb, folder))


if __name__ == "__main__":
    main()
