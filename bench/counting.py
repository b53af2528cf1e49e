"""What a server's processes count while a load runs, by ``perf stat``: instructions, for instance.

Instructions repeat where seconds do not. Many virtual machines do not count them.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

INSTRUCTIONS = "instructions"
PATIENCE_SECONDS = 30.0


@dataclass(slots=True)
class Count:
    """A count. ``value`` is None until it has ended, and if the machine did not count."""

    value: float | None = None


def parse(said: str, event: str) -> float | None:
    """Return the value of ``event`` in the output of ``perf stat -x,``; None if it was not counted."""
    for line in said.splitlines():
        value, _, rest = line.partition(",")
        # perf adds ":u" to an event of which it may count only the part in user space.
        if event in [name.partition(":")[0] for name in rest.split(",")]:
            with contextlib.suppress(ValueError):
                return float(value)
    return None


def is_counted(event: str = INSTRUCTIONS) -> bool:
    """Return whether perf is installed, and this machine counts ``event``."""
    if shutil.which("perf") is None:
        return False
    words = ["perf", "stat", "-x,", "-e", event, "true"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return parse(done.stderr, event) is not None


@contextlib.contextmanager
def counted(pids: Sequence[int], event: str = INSTRUCTIONS) -> Iterator[Count]:
    """Count ``event`` in processes, and in those that they start, until the end of the block.

    Raises RuntimeError if perf does not start.
    """
    count = Count()
    with tempfile.TemporaryDirectory() as name:
        output = Path(name) / "counts"
        orders, answers = os.pipe(), os.pipe()
        words = ["perf", "stat", "-x,", "-e", event, "-o", str(output), "--delay=-1"]
        words += ["--pid", ",".join(map(str, pids)), f"--control=fd:{orders[0]},{answers[1]}"]
        with subprocess.Popen(
            words,
            pass_fds=(orders[0], answers[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as perf:
            os.close(orders[0])
            os.close(answers[1])
            try:
                if not _order(orders[1], answers[0], b"enable\n"):
                    raise RuntimeError(f"perf does not count {event} of processes {pids}")
                yield count
                _order(orders[1], answers[0], b"disable\n")
            finally:
                os.close(orders[1])
                os.close(answers[0])
                perf.send_signal(signal.SIGINT)  # it ends with its table
                try:
                    perf.wait(timeout=PATIENCE_SECONDS)
                except subprocess.TimeoutExpired:
                    perf.kill()
        count.value = parse(output.read_text(), event)


def _order(to: int, back: int, order: bytes) -> bool:
    """Give perf an order; return whether it has obeyed. If perf has ended, its pipes are closed."""
    with contextlib.suppress(BrokenPipeError):
        os.write(to, order)
    return os.read(back, 16).startswith(b"ack")
