"""``netboot persist``: what is listed, and that nothing is deleted by a slip."""

import json
from pathlib import Path
from typing import Any

import pytest

from netboot.cli import persist, show
from netboot.errors import OperatorError
from netboot.serve.http import status
from netboot.serve.secret import SECRET_FILE, load_secret

ON, OFF, NONE = "52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:03"
ROWS = [
    {"mac": ON, "size_bytes": 1 << 31, "used_bytes": 5 << 20, "in_use": True, "last_boot": 2e9},
    {"mac": OFF, "size_bytes": 1 << 30, "used_bytes": 0, "in_use": False, "last_boot": 86400.0},
]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Return the MAC addresses whose files the server was told to delete."""
    load_secret(tmp_path / SECRET_FILE)
    seats = [{"mac": ON, "hostname": "teacher"}]
    deleted: list[str] = []

    def delete(server: str, key: str, mac: str) -> str:
        deleted.append(mac)
        return "it is on" if mac == ON else ""

    monkeypatch.setattr(status, "fetch_status", lambda *_: {"seats": seats, "kept": ROWS})
    monkeypatch.setattr(status, "delete_kept", delete)
    return deleted


def test_the_areas_are_listed_the_oldest_first(
    server: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    persist.list_kept(state=tmp_path)
    assert capsys.readouterr().out.splitlines() == [
        f"{OFF}                    0 of   1024 MiB  last start 1970-01-02",
        f"{ON}  teacher           5 of   2048 MiB  on now",
    ]
    persist.list_kept(state=tmp_path, as_json=True)
    assert json.loads(capsys.readouterr().out) == ROWS
    older: list[dict[str, Any]] = [ROWS[1] | {"last_boot": None}]
    assert show.kept(older, {}).endswith("last start unknown")


@pytest.mark.parametrize(
    ("macs", "yes", "message"),
    [
        ([OFF], False, f"nothing is deleted yet; all files that these PCs keep would be: {OFF} (0"),
        ([OFF, NONE], True, f"{NONE}: no files are kept on this server; nothing is deleted"),
        ([OFF, "teacher"], True, "MAC: expected a MAC address"),
    ],
)
def test_a_slip_deletes_nothing(
    server: list[str], tmp_path: Path, macs: list[str], yes: bool, message: str
) -> None:
    with pytest.raises(OperatorError) as error:
        persist.delete(macs, yes=yes, state=tmp_path)
    assert str(error.value).startswith(message)
    assert server == []


def test_a_pc_that_is_on_is_told_and_the_others_are_deleted(
    server: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="1"):
        persist.delete([ON, OFF, OFF], yes=True, state=tmp_path)
    assert server == [ON, OFF]
    assert capsys.readouterr().out == f"{ON}  it is on\n{OFF}  deleted\n"
    with pytest.raises(SystemExit, match="0"):
        persist.delete([OFF], yes=True, state=tmp_path, as_json=True)
    assert json.loads(capsys.readouterr().out) == {OFF: ""}
