"""OSDs that stand still: the PC waits, the operator is told, and the request is done afterwards."""

import signal
import threading
from contextlib import closing

import pytest

from netboot.pages.static_exports import StaticExports
from netboot.pages.stores.rbd import make_store
from netboot.profile.stores import parse_store
from tests.support import nbd_client, page_server
from tests.support.ceph import POOL, Cluster
from tests.support.nbd_client import NbdClient
from tests.support.page_server import running

MIB = 1 << 20
PAGE = bytes(range(256)) * 16
OSDS = ("osd.0", "osd.1", "osd.2")


def test_a_cluster_that_stands_still_is_told_and_so_is_its_end(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((page_server, "PATIENCE_SECONDS"), (nbd_client, "TIMEOUT_SECONDS")):
        monkeypatch.setattr(module, name, 60)
    with (
        closing(make_store(parse_store(f"rbd:{POOL}"), "")) as store,
        running(StaticExports(store, {"a": MIB}), workers=1) as server,
        NbdClient(server.address).attach("a") as client,
    ):
        assert client.write(0, PAGE) == 0
        errors: list[int] = []
        writing = threading.Thread(target=lambda: errors.append(client.write(0, PAGE[::-1])))
        for osd in OSDS:
            cluster.signal(osd, signal.SIGSTOP)
        try:
            writing.start()
            told = server.event("stalled")
        finally:
            for osd in OSDS:
                cluster.signal(osd, signal.SIGCONT)
        writing.join()
        assert errors == [0]
        assert told.data["seconds"] >= 5
        assert server.event("answers").data["seconds"] >= told.data["seconds"]
        assert client.read(0, len(PAGE)) == PAGE[::-1]
