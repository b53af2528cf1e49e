"""The files of the leases: what is written from kept texts is what would be written anew."""

import json
import time
from contextlib import closing
from pathlib import Path

import pytest

from netboot.host.state import digest, seal, unseal
from netboot.pages import leasefile
from netboot.pages.exports import LeasedExports
from netboot.pages.lease import Attached, LeaseTable
from netboot.pages.leasefile import APART_FILE, STATE_FILE, VERSION
from netboot.pages.nbd.export import Refused
from netboot.pages.nbd.name import WireName
from netboot.pages.stores.disk import DiskStore

SEATS = [f"52:54:00:00:00:{number:02x}" for number in range(5)]


def _grant(table: LeaseTable) -> None:
    for number, seat in enumerate(SEATS):
        asker = "" if number else "10.0.0.\N{SNOWMAN}"
        table.grant(seat, f"seat-{number}", f"t{number}", 8192, time.time(), asker=asker)


def test_both_copies_have_the_rows_of_the_table_and_their_digest(tmp_path: Path) -> None:
    with closing(DiskStore(tmp_path, "room")) as store:
        table = LeaseTable(1 << 20)
        exports = LeasedExports(store, table, state=tmp_path / "state")
        _grant(table)
        exports.attach(WireName.parse("seat-1@t1.7"))
        exports.attach(WireName.parse("seat-2@t2.1"))
        exports.attach(WireName.parse("seat-2@t2.2"))
        table.end("seat-3")
        assert store.directory is not None
        rows = json.loads((store.directory / STATE_FILE).read_text())
        checks, numbers = ({row.pop(key) for row in rows} for key in ("check", "sequence"))
        assert rows == table.as_json() and len(rows) == 4
        sequence = numbers.pop()
        assert checks == {digest([{**row, "sequence": sequence} for row in rows])} and not numbers
        apart = unseal((tmp_path / "state" / APART_FILE).read_bytes(), VERSION)
        assert apart["leases"] == rows and apart["sequence"] == sequence
        assert set(apart) == {"leases", "sequence", "places", "mark", "version"}


def test_files_of_the_release_that_wrote_all_rows_anew_keep_the_swap_of_seats(
    tmp_path: Path,
) -> None:
    with closing(DiskStore(tmp_path, "room")) as store:
        table = LeaseTable(1 << 20)
        exports = LeasedExports(store, table, state=tmp_path / "state")
        _grant(table)
        exports.attach(WireName.parse("seat-1@t1.7"))
        assert store.directory is not None
        beside, apart = store.directory / STATE_FILE, tmp_path / "state" / APART_FILE
        sequence = json.loads(beside.read_text())[0]["sequence"] + 1
        rows = [{**row, "sequence": sequence} for row in table.as_json()]
        check = digest(rows)
        exports.close()
        beside.write_text(
            ",\n".join(json.dumps({**row, "check": check}) for row in rows).join("[]")
        )
        content = {"version": 1, "sequence": sequence, "places": [], "mark": ""}
        apart.write_text(seal({**content, "leases": table.as_json()}))
        after = LeaseTable(1 << 20)
        LeasedExports(store, after, state=tmp_path / "state")
        assert after.as_json() == table.as_json()
        assert isinstance(after.attach(WireName.parse("seat-1@t1.6"), time.time()), Refused)
        assert isinstance(after.attach(WireName.parse("seat-1@t1.7"), time.time()), Attached)
        assert not [*beside.parent.glob("*aside*"), *apart.parent.glob("*aside*")]


def test_a_table_without_leases_is_saved_too(tmp_path: Path) -> None:
    with closing(DiskStore(tmp_path, "room")) as store:
        table = LeaseTable(1 << 20)
        LeasedExports(store, table, state=tmp_path / "state")
        _grant(table)
        for number in range(len(SEATS)):
            table.end(f"seat-{number}")
        assert store.directory is not None
        assert json.loads((store.directory / STATE_FILE).read_text()) == []
        assert unseal((tmp_path / "state" / APART_FILE).read_bytes(), VERSION)["leases"] == []


def test_a_save_writes_down_what_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand leases that are written down at each save of a room take most of its event loop."""
    written: list[str] = []
    parts = leasefile._parts

    def counting(row: dict[str, object]) -> tuple[str, str]:
        written.append(str(row["export"]))
        return parts(row)

    monkeypatch.setattr(leasefile, "_parts", counting)
    with closing(DiskStore(tmp_path, "room")) as store:
        table = LeaseTable(1 << 20)
        exports = LeasedExports(store, table, state=tmp_path / "state")
        _grant(table)
        assert written == [f"seat-{number}" for number in range(len(SEATS))]
        exports.attach(WireName.parse("seat-4@t4.1"))
        exports.attach(WireName.parse("seat-1@t1.1"))
        assert written[len(SEATS) :] == ["seat-4", "seat-1"]
        table.end("seat-0")
        assert len(written) == len(SEATS) + 2
