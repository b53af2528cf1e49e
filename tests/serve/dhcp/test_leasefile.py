"""The file of full mode's leases: what waits for it, and what a damaged one costs."""

import asyncio
import errno
import json
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from netboot.host.state import RESERVE_BYTES, StateFile
from netboot.profile.fields import AddressRange
from netboot.serve.dhcp import leasefile
from netboot.serve.dhcp.lease import LeasePool
from netboot.serve.dhcp.leasefile import LeaseFile
from netboot.serve.dhcp.packet import ANY

FIRST, SECOND = IPv4Address("10.0.0.10"), IPv4Address("10.0.0.11")
ANN, BOB = "52:54:00:00:00:01", "52:54:00:00:00:02"


class Server:
    """The pool and the lease file of one run of a server, at ``now`` in seconds."""

    def __init__(self, path: Path, now: float = 0.0) -> None:
        self.now = now
        self.pool = LeasePool(AddressRange(first=FIRST, last=FIRST + 10), 100)
        self.file = LeaseFile(path)
        self.rows = list(self.file.restore([self.pool]))

    def lease(self, owner: str, address: IPv4Address) -> None:
        assert self.pool.commit(owner, address, self.now)
        self.file.note()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "leases.json"


def test_the_next_server_has_the_leases_in_the_form_of_older_releases(path: Path) -> None:
    Server(path).lease(ANN, FIRST)
    rows = json.loads(path.read_bytes())["leases"]
    assert rows == [{"client": ANN, "address": str(FIRST), "expires": 100.0}]
    path.write_text(json.dumps({"leases": rows}, indent=1))  # as 0.1.0 writes it
    again = Server(path)
    assert again.rows == rows and again.file.has(FIRST)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EMFILE])
def test_a_pc_that_has_its_lease_waits_for_no_save_and_a_new_one_does(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    Server(path).lease(ANN, FIRST)

    def fail(self: StateFile, text: str) -> None:
        raise OSError(number, "no")

    async def run() -> None:
        server = Server(path, now=50.0)
        with monkeypatch.context() as patch:
            patch.setattr(StateFile, "write", fail)
            patch.setattr(leasefile, "SAVE_SECONDS", 0.01)
            server.lease(ANN, FIRST)
            server.lease(BOB, SECOND)
            assert server.file.has(FIRST) and not server.file.has(SECOND)
            assert server.file.has(ANY), "an answer that gives no address"
            assert not await server.file.saved()
        assert await server.file.saved(), "it is tried again"
        assert server.file.has(SECOND)
        await server.file.keeper.stop()

    asyncio.run(run())
    assert [row["expires"] for row in Server(path).rows] == [150.0, 150.0]


def test_an_address_that_goes_to_another_pc_is_a_new_lease(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Server(path).lease(ANN, FIRST)
    server = Server(path, now=1000.0)

    def fail(self: StateFile, text: str) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(StateFile, "write", fail)
    server.lease(BOB, FIRST)
    assert not server.file.has(FIRST)


def test_a_pc_that_lost_its_address_to_an_offer_has_a_new_lease(path: Path) -> None:
    server = Server(path)
    for number in range(11):
        server.lease(f"52:54:00:00:00:{number:02x}", FIRST + number)
    server.now = 150.0
    assert server.pool.offer("52:54:00:00:00:99", server.now) == FIRST, "it expired first"
    server.file.note()
    assert not server.file.has(FIRST)
    server.now = 300.0

    def fail(self: StateFile, text: str) -> None:
        raise OSError(errno.ENOSPC, "full")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StateFile, "write", fail)
        server.lease("52:54:00:00:00:00", FIRST)
        assert not server.file.has(FIRST)
    assert server.file.has(SECOND)


def test_a_change_is_noted_without_a_look_at_all_leases(path: Path) -> None:
    server = Server(path)
    server.lease(ANN, FIRST)
    server.lease(BOB, SECOND)
    server.pool.commit(BOB, SECOND, 1.0)
    assert list(server.pool.take_touched()) == [(int(SECOND), BOB)]
    server.pool.forget(BOB, SECOND)
    assert list(server.pool.take_touched()) == [(int(SECOND), None)]


ENDS = '{"leases": [{"client": "x", "address": "10.0.0.9", "expires": %s}]}'
SPOILT = ["", "{", "[]", '{"leases": [{}]}', '{"leases": 1}', "\udcff", '{"version": 2}']
SPOILT += [ENDS % number for number in ("NaN", "Infinity", "9" * 400)]


@pytest.mark.parametrize("content", SPOILT)
def test_a_spoilt_lease_file_is_set_aside_and_the_save_before_counts(
    path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(path)
    server.lease(ANN, FIRST)
    server.lease(BOB, SECOND)
    path.write_bytes(content.encode(errors="surrogateescape"))
    assert [row["client"] for row in Server(path).rows] == [ANN]
    (line,) = (record.getMessage() for record in caplog.records)
    assert line.startswith(f"{path}: ") and line.endswith(f"set aside as {path}.aside-1")


def test_a_lease_file_that_is_cut_anywhere_is_the_save_before_or_the_whole(path: Path) -> None:
    server = Server(path)
    server.lease(ANN, FIRST)
    server.lease(BOB, SECOND)
    whole, before = path.read_bytes(), (spare := path.with_name(".leases.json.spare")).read_bytes()
    for cut in range(len(whole.rstrip())):
        path.write_bytes(whole[:cut])
        spare.write_bytes(before)
        assert len(Server(path).rows) == 1
    path.write_bytes(whole)
    assert len(Server(path).rows) == 2


def test_the_first_save_has_its_room_before_the_disk_is_full(path: Path) -> None:
    Server(path)
    spare = path.with_name(".leases.json.spare")
    assert spare.stat().st_blocks * 512 >= RESERVE_BYTES and not path.exists()
