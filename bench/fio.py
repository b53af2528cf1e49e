"""fio's nbd engine as load generator: one run, and the figures of its JSON."""

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.rows import Row

RAMP_SECONDS = 0.3
# nbd-server listens with a backlog of 10: of 32 simultaneous connections some may wait for ever.
HANG_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures of a run. ``requests`` includes the ramp, as the server's CPU time does."""

    requests: int
    iops: float
    mb_per_s: float
    mean_us: float
    p99_us: float


def parse(document: dict[str, Any], ramp_share: float = 0.0) -> Measured:
    """Return one reporting group of fio's JSON. ``ramp_share`` is ramp time / measured time.

    For a mixed load the latencies are weighted by the number of requests of each direction.
    """
    (job,) = document["jobs"]
    if job["error"]:
        raise RuntimeError(f"fio: error {job['error']}")
    sides = [job[side] for side in ("read", "write") if job[side]["total_ios"]]
    total = sum(side["total_ios"] for side in sides)
    mean = sum(side["lat_ns"]["mean"] * side["total_ios"] for side in sides) / total
    p99 = max(side["lat_ns"]["percentile"]["99.000000"] for side in sides)
    return Measured(
        requests=round(total * (1 + ramp_share)),
        iops=sum(side["iops"] for side in sides),
        mb_per_s=sum(side["bw_bytes"] for side in sides) / 1e6,
        mean_us=mean / 1e3,
        p99_us=p99 / 1e3,
    )


def command(uri: str, row: Row, size_bytes: int, seconds: float, *, cpu: int | None) -> list[str]:
    """Return fio's command line for a row; pinned to ``cpu`` if given."""
    words = ["fio", "--name=load", "--ioengine=nbd", f"--uri={uri}", "--output-format=json"]
    words += [f"--rw={row.mode}", f"--bs={row.block_bytes}", f"--size={size_bytes}"]
    words += [f"--iodepth={row.depth}", f"--numjobs={row.connections}", "--group_reporting"]
    words += ["--time_based", f"--runtime={seconds * 1000:.0f}ms", "--norandommap"]
    # Total latency: on one CPU the server may run while fio still submits, and clat excludes that.
    words += ["--lat_percentiles=1", "--clat_percentiles=0"]
    words += ["--randrepeat=0", f"--ramp_time={RAMP_SECONDS * 1000:.0f}ms"]
    if row.mode == "randrw":
        words.append("--rwmixread=70")
    return words if cpu is None else ["taskset", "-c", str(cpu), *words]


def run(words: Sequence[str], namespace: str | None = None) -> dict[str, Any]:
    """Run fio to its end. Raises TimeoutExpired if it hangs, RuntimeError if it fails."""
    if namespace is not None:
        words = ["ip", "netns", "exec", namespace, *words]
    # fio prints notices to stdout before the JSON.
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, text=True, cwd=os.sep, start_new_session=True
    ) as process:
        try:
            said, _ = process.communicate(timeout=HANG_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # fio's jobs are processes as well
            raise
    start = said.find("{")
    if process.returncode or start < 0:
        raise RuntimeError(f"fio, status {process.returncode}: {said}")
    document: dict[str, Any] = json.loads(said[start:])
    return document


def fill(uri: str, size_bytes: int) -> None:
    """Write every page of an export once, with data other than zeros."""
    words = ["fio", "--name=fill", "--ioengine=nbd", f"--uri={uri}", "--rw=write", "--bs=128k"]
    words += ["--iodepth=4", f"--size={size_bytes}", "--output-format=json"]
    run([*words, "--refill_buffers"])
