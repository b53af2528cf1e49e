"""A page server whose pages are in Ceph is killed or replaced while a client is connected."""

import signal
from collections.abc import Callable

from netboot.pages import static
from tests.pages.test_upgrade import PAGE, Serving, serve
from tests.support.ceph import POOL, Cluster
from tests.support.nbd_client import NbdClient

__all__ = ["serve"]


def test_clients_outlive_a_killed_control_plane_and_an_upgrade(
    serve: Callable[..., Serving], cluster: Cluster
) -> None:
    """Each worker lets the lock go before the next one opens the image: none is fenced."""
    before = cluster.ceph("osd", "blocklist", "ls")
    server = serve(f"rbd:{POOL}")
    with NbdClient(server.address).attach("a") as client:
        assert client.write(0, PAGE) == 0
        assert static.upgrade_static(server.address, server.store) == server.process.pid
        assert client.write(4096, PAGE) == 0
        server.end(signal.SIGKILL)
        assert client.read(4096, 4096) == PAGE
        server.start()
        assert client.read(0, 8192) == PAGE * 2
        with NbdClient(server.address).attach("a") as second:
            assert second.read(0, 8192) == PAGE * 2
    assert cluster.ceph("osd", "blocklist", "ls") == before
    server.end(signal.SIGTERM)
    assert cluster.rbd("list", POOL) == ""
