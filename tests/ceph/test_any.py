"""Two page servers in front of one pool: a lease goes from one to the other, and ends at the right time."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from netboot.boot.keyring import Keyring
from netboot.pages.lease import Lease, LeaseTable
from netboot.pages.shared_exports import IN_USE, Room, SharedExports
from netboot.pages.stores.pool import PoolStore
from netboot.pages.stores.rbd import find_access
from tests.ceph.test_store import SPEC, eventually
from tests.support import nbd_client, page_server
from tests.support.ceph import POOL, Cluster
from tests.support.nbd_client import NbdClient
from tests.support.page_server import Running, running

MIB = 1 << 20
FIRST, SECOND = (bytes([each]) * 4096 for each in b"12")
SEAT, EXPORT = "52:54:00:12:34:01", "seat-525400123401"


class Server:
    """A page server of the room, which has a folder of its own as another machine has it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.keys, self.table = Keyring(bytes(32)), LeaseTable(64 * MIB)
        store = stack.enter_context(closing(PoolStore(find_access(SPEC), "room", folder)))
        room = Room(self.keys.rooms, self.keys.swap_key, lambda seat: 2)
        self.exports = SharedExports(store, self.table, room)
        stack.callback(self.exports.close)
        self.running: Running = stack.enter_context(running(self.exports, workers=1))
        loop = self.running._loop
        following = asyncio.run_coroutine_threadsafe(self.exports.run(), loop)
        stack.callback(following.cancel)

    def grant(self, token: str) -> Lease:
        def now() -> object:
            return self.table.grant(SEAT, EXPORT, token, MIB, self.exports._clock(), fresh=True)

        lease = self.running.ask(now)
        assert isinstance(lease, Lease)
        return lease

    def attach(self, secret: str, number: int) -> NbdClient:
        return NbdClient(self.running.address).attach(f"{EXPORT}@{secret}.{number:x}")


@pytest.fixture
def servers(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Server, Server]]:
    for module, name in ((page_server, "PATIENCE_SECONDS"), (nbd_client, "TIMEOUT_SECONDS")):
        monkeypatch.setattr(module, name, 60)
    with ExitStack() as stack:
        made = []
        for name in "ab":
            (tmp_path / name).mkdir()
            made.append(Server(tmp_path / name, stack))
        yield made[0], made[1]


def images(cluster: Cluster) -> list[str]:
    """Return the generations of the leases that have images."""
    return [line.split(".")[2] for line in cluster.rbd("list", POOL).splitlines()]


def test_a_lease_goes_to_the_other_server_and_ends_with_the_next_boot(
    cluster: Cluster, servers: tuple[Server, Server]
) -> None:
    a, b = servers
    lease = a.grant("one")
    key = a.keys.swap_key(lease.generation)
    with a.attach("one", 5) as client:
        assert client.write(0, FIRST) == 0
    eventually(lambda: lease.generation in b.exports._pool.known)
    with b.attach(key, 6) as client:
        assert client.read(0, 4096) == FIRST
        assert client.write(0, SECOND) == 0
        newcomer = a.grant("two")
        refused: list[str] = []

        def boot() -> None:
            with NbdClient(a.running.address) as asking:
                reply = asking.go(f"{EXPORT}@two.1")[-1]
                refused.append(bytes(reply.data).decode())

        booting = threading.Thread(target=boot)
        booting.start()
        booting.join()
        assert refused == [IN_USE.reason]
        assert client.read(0, 4096) == SECOND
        assert set(images(cluster)) == {lease.generation}
    with a.attach(key, 7) as client:
        assert client.read(0, 4096) == SECOND
    with a.attach("two", 1) as client:
        assert client.read(0, 4096) == bytes(4096)
        eventually(lambda: images(cluster) == [newcomer.generation])
        eventually(lambda: lease.generation not in b.table.generations())
    eventually(lambda: a.running.ask(lambda: a.table.end(EXPORT)) is None)
    eventually(lambda: images(cluster) == [])
