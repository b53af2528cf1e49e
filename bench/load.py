"""bench/nbd_load.c as load generator: its command line, one run, and the figures of its JSON."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.rows import Row

RAMP_SECONDS = 0.3
HANG_SECONDS = 120  # the program gives up after 30 s without an answer, on any of its connections
FILL_BYTES = 128 << 10


class LoadError(RuntimeError):
    """A load that did not run whole: a connection failed, or none of its requests was answered."""


@dataclass(frozen=True, slots=True)
class Load:
    """Figures of a run. ``requests`` includes the ramp, as the server's CPU time does.

    ``cpu_us`` is the program's own CPU time for each request.
    """

    requests: int
    iops: float
    mb_per_s: float
    mean_us: float
    p50_us: float
    p99_us: float
    max_us: float
    cpu_us: float


def parse(said: str) -> Load:
    """Return the figures of the program's JSON."""
    document = json.loads(said)
    return Load(**{name: document[name] for name in Load.__slots__})


def command(
    program: Path, uri: str, row: Row, size_bytes: int, seconds: float, *, cpu: int | None
) -> list[str]:
    """Return the command line for a row; pinned to ``cpu`` if given."""
    words = [str(program), f"--mode={row.mode}", f"--block={row.block_bytes}"]
    words += [f"--size={size_bytes}", f"--depth={row.depth}", f"--connections={row.connections}"]
    words += [f"--seconds={seconds}", f"--ramp={RAMP_SECONDS}", uri]
    return words if cpu is None else ["taskset", "-c", str(cpu), *words]


def run(words: Sequence[str], namespace: str | None = None) -> Load:
    """Run the program to its end. Raises LoadError with its message if it fails or hangs."""
    if namespace is not None:
        words = ["ip", "netns", "exec", namespace, *words]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=HANG_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"nbd_load: it took more than {HANG_SECONDS} s") from error
    if done.returncode:
        raise LoadError(done.stderr.strip())
    return parse(done.stdout)


def fill(
    program: Path, uri: str, size_bytes: int, *, verify: bool, namespace: str | None = None
) -> None:
    """Write every page of an export once, with data other than zeros; ``verify`` reads all back.

    Raises LoadError, also for contents that differ.
    """
    words = [str(program), f"--block={FILL_BYTES}", "--depth=4", f"--size={size_bytes}"]
    words += [f"--requests={size_bytes // FILL_BYTES}", "--verify"]
    for mode in ("write", "read") if verify else ("write",):
        run([*words, f"--mode={mode}", uri], namespace)
