"""The p99 of a seat that reads 4 KiB at depth 1, beside one that writes 128 KiB at depth 128.

Measured with a worker for each CPU, as on a server, and with one worker for both seats, where only
the worker provides fairness. The second case has no bar: of two CPUs fio uses the other.
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
    """Return the quiet seat's p99 alone and beside the thrashing seat, in microseconds."""
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
