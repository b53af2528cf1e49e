"""Whether there is room for what is promised."""

import asyncio
from pathlib import Path

import pytest

from netboot.pages import headroom


def test_pages_that_are_stored_count_as_room(tmp_path: Path) -> None:
    before = headroom.room(tmp_path)
    (tmp_path / "a.pages").write_bytes(bytes(8 << 20))
    assert abs(headroom.room(tmp_path) - before) < 4 << 20, "beside other users of this disk"


def test_the_warning_has_both_figures_and_the_remedy(tmp_path: Path) -> None:
    assert headroom.shortage(tmp_path, 1 << 20) == ""
    warning = headroom.shortage(tmp_path, 1 << 60)
    assert warning.startswith(f"{tmp_path.parent} has room for ")
    assert f"of {1 << 40} MiB" in warning and "set a smaller swap.capacity" in warning


def test_each_shortage_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found = iter(["short", "short", "", "short", ""])
    looked = asyncio.Event()

    def shortage(directory: Path, promised_bytes: int) -> str:
        text = next(found, None)
        if text is None:
            looked.set()
        return text or ""

    async def run() -> None:
        task = asyncio.create_task(headroom.watch(tmp_path, 1))
        await looked.wait()
        task.cancel()

    monkeypatch.setattr(headroom, "shortage", shortage)
    monkeypatch.setattr(headroom, "LOOK_SECONDS", 0)
    asyncio.run(run())
    assert [record.getMessage() for record in caplog.records] == ["pages: short"] * 2
