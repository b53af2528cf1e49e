"""The leases of a room, kept beside the pages for the next server."""

import asyncio
import errno
import json
import os
import shutil
import stat
import time
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import NoReturn

import pytest

from netboot.errors import OperatorError
from netboot.host.state import RESERVE_BYTES, StateFile
from netboot.pages import exports as page_exports
from netboot.pages.exports import Attachment, LeasedExports
from netboot.pages.lease import UNKNOWN, LeaseTable
from netboot.pages.leasefile import APART_FILE, STATE_FILE
from netboot.pages.nbd.export import Export, Refused
from netboot.pages.nbd.name import WireName
from netboot.pages.static_exports import StaticExports
from netboot.pages.stores.disk import DiskFile, DiskStore

MAC = "52:54:00:00:00:01"


def test_a_lease_is_on_disk_as_soon_as_it_is_granted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next server finds pages without a lease after a power cut, and wipes them."""
    synced: list[int] = []

    def syncing(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)

    with closing(DiskStore(tmp_path, "room")) as store:
        table = LeaseTable(1 << 20, 1.0)
        exports = LeasedExports(store, table)
        monkeypatch.setattr(os, "fsync", syncing)
        monkeypatch.setattr(os, "fdatasync", syncing)
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
        exports.close()
    for saved, token_is_good in ((before, True), (after, False)):
        state.write_bytes(saved)
        with closing(DiskStore(tmp_path, "room")) as store:
            exports = LeasedExports(store, LeaseTable(1 << 20))
            found = exports.find(WireName.parse("swap@token.2"))
            assert isinstance(found, Refused) != token_is_good
            assert not token_is_good or key_of(exports, "token") == key
            assert not isinstance(exports.attach(WireName.parse(f"swap@{key}.2")), Refused)
            exports.close()


def test_a_lease_of_an_older_release_gets_a_key(tmp_path: Path) -> None:
    with closing(DiskStore(tmp_path, "room")) as store:
        table = LeaseTable(1 << 20)
        exports = LeasedExports(store, table)
        table.grant(MAC, "swap", "token", 8192, 0.0)
        exports.attach(WireName.parse("swap@token.1"))
        rows = [{**row, "key": "", "version": 1} for row in table.as_json()]
        assert exports.directory is not None
        (exports.directory / STATE_FILE).write_text(json.dumps(rows))
        exports.close()
    with closing(DiskStore(tmp_path, "room")) as store:
        exports = LeasedExports(store, LeaseTable(1 << 20))
        key = key_of(exports, "token")
        assert not isinstance(exports.attach(WireName.parse(f"swap@{key}.2")), Refused)


class Server:
    """A server's leases in ``folder``: beside the pages, and apart in a state folder."""

    def __init__(self, folder: Path) -> None:
        self.store = DiskStore(folder / "pages", "room")
        self.table = LeaseTable(1 << 20)
        self.exports = LeasedExports(self.store, self.table, state=folder / "state")
        self.beside = self.store.directory / STATE_FILE
        self.apart = folder / "state" / APART_FILE

    def grant(self, token: str, export: str = "swap") -> None:
        found = self.table.grant(MAC, export, token, 8192, time.time(), fresh=True)
        assert not isinstance(found, Refused)

    def attach(self, token: str, number: int = 1, export: str = "swap") -> Attachment | Refused:
        return self.exports.attach(WireName.parse(f"{export}@{token}.{number:x}"))

    def kill(self) -> None:
        """End as a process does that is killed: nothing is saved."""
        self.exports.close()
        self.store.close()


@pytest.fixture
def served(tmp_path: Path) -> Server:
    """A server with an attached lease in set 5, and a pending one; it was killed."""
    server = Server(tmp_path)
    server.grant("token")
    first = server.attach("token", 5)
    assert isinstance(first, Attachment)
    first.pages.write(0, memoryview(b"page" * 1024))
    server.grant("later", "swap-2")
    server.kill()
    return server


def reads(found: Attachment | Refused) -> bytes:
    assert isinstance(found, Attachment), found
    data = bytearray(4)
    found.pages.read_into(0, memoryview(data))
    return bytes(data)


def spare_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.spare")


def test_the_next_server_knows_all_leases_and_sets(served: Server, tmp_path: Path) -> None:
    again = Server(tmp_path)
    assert isinstance(again.attach("token", 4), Refused), "a set that was fenced stays so"
    assert reads(again.attach("token", 5)) == b"page"
    assert reads(again.attach("later", 1, "swap-2")) == bytes(4), "never attached: empty"
    again.kill()


@pytest.mark.parametrize("damaged", ["beside", "apart"])
def test_each_copy_is_enough_for_all_that_have_pages(
    served: Server, tmp_path: Path, damaged: str, caplog: pytest.LogCaptureFixture
) -> None:
    path: Path = getattr(served, damaged)
    whole = path.read_bytes()
    for cut in (0, 1, len(whole.rstrip()) // 2, len(whole.rstrip()) - 1):
        caplog.clear()
        path.write_bytes(whole[:cut])
        spare_of(path).unlink(missing_ok=True)
        again = Server(tmp_path)
        assert [record.getMessage().startswith(str(path)) for record in caplog.records] == [True]
        assert isinstance(again.attach("token", 4), Refused)
        assert reads(again.attach("token", 5)) == b"page"
        again.kill()


def test_a_lease_that_may_have_had_pages_never_comes_back_empty(
    served: Server, tmp_path: Path
) -> None:
    """Only the copy beside the pages knows that a lease was not attached since."""
    stale = served.apart.read_bytes()
    server = Server(tmp_path)
    assert isinstance(server.attach("later", 1, "swap-2"), Attachment)
    server.kill()
    shutil.rmtree(server.store.directory)  # as a reboot does to a tmpfs
    server.apart.write_bytes(stale)  # the disk of the state folder was full all the time
    spare_of(server.apart).unlink()
    again = Server(tmp_path)
    assert again.attach("later", 1, "swap-2") == UNKNOWN
    lost = again.attach("token", 5)
    assert isinstance(lost, Refused) and "no longer has the pages" in lost.reason
    again.kill()


def test_lost_pages_take_no_room(served: Server, tmp_path: Path) -> None:
    shutil.rmtree(served.store.directory)
    again = Server(tmp_path)
    assert not isinstance(
        again.table.grant(MAC, "swap-3", "new", 1 << 20, time.time(), fresh=True), Refused
    )
    again.kill()


def test_an_older_release_reads_the_copy_beside_the_pages_and_writes_it(
    served: Server, tmp_path: Path
) -> None:
    rows = json.loads(served.beside.read_bytes())
    assert [row["set_number"] for row in rows] == [5, 0]
    old = [{name: row[name] for name in row if name not in ("sequence", "check")} for row in rows]
    old[0]["set_number"] = 9
    served.beside.write_text(json.dumps(old))
    again = Server(tmp_path)
    assert isinstance(again.attach("token", 8), Refused), "it is newer than all of ours"
    assert reads(again.attach("token", 9)) == b"page"
    again.kill()


def test_a_copy_of_an_older_release_that_cannot_be_replaced_is_read_once(
    served: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else sets of before the upgrade would come back, because the page store was full."""
    rows = json.loads(served.beside.read_bytes())
    old = [{name: row[name] for name in row if name not in ("sequence", "check")} for row in rows]
    served.beside.write_text(json.dumps(old))
    write = StateFile.write

    def full(self: StateFile, text: str) -> None:
        if self.path == served.beside:
            raise OSError(28, "No space left on device")
        write(self, text)

    with monkeypatch.context() as patch:
        patch.setattr(StateFile, "write", full)
        server = Server(tmp_path)
        assert isinstance(server.attach("token", 12), Attachment)
        server.kill()
    again = Server(tmp_path)
    assert isinstance(again.attach("token", 11), Refused)
    assert reads(again.attach("token", 12)) == b"page"
    again.kill()


def test_the_state_of_a_newer_release_is_set_aside_in_one_line_and_its_pages_are_kept(
    served: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{**row, "version": 3} for row in served.table.as_json()]
    served.beside.write_text(json.dumps(rows))
    for path in (served.apart, spare_of(served.apart), spare_of(served.beside)):
        path.unlink()
    again = Server(tmp_path)
    assert again.attach("token", 5) == UNKNOWN
    first, second = (record.getMessage() for record in caplog.records)
    assert "version 3, expected at most 2; it is set aside as" in first
    assert "pages of 1 leases that are not known any more are kept until the next start" in second
    assert len(again.store.names()) == 1
    again.kill()
    last = Server(tmp_path)
    assert not last.store.names()
    last.kill()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EMFILE, errno.EIO])
def test_a_known_lease_depends_on_no_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    server = Server(tmp_path)
    server.grant("token")
    assert isinstance(server.attach("token", 1), Attachment)

    def fail(self: StateFile, text: str) -> None:
        raise OSError(number, os.strerror(number))

    async def run() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(StateFile, "write", fail)
            for each in range(2, 5):
                found = server.attach("token", each)
                assert isinstance(found, Attachment) and found.fences
                assert server.exports.saving(found.lease) is None, "nobody waits"
            assert await server.exports.is_granted("swap")
            server.grant("other", "swap-2")
            patch.setattr(page_exports, "SAVE_SECONDS", 0.01)
            assert not await server.exports.is_granted("swap-2"), "a new one does"
        await server.exports.files.keeper.stop()

    asyncio.run(run())
    server.kill()
    again = Server(tmp_path)
    assert isinstance(again.attach("token", 3), Refused), "saved as soon as it could be"
    again.kill()


def test_a_known_lease_depends_on_no_save_after_a_restart_either(
    served: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: StateFile, text: str) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(StateFile, "write", fail)
    again = Server(tmp_path)
    found = again.attach("token", 6)
    assert reads(found) == b"page"
    assert isinstance(found, Attachment) and again.exports.saving(found.lease) is None
    again.kill()


def test_pages_that_cannot_be_opened_end_one_connection_of_a_take_over(
    served: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = Server(tmp_path)
    (lease,) = again.store.names()

    def fail(name: str, size_bytes: int, *, alone: bool) -> NoReturn:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(again.store, "open", fail)
    assert again.exports.resume(lease, (), 7) is None
    assert not again.table.is_in_use("swap")
    again.kill()


def test_a_set_that_was_not_saved_is_known_by_its_connections(
    served: Server, tmp_path: Path
) -> None:
    """A worker outlives the server, with connections of a set that no copy of the state has."""
    again = Server(tmp_path)
    (lease,) = again.store.names()
    assert again.exports.resume(lease, (), 7) is not None
    assert isinstance(again.attach("token", 6), Refused)
    again.kill()


def test_a_key_is_told_only_if_the_next_server_knows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(tmp_path)

    def fail(self: StateFile, text: str) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(StateFile, "write", fail)
        server.grant("token")
        assert key_of(server.exports, "token") == ""
    server.exports.files.keeper.flush()
    assert key_of(server.exports, "token") != ""
    server.kill()


def test_pages_that_cannot_be_made_change_nothing(
    served: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = Server(tmp_path)

    def fail(name: str, size_bytes: int, *, alone: bool) -> NoReturn:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(again.store, "create", fail)
        refused = again.attach("later", 1, "swap-2")
        assert isinstance(refused, Refused) and refused.is_ours
        assert refused.reason.endswith("the pages of swap-2: Too many open files")
        patch.setattr(again.store, "open", fail)
        refused = again.attach("token", 9)
        assert isinstance(refused, Refused) and refused.is_ours
    assert reads(again.attach("token", 5)) == b"page", "and set 9 has fenced nothing"
    assert isinstance(again.attach("later", 1, "swap-2"), Attachment)
    again.kill()


def test_a_new_boot_takes_the_room_of_the_boot_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(tmp_path)
    server.grant("token")
    old = server.attach("token", 1)
    assert isinstance(old, Attachment)
    server.grant("new")
    create = server.store.create

    def full(name: str, size_bytes: int, *, alone: bool) -> DiskFile:
        if old.lease in server.store.names():
            raise OSError(errno.ENOSPC, "No space left on device")
        return create(name, size_bytes)

    monkeypatch.setattr(server.store, "create", full)
    assert isinstance(server.attach("new", 1), Attachment)
    assert old.lease not in server.store.names()
    server.kill()


def test_a_removed_folder_is_made_again_and_open_pages_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(tmp_path)
    server.grant("token")
    first = server.attach("token", 1)
    assert isinstance(first, Attachment)
    first.pages.write(0, memoryview(b"page" * 1024))
    shutil.rmtree(server.store.directory)
    assert reads(server.attach("token", 2)) == b"page"
    server.grant("other", "swap-2")
    assert isinstance(server.attach("other", 1, "swap-2"), Attachment)
    assert "was removed, and is made again" in caplog.text
    server.kill()
    again = Server(tmp_path)
    lost = again.attach("token", 3)
    assert isinstance(lost, Refused) and "no longer has the pages" in lost.reason
    assert isinstance(again.attach("other", 1, "swap-2"), Attachment)
    again.kill()


def test_pages_that_are_back_are_served_again(served: Server, tmp_path: Path) -> None:
    """The store was another one for a while: swap.store was changed, and changed back."""
    elsewhere = tmp_path / "elsewhere"
    store = DiskStore(elsewhere, "room")
    between = LeasedExports(store, LeaseTable(1 << 20), state=tmp_path / "state")
    lost = between.attach(WireName.parse("swap@token.5"))
    assert isinstance(lost, Refused) and "no longer has the pages" in lost.reason
    assert between.files.places == [served.store.directory]
    store.close()
    again = Server(tmp_path)
    assert reads(again.attach("token", 5)) == b"page"
    again.kill()


def test_an_export_without_room_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def create(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(DiskStore, "create", create)
    with (
        closing(DiskStore(tmp_path, "room")) as store,
        pytest.raises(OperatorError, match="^export big: .* takes no 8192 bytes: No space left"),
    ):
        StaticExports(store, {"big": 8192})


@pytest.mark.parametrize("number", [errno.EACCES, errno.ESTALE, errno.EIO])
def test_a_store_of_before_that_cannot_be_looked_at_prevents_no_start(
    served: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    before = served.store.directory
    is_dir = Path.is_dir

    def fail(self: Path) -> bool:
        if self == before:
            raise OSError(number, os.strerror(number))
        return is_dir(self)

    monkeypatch.setattr(Path, "is_dir", fail)
    with closing(DiskStore(tmp_path / "elsewhere", "room")) as store:
        exports = LeasedExports(store, LeaseTable(1 << 20), state=tmp_path / "state")
        assert exports.files.places == [before], "it may come back"


@pytest.mark.parametrize("number", [errno.EROFS, errno.EIO])
def test_pages_that_cannot_be_wiped_stop_no_pc_and_no_start(
    served: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    number: int,
) -> None:
    def fail(name: str) -> NoReturn:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(DiskStore, "remove", lambda self, name: fail(name))
    again = Server(tmp_path)
    ended: list[str] = []
    again.exports.on_ended = ended.append
    (old,) = again.store.names()
    again.grant("new")
    found = again.attach("new", 1)
    assert isinstance(found, Attachment) and ended == [old], "its boot before has ended"
    assert caplog.text.count("pages that have ended cannot be wiped") == 1
    again.kill()
    last = Server(tmp_path)
    assert isinstance(last.attach("new", 2), Attachment)
    last.kill()


def test_the_first_save_has_its_room_before_the_disk_is_full(tmp_path: Path) -> None:
    server = Server(tmp_path)
    for path in (server.beside, server.apart):
        assert spare_of(path).stat().st_blocks * 512 >= RESERVE_BYTES and not path.exists()
    server.kill()


class LateStore(DiskStore):
    """A store whose page files are there when a test says so."""

    made: Future[None]

    def making(self, name: str) -> Future[None] | None:  # type: ignore[override]
        return None if self.made.done() else self.made


def test_a_pc_waits_until_its_page_file_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The control plane does not, whatever becomes of a store on other machines."""
    monkeypatch.setattr(page_exports, "SAVE_SECONDS", 0.01)

    async def run() -> None:
        with closing(LateStore(tmp_path, "room")) as store:
            store.made = Future()
            table = LeaseTable(1 << 20)
            exports = LeasedExports(store, table)
            table.grant(MAC, "swap", "token", 8192, 0.0)
            found = exports.attach(WireName.parse("swap@token.1"))
            assert isinstance(found, Attachment)
            saving = exports.saving(found.lease)
            assert saving is not None
            assert not await saving
            assert "cannot be made: its store does not answer; its PC tries again" in caplog.text
            monkeypatch.setattr(page_exports, "SAVE_SECONDS", 10)
            saving = exports.saving(found.lease)
            assert saving is not None
            asyncio.get_running_loop().call_later(0.01, store.made.set_result, None)
            assert await saving
            assert exports.saving(found.lease) is None
            exports.close()
            await exports.files.keeper.stop()

    asyncio.run(run())
