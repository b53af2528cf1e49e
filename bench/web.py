"""A web page on the network of a benchmark's PCs."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PORT = 8000


@contextlib.contextmanager
def serve(folder: Path, log: Path) -> Iterator[None]:
    """Serve the files of ``folder`` over HTTP, on all addresses of this namespace."""
    words = ["-m", "http.server", str(PORT), "--directory", str(folder)]
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, *words], stdout=output, stderr=output)
    try:
        yield
    finally:
        process.terminate()
        process.wait()
