"""Fixtures: the LAN, a server on it, and small images of a room."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netboot.deploy import bundle
from netboot.images.build import default_cache
from tests import ROOT
from tests.deploy.disk import Disk, make_disk
from tests.deploy.rig import Lan, Serve
from tests.support.command import SERVE
from tests.support.images import write_images
from tests.support.kept import forget_pages


class _Silent:
    def step(self, text: str) -> None:
        pass

    def advance(self, done: int, total: int) -> None:
        pass


@pytest.fixture(scope="module")
def lan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lan]:
    found = Lan(tmp_path_factory.mktemp("lan"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a small folder of images, with the files of `netboot build`."""
    folder = tmp_path_factory.mktemp("images")
    names = ("amd64/vmlinuz", "amd64/initramfs.img", "undionly.kpxe", "snponly.efi")
    write_images(folder, {name: 1000 * len(name) for name in names})
    return folder


@pytest.fixture
def serve(lan: Lan, images: Path, tmp_path: Path) -> Iterator[Serve]:
    """Start a server for the text of a profile; return the list that gets its events."""
    running = []

    def start(profile: str, folder: Path = images) -> list[dict[str, Any]]:
        (room := tmp_path / "room.yaml").write_text(f"interface: br0\n{profile}")
        command = [
            sys.executable,
            "-m",
            *SERVE,
            "--state",
            str(tmp_path),
        ]
        command += ["--profile", str(room), "--images", str(folder)]
        server = subprocess.Popen(lan.command(*command), cwd=ROOT, stdout=subprocess.PIPE)
        running.append(server)
        output = server.stdout
        assert output is not None and b"ready" in output.readline()
        events: list[dict[str, Any]] = []
        threading.Thread(target=lambda: events.extend(map(json.loads, output)), daemon=True).start()
        return events

    yield start
    for server in running:
        server.terminate()
        server.wait()
        assert server.stdout is not None
        server.stdout.close()
    forget_pages(tmp_path)  # also those of a played PC


@pytest.fixture(scope="session")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Fill the caches of `fab`: the LAN has no Internet."""
    (room := tmp_path_factory.mktemp("room") / "room.yaml").write_text("")
    version = subprocess.run(
        [
            "/usr/bin/python3",
            "-c",
            "import platform as p; print(p.python_version()[:4], p.machine())",
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    bundle.make(room, room.parent, bundle.Target.parse(version), bundle.WORK)
    bundle.ipxe_for_grub(default_cache(), _Silent())


@pytest.fixture(scope="session")
def disk() -> Disk:
    """Return a Debian on a disk."""
    return make_disk(_Silent())
