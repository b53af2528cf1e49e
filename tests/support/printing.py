"""A CUPS server with one printer that keeps its jobs, on the virtual network of a test."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PRINTER = "room"
WAIT_SECONDS = 60

_CUPSD = """Listen {address}:631
Listen {folder}/socket
Browsing No
DefaultAuthType None
PreserveJobFiles Yes
WebInterface No
MaxLogSize 0
<Location />
  Order allow,deny
  Allow all
</Location>
<Policy default>
  <Limit All>
    Order deny,allow
  </Limit>
</Policy>
"""
_FILES = """ServerRoot {folder}
RequestRoot {folder}/spool
CacheDir {folder}/cache
StateDir {folder}/state
TempDir {folder}/tmp
AccessLog {folder}/access
ErrorLog {folder}/log
PageLog {folder}/pages
ConfigFilePerm 0644
"""
# It is stopped: a job waits in the spool, as it came over the network.
_PRINTERS = """<DefaultPrinter {printer}>
UUID urn:uuid:6c2c4b1c-8f5a-3d0e-9a46-5d6d3f6f7a10
DeviceURI file:///dev/null
State Stopped
Accepting Yes
Shared Yes
OpPolicy default
ErrorPolicy stop-printer
</DefaultPrinter>
"""


@contextlib.contextmanager
def print_server(folder: Path, address: str) -> Iterator[None]:
    """Run a CUPS server while the context lasts; ``jobs`` tells what was printed."""
    for name in ("spool", "cache", "state", "tmp"):
        (folder / name).mkdir(parents=True)
    facts = {"folder": folder, "address": address, "printer": PRINTER}
    for name, text in (
        ("cupsd.conf", _CUPSD),
        ("cups-files.conf", _FILES),
        ("printers.conf", _PRINTERS),
    ):
        (folder / name).write_text(text.format(**facts))
    words: list[str | Path] = [
        "cupsd",
        "-f",
        "-c",
        folder / "cupsd.conf",
        "-s",
        folder / "cups-files.conf",
    ]
    with (folder / "output").open("wb") as output:
        server = subprocess.Popen(words, stdout=output, stderr=output)
    try:
        end = time.monotonic() + WAIT_SECONDS
        while not (folder / "socket").exists():
            assert server.poll() is None, (folder / "output").read_text()
            assert time.monotonic() < end, "cupsd is not ready"
            time.sleep(0.1)
        yield
    finally:
        server.kill()
        server.wait()


def jobs(folder: Path) -> list[bytes]:
    """Return the documents that were sent to the server."""
    return [path.read_bytes() for path in sorted((folder / "spool").glob("d*"))]
