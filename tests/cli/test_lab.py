"""The files that ``netboot lab`` leaves behind."""

import os
from pathlib import Path

import pytest

from netboot.cli import lab


def test_only_files_that_the_lab_made_get_another_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Path] = []
    monkeypatch.setenv("SUDO_UID", "1000")
    monkeypatch.setattr(os, "chown", lambda path, *_, **__: given.append(path))
    (tmp_path / "a thesis").touch()
    before = frozenset((tmp_path, *tmp_path.rglob("*")))
    (tmp_path / "server.log").touch()
    lab._hand_over(tmp_path, before)
    assert given == [tmp_path / "server.log"]
