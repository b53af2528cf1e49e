"""Downloads of booting PCs from our server and its peers: ``python -m bench.boot [--quick]``.

It prints a table and the result of each bar, and writes JSON. The exit status is 1 if a bar is
missed. It needs root and runs in network, process and mount namespaces of its own. Conditions:
docs/measurements/boot.md.
"""

import contextlib
import itertools
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import tftpy

from bench import transfers
from bench.downloads import PEERS_FOLDER, Downloads, Files, running
from bench.machine import versions
from bench.pages import VETH, VETH_HOST, veth_pair
from bench.report import OURS, in_network, parser, publish, tell
from bench.servers import HERE, compile_c
from bench.transfers import ROWS, Results, Row, Sample

_PEERS = PEERS_FOLDER / "usr/sbin"
VERSIONS = {
    "dnsmasq": ("dnsmasq", "-v"),
    "nginx": ("nginx", "-v"),
    "atftpd": (f"{_PEERS}/atftpd", "-V"),
    "in.tftpd": (f"{_PEERS}/in.tftpd", "-V"),
}
SETTLE_SECONDS = 1.0


def measure(wanted: Sequence[Row], repetitions: int) -> Results:
    """Return medians. In each repetition all servers take turns, so that drift affects all."""
    samples: dict[Row, dict[str, list[Sample]]] = {row: {} for row in wanted}
    with veth_pair(), contextlib.ExitStack() as stack:
        # On a tmpfs, so that no disk takes part.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm")))
        loads = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        files = Files(folder, sorted({row.size for row in wanted}))
        for name in ("tftp_load", "http_load"):
            compile_c(HERE / f"{name}.c", loads)
        turns = dict.fromkeys((row.protocol, name) for row in wanted for name in (OURS, *row.peers))
        for repetition, (protocol, name) in itertools.product(range(repetitions), turns):
            own = [row for row in wanted if row.protocol == protocol and name in (OURS, *row.peers)]
            with running(name, protocol, files, VETH_HOST, VETH[0]) as server:
                load = Downloads(server, files, VETH_HOST, loads, VETH[1])
                # A first run: the workers may still be starting, and the caches are empty.
                time.sleep(SETTLE_SECONDS)
                load.sample(replace(own[0], at_once=8, in_all=8))
                for row in own:
                    got = load.sample(row)
                    samples[row].setdefault(name, []).append(got)
                    tell(f"{repetition + 1} {name}: {row.name}: {got.mb_per_s:.0f} MB/s")
    return {
        row: {name: transfers.median_of(each) for name, each in found.items()}
        for row, found in samples.items()
    }


def run(wanted: Sequence[Row], repetitions: int, folder: Path) -> int:
    """Measure, print, write ``boot.json``; return the number of missed bars."""
    results = measure(wanted, repetitions)
    about = {
        "versions": {**versions(VERSIONS), "tftpy": tftpy.__version__},
        "repetitions": repetitions,
    }
    return publish(
        folder,
        "boot",
        transfers.verdicts(results),
        tables=[transfers.table(results)],
        details=transfers.details(results),
        about=about,
    )


def main() -> NoReturn:
    """Run the command line. Exits with status 1 if a bar is missed."""
    options = parser("boot", __doc__, "once each instead of five times")
    options.add_argument("--only", default="", help="only rows whose name contains this")
    given = options.parse_args()
    wanted = [row for row in ROWS if given.only in row.name]
    in_network(lambda: run(wanted, 1 if given.quick else 5, given.output.resolve()))


if __name__ == "__main__":
    main()
