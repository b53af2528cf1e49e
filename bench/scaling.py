"""Cost of a request with 1, 2, 4 and 8 workers: more workers than CPUs must not cost much."""

import tempfile
from pathlib import Path
from statistics import median

from bench import fio
from bench.report import OURS, Verdict
from bench.rows import Row
from bench.servers import running

SIZE_BYTES = 256 << 20
REPETITIONS = 3
SECONDS = 1.0
WORKERS = (1, 2, 4, 8)


def scaling() -> tuple[list[Verdict], dict[str, float]]:
    """Return IOPS, and server CPU per request in microseconds, of 8 connections. No bar is set for them."""
    row, detail = Row("randread", 4096, 32, 8), {}
    for workers in WORKERS:
        with (
            tempfile.TemporaryDirectory(dir="/dev/shm") as name,
            running(OURS, SIZE_BYTES, Path(name), workers=workers) as server,
        ):
            fio.fill(server.uri(), SIZE_BYTES)
            words = fio.command(server.uri(), row, SIZE_BYTES, SECONDS, cpu=None)
            iops, cpu_us = [], []
            for _ in range(REPETITIONS):
                before = server.cpu_seconds()
                got = fio.parse(fio.run(words), fio.RAMP_SECONDS / SECONDS)
                iops.append(got.iops)
                cpu_us.append((server.cpu_seconds() - before) / got.requests * 1e6)
        detail[f"{workers}_workers_iops"] = median(iops)
        detail[f"{workers}_workers_cpu_us"] = median(cpu_us)
    return [], detail
