"""The leases of a room, kept beside the pages for the next server."""

import json
import os
import stat
from contextlib import closing
from pathlib import Path

import pytest

from netboot.errors import OperatorError
from netboot.pages.exports import STATE_FILE, LeasedExports
from netboot.pages.lease import UNKNOWN, LeaseTable
from netboot.pages.nbd.export import Export, Refused
from netboot.pages.nbd.name import WireName
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


def key_of(exports: LeasedExports, secret: str) -> str:
    found = exports.find(WireName.parse(f"swap@{secret}"))
    assert isinstance(found, Export)
    return found.key


def test_the_use_of_a_key_is_on_disk_before_it_is_answered(tmp_path: Path) -> None:
    """Else a server that is killed then takes the token again, with the agent beside it."""
    with closing(DiskStore(tmp_path, "room")) as store:
        table = LeaseTable(1 << 20)
        exports = LeasedExports(store, table)
        table.grant(MAC, "swap", "token", 8192, 0.0)
        key = key_of(exports, "token")
        assert len(bytes.fromhex(key)) == 16
        assert exports.directory is not None
        state = exports.directory / STATE_FILE
        before = state.read_bytes()
        exports.attach(WireName.parse("swap@token.1"))  # by an agent that knows no keys
        exports.attach(WireName.parse(f"swap@{key}.1"))
        assert exports.find(WireName.parse("swap@token.2")) == UNKNOWN
        assert key_of(exports, key) == ""
        after = state.read_bytes()
    for saved, token_is_good in ((before, True), (after, False)):
        state.write_bytes(saved)
        with closing(DiskStore(tmp_path, "room")) as store:
            exports = LeasedExports(store, LeaseTable(1 << 20))
            found = exports.find(WireName.parse("swap@token.2"))
            assert isinstance(found, Refused) != token_is_good
            assert not token_is_good or key_of(exports, "token") == key
            assert not isinstance(exports.attach(WireName.parse(f"swap@{key}.2")), Refused)


def test_a_lease_of_an_older_release_gets_a_key(tmp_path: Path) -> None:
    with closing(DiskStore(tmp_path, "room")) as store:
        table = LeaseTable(1 << 20)
        exports = LeasedExports(store, table)
        table.grant(MAC, "swap", "token", 8192, 0.0)
        exports.attach(WireName.parse("swap@token.1"))
        rows = [{**row, "key": "", "version": 1} for row in table.as_json()]
        assert exports.directory is not None
        (exports.directory / STATE_FILE).write_text(json.dumps(rows))
    with closing(DiskStore(tmp_path, "room")) as store:
        exports = LeasedExports(store, LeaseTable(1 << 20))
        key = key_of(exports, "token")
        assert not isinstance(exports.attach(WireName.parse(f"swap@{key}.2")), Refused)


def test_the_state_of_a_newer_release_is_refused_in_one_line(tmp_path: Path) -> None:
    with closing(DiskStore(tmp_path, "room")) as store:
        table = LeaseTable(1 << 20)
        exports = LeasedExports(store, table)
        table.grant(MAC, "swap", "token", 8192, 0.0)
        rows = [{**row, "version": 3} for row in table.as_json()]
        assert exports.directory is not None
        (exports.directory / STATE_FILE).write_text(json.dumps(rows))
        with pytest.raises(OperatorError, match=r"version 3, expected at most 2$"):
            LeasedExports(store, LeaseTable(1 << 20))
