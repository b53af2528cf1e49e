"""The 1997 figure: one page message to our server against one System V IPC message of 4 KiB.

It compares CPU costs, not latencies. The first is the server's CPU for one 4 KiB write at depth 32
on one connection: its share of a batch, as the Linux client sends them. The second is the time of
one round trip of a 4 KiB message between two processes over msgsnd and msgrcv. The two processes
share one CPU, so that the time of a round trip is its CPU cost. Loaded means that an endless loop
also runs on each CPU.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench import fio
from bench.report import OURS, Verdict
from bench.rows import Row
from bench.servers import HERE, compile_c, running

ROUNDS = 100_000
REPETITIONS = 3
SIZE_BYTES = 64 << 20
BAR = 1 / 3


@contextlib.contextmanager
def _load(loops: int) -> Iterator[None]:
    words = [sys.executable, "-c", "while True: pass"]
    hogs = [subprocess.Popen(words) for _ in range(loops)]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def message_cost() -> tuple[list[Verdict], dict[str, float]]:
    """Return both costs in microseconds, on an idle machine and with all CPUs loaded."""
    row = Row("randwrite", 4096, 32, 1, "pinned")
    bars, detail = [], {}
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        folder = Path(name)
        sysv = ["taskset", "-c", "0", str(compile_c(HERE / "sysv.c", folder)), str(ROUNDS)]
        with running(OURS, SIZE_BYTES, folder) as server:
            server.pin({0})
            fio.fill(server.uri(), SIZE_BYTES)
            for state, loops in (("idle", 0), ("loaded", os.cpu_count() or 1)):
                ipc, ours = [], []
                with _load(loops):
                    for _ in range(REPETITIONS):
                        ipc.append(float(subprocess.check_output(sysv)) / 1e3)
                        before = server.cpu_seconds()
                        words = fio.command(server.uri(), row, SIZE_BYTES, 1.5, cpu=0)
                        got = fio.parse(fio.run(words), fio.RAMP_SECONDS / 1.5)
                        ours.append((server.cpu_seconds() - before) / got.requests * 1e6)
                detail[f"{state}_sysv_round_trip_us"] = median(ipc)
                detail[f"{state}_page_message_us"] = median(ours)
                ratio = median(ours) / median(ipc)
                bars.append(
                    Verdict(f"page message / System V, {state}", ratio, BAR, at_least=False)
                )
    return bars, detail
