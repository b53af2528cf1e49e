"""A seat whose pages are in Ceph goes to another server and comes back: the newest set has the image."""

from contextlib import closing

import pytest

from netboot.pages.exports import LeasedExports
from netboot.pages.lease import Lease, LeaseTable
from netboot.pages.nbd.backing import Fenced
from netboot.pages.stores.rbd import make_store
from tests.ceph.test_store import SPEC, entered
from tests.pages.stores.test_stores import read, write
from tests.support import nbd_client
from tests.support.ceph import POOL, Cluster
from tests.support.nbd_client import NbdClient
from tests.support.page_server import running

MIB = 1 << 20
FIRST, SECOND, THIRD = (bytes([each]) * 4096 for each in b"123")
SEAT, EXPORT = "52:54:00:12:34:01", "seat-525400123401"


def test_a_server_that_was_left_serves_nothing_until_its_seat_comes_back(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nbd_client, "TIMEOUT_SECONDS", 60)
    table = LeaseTable(MIB)
    lease = table.grant(SEAT, EXPORT, "token", MIB, 0.0)
    assert isinstance(lease, Lease)
    with (
        closing(make_store(SPEC, "")) as store,
        running(LeasedExports(store, table), workers=1) as server,
    ):
        with NbdClient(server.address).attach(f"{EXPORT}@token.5") as client:
            assert client.write(0, FIRST) == 0
            pages = store.open(lease.generation, MIB)
            other = entered(store, pages, 6)  # as another server's worker does
            assert read(other, 0, 4096) == FIRST
            write(other, 0, SECOND)
            with pytest.raises((EOFError, ConnectionResetError)):
                client.write(0, FIRST)
        with NbdClient(server.address).attach(f"{EXPORT}@token.7") as client:
            assert client.read(0, 4096) == SECOND
            assert client.write(0, THIRD) == 0
            with pytest.raises(Fenced):
                write(other, 0, SECOND)
            late = entered(store, pages, 6)
            with pytest.raises(Fenced):
                write(late, 0, SECOND)
            assert client.read(0, 4096) == THIRD
            image = f"{POOL}/{pages._name}"
            assert cluster.rbd("image-meta", "get", image, "netboot_set").strip() == "7"
        for each in (late, other, pages):
            each.close()
