"""Kept areas as files: over boots, restarts, upgrades' take-overs, and on a real page server."""

import os
import stat
from pathlib import Path
from typing import ClassVar

import pytest

from netboot.errors import OperatorError
from netboot.pages.exports import Attachment
from netboot.pages.kept import KeptTable
from netboot.pages.kept_exports import STATE_FILE, KeptExports, new_key
from netboot.pages.lease import UNKNOWN
from netboot.pages.nbd.export import Export, Refused
from netboot.pages.nbd.name import WireName
from tests.support.nbd_client import NbdClient
from tests.support.page_server import running

MIB = 1 << 20
SEAT, EXPORT = "52:54:00:00:00:01", "seat-525400000001-persist"


class Server:
    """A server's kept areas in ``folder``. The one before was killed: its files are closed."""

    running: ClassVar[dict[Path, "Server"]] = {}
    exports: KeptExports

    def __init__(self, folder: Path) -> None:
        if folder in self.running:
            self.running[folder].exports.close()
        self.running[folder] = self
        self.table = KeptTable(64 * MIB, new_key)
        self.now = 0.0
        self.exports = KeptExports(folder / "persist", self.table, lambda: self.now)
        self.file = folder / "persist" / f"{EXPORT}.img"

    def grant(self, token: str, size: int = MIB) -> None:
        assert not isinstance(self.table.grant(SEAT, EXPORT, token, size, 0.0), Refused)

    def attach(self, token: str, number: int = 0) -> Attachment | Refused:
        return self.exports.attach(WireName.parse(f"{EXPORT}@{token}.{number:x}"))

    def boot(self, token: str, size: int = MIB) -> Attachment:
        self.grant(token, size)
        found = self.attach(token)
        assert isinstance(found, Attachment), found
        return found


def read(found: Attachment) -> bytes:
    data = bytearray(4)
    found.pages.read_into(0, memoryview(data))
    return bytes(data)


def test_files_outlive_boots_and_servers(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.boot("one").pages.write(0, memoryview(b"kept"))
    assert read(server.boot("two")) == b"kept"
    assert server.attach("one") == UNKNOWN
    following = Server(tmp_path)
    assert following.attach("one") == UNKNOWN
    assert read(following.boot("three")) == b"kept"
    assert stat.S_IMODE(server.file.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "persist" / STATE_FILE).stat().st_mode) == 0o600
    assert 0 < following.exports.used_bytes(EXPORT) < MIB
    assert following.exports.used_bytes("seat-none") == 0


def test_a_running_boot_is_known_to_the_next_server(tmp_path: Path) -> None:
    server = Server(tmp_path)
    number = server.boot("one").set_number
    found = server.exports.find(WireName.parse(f"{EXPORT}@one.0"))
    assert isinstance(found, Export)
    following = Server(tmp_path)
    resumed = following.exports.resume(EXPORT, (), number + 1)
    assert resumed is not None and resumed.set_number == number + 1
    assert isinstance(following.attach("one", 0), Refused), "an older set"
    assert isinstance(following.attach(found.key, 2), Attachment)
    assert following.attach("one", 3) == UNKNOWN, "the key has taken its place"
    assert following.exports.resume("seat-none", (), number) is None


def test_a_larger_size_counts_from_the_next_start(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.boot("one").pages.write(MIB - 4, memoryview(b"last"))
    assert server.boot("two", 2 * MIB).export.size_bytes == MIB
    following = Server(tmp_path)
    grown = following.boot("three", 2 * MIB)
    assert grown.export.size_bytes == following.file.stat().st_size == 2 * MIB
    assert Server(tmp_path).boot("four", MIB).export.size_bytes == 2 * MIB


def test_a_deleted_file_begins_empty(tmp_path: Path) -> None:
    Server(tmp_path).boot("one").pages.write(0, memoryview(b"kept"))
    before = Server(tmp_path)
    found = before.exports.find(WireName.parse(f"{EXPORT}@one"))
    before.file.unlink()
    server = Server(tmp_path)
    renewed = server.exports.find(WireName.parse(f"{EXPORT}@one"))
    assert isinstance(found, Export) and isinstance(renewed, Export)
    assert found.description != renewed.description, "a PC that runs must not go on"
    assert read(server.boot("two")) == bytes(4)


@pytest.mark.parametrize("kind", ["link", "folder"])
def test_a_file_that_cannot_be_opened_is_told_and_changes_nothing(
    tmp_path: Path, kind: str
) -> None:
    server = Server(tmp_path)
    if kind == "link":
        (tmp_path / "elsewhere").write_bytes(b"secret")
        server.file.symlink_to(tmp_path / "elsewhere")
    else:
        server.file.mkdir()
    server.grant("one")
    refused = server.attach("one")
    assert isinstance(refused, Refused) and refused.is_ours
    assert refused.reason.startswith(f"the server cannot open the file of {EXPORT}: ")
    (server.file.unlink if kind == "link" else server.file.rmdir)()
    assert isinstance(server.attach("one"), Attachment)


def test_a_damaged_table_is_set_aside_and_the_files_stay(tmp_path: Path) -> None:
    Server(tmp_path).boot("one").pages.write(0, memoryview(b"kept"))
    (tmp_path / "persist" / STATE_FILE).write_text("{}x")
    (tmp_path / "persist" / f"{STATE_FILE}.spare").unlink(missing_ok=True)
    server = Server(tmp_path)
    assert read(server.boot("two")) == b"kept"


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="cannot keep files of PCs in"):
        KeptExports(tmp_path / "none/persist", KeptTable(MIB, new_key))


def test_a_boot_takes_the_area_from_a_dead_one_only(tmp_path: Path) -> None:
    server = Server(tmp_path)
    with running(server.exports) as served:
        served.ask(lambda: server.grant("one"))
        with NbdClient(served.address) as first:
            first.attach(f"{EXPORT}@one.1")
            assert first.write(0, b"kept" * 1024) == 0
            served.ask(lambda: server.grant("two"))
            with NbdClient(served.address) as rival:
                reply = rival.go(f"{EXPORT}@two.1")[-1]
                assert b"another PC with this address is running" in reply.data
            assert first.read(0, 4) == b"kept"
        with NbdClient(served.address) as second:
            second.attach(f"{EXPORT}@two.1")
            assert second.read(0, 4) == b"kept"
            assert second.write(0, b"more" * 1024) == 0
    assert server.file.read_bytes()[:4] == b"more"


def test_a_file_that_was_made_shorter_is_refused(tmp_path: Path) -> None:
    server = Server(tmp_path)
    with running(server.exports) as served:
        served.ask(lambda: server.grant("one"))
        with NbdClient(served.address) as client:
            client.attach(f"{EXPORT}@one.1")
        os.truncate(server.file, 4096)
        # The worker finds it out: when the area is attached, or by itself before.
        replies = []
        for _ in range(2):
            with NbdClient(served.address) as client:
                replies.append(client.go(f"{EXPORT}@one.2")[-1].data)
        assert b"no longer has the pages" in replies[0] or replies[0] == replies[1]
        assert b"is damaged: restore it on the server" in replies[1]


def refusal(server: Server) -> str:
    refused = server.exports.delete(EXPORT)
    return "" if refused is None else refused.reason


def test_an_area_is_deleted_only_if_no_pc_can_have_it_in_use(tmp_path: Path) -> None:
    server = Server(tmp_path)
    ended: list[str] = []
    server.exports.on_ended = ended.append
    assert refusal(server) == "it keeps no files on this server"
    server.boot("one").pages.write(0, memoryview(b"kept"))
    assert refusal(server) == "it is on and has its files in use; switch it off first"
    server.exports.let_go(EXPORT)
    server.now = 10.0
    assert refusal(server) == "this server has just started; ask again in 50 s"
    server.now = 60.0
    server.table.grant(SEAT, EXPORT, "two", MIB, server.now)
    assert refusal(server) == "it starts now; switch it off first"
    assert server.file.exists() and server.exports.as_rows()[0]["in_use"] is False
    server.now = 180.0
    assert (refusal(server), ended) == ("", [EXPORT])
    assert not server.file.exists() and server.exports.as_rows() == []
    assert server.attach("one") == UNKNOWN
    assert Server(tmp_path).exports.as_rows() == [], "the next server does not know it either"
    assert read(server.boot("three")) == bytes(4)


def test_an_area_that_came_from_the_server_before_is_in_use(tmp_path: Path) -> None:
    number = Server(tmp_path).boot("one").set_number
    server = Server(tmp_path)
    server.now = 100.0
    assert server.exports.resume(EXPORT, (), number) is not None
    assert refusal(server) == "it is on and has its files in use; switch it off first"


def test_a_worker_lets_the_file_of_a_deleted_area_go(tmp_path: Path) -> None:
    server = Server(tmp_path)
    with running(server.exports, workers=1) as served:
        served.ask(lambda: server.grant("one"))
        with NbdClient(served.address).attach(f"{EXPORT}@one.1") as client:
            assert client.write(0, b"kept" * 1024) == 0
            assert served.ask(lambda: refusal(server)).startswith("it is on")
            client.sock.sendall(client.request(2))  # NBD_CMD_DISC
        served.event("detach")
        server.now = 500.0
        assert served.ask(lambda: refusal(server)) == ""
        served.ask(lambda: server.grant("two"))
        with NbdClient(served.address).attach(f"{EXPORT}@two.1") as client:
            assert client.read(0, 4) == bytes(4)
            assert client.write(0, b"next" * 1024) == 0
    assert server.file.read_bytes()[:4] == b"next"
