"""A room's page server and its root images, read by libnbd: versions come and go without a restart."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from netboot.pages.exports import LeasedExports
from netboot.pages.room_exports import ClassroomExports
from netboot.pages.static_exports import StaticExports
from netboot.pages.stores.memory import MemoryStore
from netboot.pages.versions import Files, VersionExports
from netboot.roots.library import Library, Version
from netboot.serve.room import Room
from tests.roots.making import make_version
from tests.serve.links import FakeLinks
from tests.serve.test_room_roots import MAC, OTHER, image, library, room
from tests.support.nbd_client import NbdClient
from tests.support.page_server import Running, running

__all__ = ["library", "room"]  # fixtures

pytestmark = pytest.mark.system

SECONDS = 60.0


class Served:
    """The page server of a room, and the readers that it has noted."""

    def __init__(self, room: Room, library: Library, store: MemoryStore) -> None:
        self.room = room
        self.booted: list[tuple[str, ...]] = []
        self.exports = ClassroomExports(
            LeasedExports(store, room.table),
            StaticExports(store, {}),
            room.image_of,
            VersionExports(lambda name, short: files_of(library.with_digest(name, short))),
            room.root_of,
            lambda *what: self.booted.append(what),
        )
        self.room.identity.links = FakeLinks({"127.0.0.1": MAC})


def files_of(version: Version | None) -> Files | None:
    return None if version is None else Files(version.image, version.tree)


@pytest.fixture
def served(room: Room, library: Library, tmp_path: Path) -> Iterator[Served]:
    store = MemoryStore(tmp_path, "test")
    yield Served(room, library, store)
    store.close()


def read(server: Running, name: str, target: Path) -> str:
    """Read a whole export with libnbd; return the complaint, empty for none."""
    uri = f"nbd://127.0.0.1:{server.address[1]}/{name}"
    command = ["nbdcopy", "--connections=2", uri, str(target)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    return done.stderr if done.returncode else ""


def holders(server: Running, path: Path) -> int:
    """Return how many descriptors this process and the workers have of a file, also if removed."""
    found = 0
    for pid in (os.getpid(), *server.server.worker_pids):
        for each in Path(f"/proc/{pid}/fd").iterdir():
            try:
                found += os.readlink(each).removesuffix(" (deleted)") == str(path)
            except OSError:
                continue
    return found


def test_an_old_version_stays_and_a_new_one_is_found(
    served: Served, library: Library, tmp_path: Path
) -> None:
    old, target = make_version(library), tmp_path / "copy"
    session = served.room.doors.begin(MAC)
    running_seat = f"{image(served.room)}@{session}"
    with running(served.exports, workers=2) as server, ExitStack() as stack:
        clients = [
            stack.enter_context(NbdClient(server.address)).attach(running_seat) for _ in range(2)
        ]
        new = make_version(library, content=b"new")
        assert image(served.room) == f"image-{new.manifest.short}-verified"
        for version in (old, new):
            name = f"image-{version.manifest.short}@{session}"
            assert read(server, name, target) == ""
            assert target.read_bytes() == version.image.read_bytes()
            verified = f"image-{version.manifest.short}-verified@{session}.2"
            assert read(server, verified, target) == ""
            both = version.image.read_bytes() + version.tree.read_bytes()
            assert target.read_bytes() == both, "the hash tree is behind it"
        library.remove(old)
        make_version(library, content=b"newest")  # the next writer frees the room
        assert not old.image.exists()
        assert [each.read(4096, 3) for each in clients] == [b"ldo", b"ldo"]
        again = stack.enter_context(NbdClient(server.address)).attach(running_seat)
        assert again.read(0, 3) == b"old", "it attaches again while somebody reads it"
        assert server.ask(server.server.readers) == {MAC.replace(":", "")}
        stack.close()
        end = time.monotonic() + SECONDS
        while holders(server, old.image) and time.monotonic() < end:
            time.sleep(0.05)
        assert holders(server, old.image) == 0, "its room on the disk is free"
        with NbdClient(server.address) as client:
            assert client.go(running_seat)[-1].type != 1
    reader, export = MAC.replace(":", ""), f"image-{old.manifest.short}-verified"
    assert served.booted[0] == (reader, "kiosk", export)


def test_a_seat_reads_its_own_image_only(served: Served, library: Library, tmp_path: Path) -> None:
    kiosk, thin = make_version(library), make_version(library, "thin", b"thin")
    served.room.identity.links = FakeLinks({"127.0.0.1": OTHER})
    session = served.room.doors.begin(OTHER)
    with running(served.exports, workers=1) as server:
        assert read(server, f"image-{thin.manifest.short}@{session}", tmp_path / "copy") == ""
        for token in (session, "", "guess", served.room.doors.begin(MAC)[:-1]):
            with NbdClient(server.address) as client:
                reply = client.go(f"image-{kiosk.manifest.short}@{token}")[-1]
                assert reply.type == (1 << 31) | 6, "unknown"
        assert holders(server, kiosk.image) == 0
