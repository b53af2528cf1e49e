"""What a room's PCs fetch while they boot: ours beside its peers, ``python -m bench.boot [--quick]``.

Prints a table and which bars are met, writes JSON; exit status 1 if one is missed. As root: it runs
in network, process and mount namespaces of its own. Conditions: docs/performance.md.
"""

import argparse
import contextlib
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import tftpy

from bench import transfers
from bench.downloads import PEERS_FOLDER, Downloads, Files, running
from bench.pages import VETH, VETH_HOST, tell, veth_pair
from bench.rows import OURS, verdict_table
from bench.servers import HERE, compile_c
from bench.transfers import ROWS, Results, Row, Sample
from netboot.lab import network

SETTLE_SECONDS = 1.0


def measure(wanted: Sequence[Row], repetitions: int) -> Results:
    """Medians. In each repetition every server has its turn, so that drift hits all of them."""
    samples: dict[Row, dict[str, list[Sample]]] = {row: {} for row in wanted}
    with veth_pair(), contextlib.ExitStack() as stack:
        # On a tmpfs: the disk is nobody's matter here.
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
                # Its workers may still be starting, and nothing is in the cache.
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


def versions() -> dict[str, str]:
    """Machine and programs, for the record."""
    cpu = next(
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    found = {"cpu": f"{os.cpu_count()} x {cpu}", "kernel": platform.release()}
    found |= {"python": platform.python_version(), "tftpy": tftpy.__version__}
    peers = str(PEERS_FOLDER / "usr/sbin")
    for words in (["dnsmasq", "-v"], ["nginx", "-v"], [f"{peers}/atftpd", "-V"],
                  [f"{peers}/in.tftpd", "-V"]):  # fmt: skip
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        found[Path(words[0]).name] = (done.stdout or done.stderr).splitlines()[0]
    return found


def run(wanted: Sequence[Row], repetitions: int, folder: Path) -> int:
    """Measures, prints, writes ``boot.json``; the number of missed bars."""
    results = measure(wanted, repetitions)
    found = transfers.verdicts(results)
    about = {"versions": versions(), "repetitions": repetitions}
    folder.mkdir(parents=True, exist_ok=True)
    document = transfers.as_json(results, found, about)
    (folder / "boot.json").write_text(json.dumps(document, indent=1) + "\n")
    parts = [transfers.table(results), verdict_table(found), json.dumps(about, indent=1)]
    sys.stdout.write("\n\n".join(parts) + "\n")
    return sum(not each.met for each in found)


def main() -> NoReturn:
    """The command line. Exits with 1 if a bar is missed."""
    parser = argparse.ArgumentParser(prog="bench.boot", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="once each instead of five times")
    parser.add_argument("--only", default="", help="only rows whose name contains this")
    parser.add_argument("--output", type=Path, default=Path("bench-results"))
    options = parser.parse_args()
    wanted = [row for row in ROWS if options.only in row.name]
    folder = options.output.resolve()

    def isolated() -> int:
        network.ip("link", "set", "lo", "up")
        return 1 if run(wanted, 1 if options.quick else 5, folder) else 0

    network.check_root()
    network.run_isolated(isolated)


if __name__ == "__main__":
    main()
