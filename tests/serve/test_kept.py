"""Areas in which seats keep files: asked for over HTTP's line, served beside swap, listed."""

import json
import os
from contextlib import suppress
from pathlib import Path

from netboot.boot.events import Journal
from netboot.boot.plan import KEPT, kept_export
from netboot.cli import show
from netboot.pages.exports import LeasedExports
from netboot.pages.kept import KeptTable
from netboot.pages.kept_exports import KeptExports, WithKept, new_key
from netboot.pages.lease import UNKNOWN, LeaseTable
from netboot.pages.nbd.export import Export, Refused
from netboot.pages.nbd.name import WireName
from netboot.pages.stores.disk import DiskStore
from netboot.profile import file as profile_file
from netboot.serve.http.lease_request import LeaseRequest
from netboot.serve.leases import Granted, Leases
from netboot.serve.seats import Seats
from tests.support.nbd_client import NbdClient
from tests.support.page_server import running

MIB = 1 << 20
MAC, OTHER = "52:54:00:00:00:01", "52:54:00:00:00:02"
ROOM = (
    "root: {kind: nbd, image: /srv/root.squashfs}\nswap: {size: 16MiB}\n"
    f"clients: {{'{MAC}': {{root: {{persist: 32MiB}}}}, '{OTHER}': {{}}}}\n"
)
ASKED = LeaseRequest(0, area=0, address="10.0.0.9")


def leases_of(folder: Path) -> tuple[Leases, KeptExports, Journal]:
    journal = Journal()
    leases = Leases(Seats(profile_file.parse(ROOM, "room"), journal), LeaseTable(MIB), lambda: 0.0)
    leases.kept = KeptExports(folder / "persist", KeptTable(0, new_key))
    return leases, leases.kept, journal


def test_a_seat_whose_profile_says_so_gets_an_area(tmp_path: Path) -> None:
    leases, kept, journal = leases_of(tmp_path)
    granted = leases.grant(MAC, ASKED, "token of swap")
    assert isinstance(granted, Granted) and granted.size_bytes == 32 * MIB
    assert len(granted.token) == 32, "none that is on the kernel command line"
    again = leases.grant(MAC, ASKED)
    assert isinstance(again, Granted) and again.token != granted.token
    assert journal.history(MAC)[-1].message == "files are kept in 32 MiB"
    assert isinstance(kept.find(WireName.parse(f"{kept_export(MAC)}@{again.token}.1")), Export)
    assert kept.find(WireName.parse(f"{kept_export(MAC)}@token of swap")) == UNKNOWN
    refused = leases.grant(OTHER, ASKED)
    assert isinstance(refused, Refused) and "no root.persist" in refused.reason
    assert isinstance(leases.end(MAC, 0), Refused)
    leases.kept = None
    assert isinstance(leases.grant(MAC, ASKED), Refused)


def test_files_are_deleted_by_order_and_told(tmp_path: Path) -> None:
    leases, kept, journal = leases_of(tmp_path)
    assert leases.delete_kept(MAC) == "it keeps no files on this server"
    leases.grant(MAC, ASKED)
    assert leases.delete_kept(MAC) == "it starts now; switch it off first"
    kept.delete = lambda export: None  # type: ignore[method-assign]
    assert leases.delete_kept(MAC) == ""
    assert journal.history(MAC)[-1].message == "the files that it kept are deleted: 0 MiB"
    leases.kept = None
    assert leases.delete_kept(MAC) == "this server keeps no files of PCs"


def test_no_more_is_promised_than_the_disk_has(tmp_path: Path) -> None:
    _, kept, _ = leases_of(tmp_path)
    refused = kept.grant(OTHER, kept_export(OTHER), "token", 1 << 60)
    assert isinstance(refused, Refused) and refused.reason.startswith("no room to keep files: ")


def test_the_message_of_a_damaged_area_is_not_that_of_swap(tmp_path: Path) -> None:
    leases, kept, _ = leases_of(tmp_path)
    with running(kept, workers=1) as server:
        granted = server.ask(lambda: leases.grant(MAC, ASKED))
        with NbdClient(server.address) as files:
            files.attach(f"{kept_export(MAC)}@{granted.token}.1")
            assert files.write(MIB, b"kept" * 1024) == 0
            file = tmp_path / f"persist/{kept_export(MAC)}.img"
            os.truncate(file, 0)
            with suppress(EOFError, ConnectionError):
                files.read(MIB, 4096)
                files.receive(1)
        message = server.event("damaged").message
    assert f"restore {file} and start the server again" in message
    assert "swap" not in message


def test_swap_and_kept_files_are_served_side_by_side(tmp_path: Path) -> None:
    leases, kept, _ = leases_of(tmp_path)
    table = LeaseTable(64 * MIB)
    store = DiskStore(tmp_path, "room")
    exports = WithKept(kept, LeasedExports(store, table), KEPT)
    with running(exports) as server:
        granted = server.ask(lambda: leases.grant(MAC, ASKED))
        server.ask(lambda: table.grant(MAC, "seat-1", "swap", MIB, 0.0))
        with NbdClient(server.address) as files, NbdClient(server.address) as swap:
            files.attach(f"{kept_export(MAC)}@{granted.token}.1")
            swap.attach("seat-1@swap.1")
            assert files.write(0, b"kept" * 1024) == 0
            assert swap.write(0, b"swap" * 1024) == 0
            assert files.read(0, 4) + swap.read(0, 4) == b"keptswap"
    store.close()
    (row,) = kept.as_rows()
    assert (row["mac"], row["size_bytes"]) == (MAC, 32 * MIB)
    assert 4096 <= row["used_bytes"] < MIB
    report = json.loads(json.dumps({"seats": [], "kept": [row]}))
    assert show.status(report) == f"{MAC}  keeps files: 0 of 32 MiB"
