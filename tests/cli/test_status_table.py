"""``netboot status`` as a table: troubles first, readable at 60 seats, with the old way to fall back on."""

from dataclasses import replace
from pathlib import Path

import pytest

from netboot.cli import looking, status_table
from netboot.feed.records import Hello, Record, Report
from tests.panel.feeding import a_room, a_seat, fed_beside, figures, mac_of

NOW = 1_700_000_000.0


def table(*rows: object, columns: int = 80, colours: bool = False) -> str:
    records: list[Record] = [Hello("school", "0.2.0", "r", 0.0, 1, 1), *rows, figures(NOW)]  # type: ignore[list-item]
    return status_table.text(status_table.view_of(records), columns, NOW, colours=colours)


@pytest.mark.parametrize("columns", (80, 120, 200))
def test_60_seats_are_a_line_each_with_troubles_first(columns: int) -> None:
    lines = table(*a_room(60, NOW), columns=columns).splitlines()
    assert len(lines) == 64 and max(map(len, lines)) <= columns
    assert lines[0].startswith("school 0.2.0  pages 9.0G of 64G")
    assert lines[1].startswith("60 seats, 12 in trouble, 6 lost, 6 short, 6 waiting")
    image = ["Image"] if columns > 80 else []
    titles = ["Name", "MAC", "address", "State", "Since", "Swap", "Mem", *image, "Last"]
    assert lines[2].split() == titles
    words = lines[4].split()
    assert words[:6] == ["pc-005", mac_of(5), "lost", "1m", "100M/512M", "1"]
    states = [line.split()[2] for line in lines[4:]]
    assert states[:12] == ["lost"] * 6 + ["short"] * 6 and states[-1] == "unknown"


def test_a_long_message_is_cut_and_a_wide_terminal_shows_more() -> None:
    seat = replace(a_seat(1, NOW), message="x" * 150)
    assert "x" * 150 in table(seat, columns=240) and "…" in table(seat, columns=80)


def test_colours_are_for_terminals_alone() -> None:
    assert "\x1b[" not in table(a_seat(1, NOW))
    assert "\x1b[" in table(a_seat(1, NOW), colours=True)


def test_text_of_a_pc_moves_no_cursor() -> None:
    seat = replace(a_seat(1, NOW), name="[red]\x1b[2J", message="\x07\n\u202e")
    shown = table(seat)
    assert "\x1b" not in shown and "\x07" not in shown and "[red]?[2J" in shown


def test_a_mirror_that_is_copied_says_how_far_it_is() -> None:
    seat = replace(a_seat(1, NOW), mirror="resyncing")
    assert "mirror: resyncing; " in table(seat, columns=200)
    told = table(replace(seat, report=Report(NOW, copied=41.7)), columns=200)
    assert "mirror: 42 % copied; " in told
    assert "mirror" not in table(replace(seat, mirror="whole"), columns=200)


def test_a_server_that_is_drained_says_so() -> None:
    records: list[Record] = [Hello("school", "0.2.0", "r", 0.0, 1, 1), figures(NOW, drained=True)]
    assert "  drained" in status_table.text(status_table.view_of(records), 200, NOW).splitlines()[0]
    assert "drained" not in table()


def test_a_room_without_a_seat_says_so() -> None:
    assert table().splitlines()[-1] == "no seat has asked for anything yet"


def test_status_shows_the_table_of_the_servers_feed_and_areas_that_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {"mac": mac_of(1), "used_bytes": 3 << 20, "size_bytes": 9 << 20}
    with fed_beside(tmp_path / "feed.sock", *a_room(10, NOW), figures(NOW)):
        monkeypatch.setattr("netboot.serve.http.status.fetch_status", lambda *_: {"kept": [kept]})
        looking.status(state=tmp_path)
        shown = capsys.readouterr().out
        assert "10 seats, 2 in trouble" in shown and "kiosk" in shown
        assert shown.splitlines()[-1] == f"{mac_of(1)}  keeps files: 3 of 9 MiB"
        monkeypatch.undo()
        looking.status(state=tmp_path)
        assert "10 seats, 2 in trouble" in capsys.readouterr().out


@pytest.mark.parametrize("server", ("127.0.0.1:8080", "10.0.0.5:8080"))
def test_status_falls_back_on_the_old_way(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    server: str,
) -> None:
    (tmp_path / "feed.sock").touch()
    event = {"when": NOW, "stage": "swap", "message": "attached", "data": {}}
    seat = {"mac": mac_of(1), "hostname": "pc-1", "events": [event]}
    asked: list[str] = []

    def fetch(address: str, _: bytes) -> dict[str, object]:
        asked.append(address)
        return {"seats": [seat]}

    monkeypatch.setattr("netboot.serve.http.status.fetch_status", fetch)
    looking.status(server=server, state=tmp_path)
    assert asked == [server] and "swap" in capsys.readouterr().out
