"""The leases of a room, kept beside the pages for the next server."""

import os
import stat
from contextlib import closing
from pathlib import Path

import pytest

from netboot.pages.exports import STATE_FILE, LeasedExports
from netboot.pages.lease import LeaseTable
from netboot.pages.stores.disk import DiskStore

MAC = "52:54:00:00:00:01"


def test_a_lease_is_on_disk_as_soon_as_it_is_granted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next server finds pages without a lease after a power cut, and wipes them."""
    synced: list[int] = []
    fsync = os.fsync

    def syncing(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    with closing(DiskStore(tmp_path, "room")) as store:
        table = LeaseTable(1 << 20, 1.0)
        exports = LeasedExports(store, table)
        monkeypatch.setattr(os, "fsync", syncing)
        table.grant(MAC, "swap", "token", 8192, 0.0)
        assert exports.directory is not None
        status = (exports.directory / STATE_FILE).stat()
        assert synced == [status.st_ino, exports.directory.stat().st_ino]
        assert stat.S_IMODE(status.st_mode) == 0o600, "it has the tokens"
