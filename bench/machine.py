"""The machine and the program versions of a benchmark."""

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def versions(programs: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the machine's CPU and kernel, and the first line of each program's version."""
    cpu = next(
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    found = {"cpu": f"{os.cpu_count()} x {cpu}", "kernel": platform.release()}
    found["python"] = platform.python_version()
    for name, words in programs.items():
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        found[name] = (done.stdout or done.stderr).splitlines()[0]
    return found
