"""``netboot serve`` with root images: refused at the start, found and kept while it runs."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from netboot.boot import ticket
from netboot.roots.library import Library
from netboot.roots.uses import read_uses
from tests import ROOT
from tests.roots.making import make_version
from tests.serve.test_services import ADDRESS, NETBOOT, Serving, serve

__all__ = ["serve"]  # a fixture

pytestmark = pytest.mark.root

MAC = "52:54:00:12:34:56"
# Attaches, then reads the first bytes for each line of its input.
READER = """
import sys
from tests.support.nbd_client import NbdClient
client = NbdClient((sys.argv[1], 10809))
print(client.go(sys.argv[2])[-1].type, flush=True)
for line in sys.stdin:
    print(client.read(0, 3).decode(), flush=True)
"""

BEACON = """
import http.client, sys
server = http.client.HTTPConnection("127.0.0.1", 8080, timeout=60)
server.request("POST", f"/beacon/{sys.argv[1]}/userland", body="1.0 here")
server.getresponse().read()
"""


class Reader:
    """A PC that reads an export, in the network of a server."""

    def __init__(self, server: Serving, export: str) -> None:
        command = ["nsenter", "-t", str(server.process.pid), "-n", sys.executable, "-c", READER]
        self.process = subprocess.Popen(
            [*command, ADDRESS, export],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.is_attached = self.process.stdout.readline() == "1\n"

    def read(self) -> str:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(file=self.process.stdin, flush=True)
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        self.process.communicate(timeout=60)


def inside(server: Serving, *command: str) -> str:
    """Run a command in the network of a server; return its output."""
    words = ["nsenter", "-t", str(server.process.pid), "-n", *command]
    return subprocess.run(words, check=True, capture_output=True, text=True, cwd=ROOT).stdout


def test_versions_come_and_go_and_the_server_is_replaced(
    serve: Callable[..., Serving], tmp_path: Path
) -> None:
    library, options = Library(tmp_path / "roots"), ["--roots", str(tmp_path / "roots")]
    room = tmp_path / "room.yaml"
    room.write_text("swap: {capacity: 64MiB}\nroot: {kind: image, image: kiosk}\n")
    status, complaints = serve(*options).end()
    assert (status, complaints.splitlines()[0]) == (
        2,
        f"root image 'kiosk': there is none in {library.folder}; sudo netboot image build kiosk",
    )
    old = make_version(library)
    server = serve(*options)
    assert "ready" in server.line()
    secret = (tmp_path / "state/secret").read_bytes()
    session = ticket.begin(secret, MAC, b"nonce!", time.time())
    verified = f"image-{old.manifest.short}-verified@{session}"
    with closing(Reader(server, verified)) as before:
        assert before.is_attached and before.read() == "old"
        new = make_version(library, content=b"new")
        with closing(Reader(server, f"image-{new.manifest.short}@{session}")) as after:
            assert after.is_attached and after.read() == "new", "found without a restart"
        with closing(Reader(server, verified)) as again:
            assert again.is_attached
        library.remove(old)
        make_version(library, content=b"newest")
        assert not old.image.exists()

        server.process.send_signal(signal.SIGHUP)
        assert "ready" in server.line()
        assert before.read() == "old", "a new server serves on what is not on the disk any more"
        assert read_uses(tmp_path / "state") == {old.manifest.short: (MAC,)}
        inside(server, sys.executable, "-c", BEACON, session)
        (seat,) = json.loads(inside(server, *NETBOOT, "status", "--json"))["seats"]
        assert (seat["image"], seat["digest"]) == (old.label, old.manifest.short)
        assert old.label in inside(server, *NETBOOT, "status")
