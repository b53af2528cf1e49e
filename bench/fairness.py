"""One seat thrashes (depth 128, 128 KiB writes), another reads 4 KiB at depth 1: its p99.

With a worker for each CPU, as a server has them; and with one worker for both, where it is the
worker alone that has to be fair. That has no bar: of two CPUs the other is fio's.
"""

import subprocess
import tempfile
from pathlib import Path
from statistics import median

from bench import fio
from bench.report import OURS, Verdict
from bench.rows import Row
from bench.servers import running

SIZE_BYTES = 256 << 20
REPETITIONS = 3
SECONDS = 2.0
BAR = 3.0


def fairness() -> tuple[list[Verdict], dict[str, float]]:
    """p99 of the quiet seat on an idle server and beside the thrashing one, microseconds."""
    detail: dict[str, float] = {}
    ratios: dict[str, float] = {}
    for label, workers in (("", None), ("one_worker_", 1)):
        idle, beside = _latencies(workers)
        detail |= {f"{label}idle_p99_us": idle, f"{label}beside_p99_us": beside}
        ratios[label] = beside / idle
    return [Verdict("fairness: p99 beside / idle", ratios[""], BAR, at_least=False)], detail


def _latencies(workers: int | None) -> tuple[float, float]:
    quiet = Row("randread", 4096, 1, 1)
    wild = Row("write", 128 << 10, 128, 1)
    idle, beside = [], []
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as name,
        running(OURS, SIZE_BYTES, Path(name), exports=("a", "b"), workers=workers) as server,
    ):
        uris = [server.uri(export=export) for export in ("a", "b")]
        for uri in uris:
            fio.fill(uri, SIZE_BYTES)
        reader = fio.command(uris[0], quiet, SIZE_BYTES, SECONDS, cpu=None)
        writer = fio.command(uris[1], wild, SIZE_BYTES, SECONDS + 2, cpu=None)
        for _ in range(REPETITIONS):
            idle.append(fio.parse(fio.run(reader)).p99_us)
            with subprocess.Popen(writer, stdout=subprocess.DEVNULL) as load:
                beside.append(fio.parse(fio.run(reader)).p99_us)
                load.wait()
    return median(idle), median(beside)
