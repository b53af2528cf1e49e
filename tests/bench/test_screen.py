"""The benchmark of screens: its rows, bars and table, and the boot of a row that is played."""

import asyncio
import contextlib
import json
import re
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from scapy.utils import wrpcap

from bench import screen, screens
from bench.screens import ROWS, Row, Sample
from bench.seat import Boot
from netboot.boot.events import BootEvent
from netboot.lab.machine import Machine, Power
from netboot.lab.rig import Classroom, SeatReport
from tests.bench.test_wire import frames, image_stream, request

GOOD = Sample(1, 70.0, 3000, 150.0, 5.0, 0.4, 0.1, 0, 170.0, 2.0, 0.2, 1.5, 2.5, 0.1, 0.0)


def test_rows_are_the_issues_and_each_has_a_definition_and_a_title_of_its_own() -> None:
    assert len({row.title for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert (screen.DEFINITIONS / f"{row.image}.yaml").is_file()
        assert row.shows or row.mb is None


def test_bars_are_decided_by_bytes_requests_pages_and_kills() -> None:
    row = ROWS[0]
    assert all(verdict.met for verdict in screens.verdicts({row: GOOD}, 1.0, None))
    for bad in ("image_mb", "image_requests", "killed"):
        got = replace(GOOD, **{bad: 5000})
        missed = [
            verdict.name for verdict in screens.verdicts({row: got}, None, None) if not verdict.met
        ]
        assert len(missed) == 1, missed
    (dark,) = (v for v in screens.verdicts({row: replace(GOOD, shown=0)}, None, None) if not v.met)
    assert dark.name == "kiosk, surf, 256 MB, swap: network: shown"
    assert not screens.verdicts({row: GOOD}, 2.1, None)[-1].met


def test_a_row_without_bars_is_shown_beside_the_others() -> None:
    plain, none, zram = ROWS[:3]
    never, slow = replace(GOOD, shown=0, seconds=600.0, killed=2), replace(GOOD, seconds=140.0)
    assert screens.verdicts({none: never}, None, None) == []
    lines = screens.table({plain: GOOD, none: never, zram: slow}, None).splitlines()
    assert "| 1/1 | 70 | - | 3000 | 150.0 | 5.0 |" in lines[2]
    assert "| none | 0/1 | never in 600 | - |" in lines[3]
    assert "| zram | 1/1 | 140 | 2.00 |" in lines[4]
    assert len({line.count("|") for line in lines}) == 1


def test_settings_of_a_row_are_those_of_a_profile() -> None:
    assert screen.settings(Row("x", "bench-kiosk", 256, "zram")) == (
        "root.kind=image",
        "root.image=bench-kiosk",
        "swap.size=0",
    )
    assert screen.settings(Row("x", "y", 256, page=True))[-1] == "seat.url=http://10.77.0.1:8000/"


class PlayedRoom:
    """A classroom whose only PC has read an image and shown its page."""

    server_failure = ""

    def __init__(self, folder: Path, shown: bool) -> None:
        pc = Machine(1, "bios", 256, folder)
        pc.console.write_text(
            "bench-waits: memory=1 io=2 refaults=3\n"
            "bench-waits: memory=1500000 io=2500000 refaults=1000\n"
            + "Out of memory: Killed process 7 (WebKitWebProces)\n"
            * 2
        )
        stream = image_stream(request(0, 0, 4096) * 3)
        wrpcap(str(pc.pcap), frames(1000, stream))
        power = Power(cast(Any, None), cast(Any, None), cast(Any, self))
        report = SeatReport(pc, power=power)
        if shown:
            report.events.append(BootEvent(5e9, pc.mac, "screen:shown", "Welcome"))
        self.seats = {pc.mac: report}

    async def still_picture(self, path: Path, seconds: float) -> bool:
        path.write_bytes(b"picture")
        return seconds > 0

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        yield

    async def power_on(self) -> None:
        pass

    wait = power_on

    def server_processes(self) -> list[int]:
        return []


@pytest.mark.parametrize("shown", [True, False])
def test_a_played_boot_is_counted(tmp_path: Path, shown: bool) -> None:
    room = cast(Classroom, PlayedRoom(tmp_path, shown))
    got = asyncio.run(screen._boot(room, ROWS[0], tmp_path / "a.png"))
    assert (got.shown, got.image_requests, got.image_mb, got.killed) == (shown, 3, 0.012288, 2)
    assert (got.memory, got.io, got.refault_mb) == (1.5, 2.5, 4.096)
    assert (tmp_path / "a.png").exists()
    assert (got.seconds > 1e9) == shown


def test_a_run_leaves_its_figures_and_a_picture_of_each_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    taken: list[Path] = []

    def measured(row: Row, _built: Path, picture: Path) -> Sample:
        taken.append(picture)
        return replace(GOOD, shown=row.clients)

    monkeypatch.setattr(screen, "measure", measured)
    monkeypatch.setattr(screen, "versions", lambda _: {})
    monkeypatch.setattr(screen, "measure_peer", lambda: Boot(100.0, 400.0))
    missed = screen.run(ROWS, tmp_path, tmp_path / "out", None)
    assert missed == 4, "NetSurf's MB and requests, the desktop's MB, the peer's time"
    assert len(set(taken)) == len(ROWS)
    assert all(re.fullmatch(r"screen-[a-z0-9-]+\.png", path.name) for path in taken)
    written = json.loads((tmp_path / "out/screen.json").read_text())
    assert len(written["rows"]) == len(ROWS)
    bars = {bar["name"].rpartition(": ")[2]: bar["value"] for bar in written["bars"]}
    assert bars[f"s / {screens.PEER}"] == 0.7, "which is one of the missed ones"
    assert bars[f"bytes on the wire / {screens.PEER}"] == 0.425
    assert "| 12 kiosks at once, surf | 256 | network | 12/12 |" in capsys.readouterr().out


def test_only_rows_without_a_bar_on_reads_run_another_program(tmp_path: Path) -> None:
    for row in ROWS:
        assert ("bench-waits" in screen.services(row)) == (row.mb is None)
    zram = next(row for row in ROWS if row.swap == "zram")
    path = screen.guest_image(tmp_path, screen.services(zram))
    unpacked = subprocess.run(["zstd", "-dc", str(path)], capture_output=True, check=True).stdout
    for name in (b"bench-zram.service", b"bench-waits.service", b"sysctl.d/90-bench.conf"):
        assert name in unpacked
