"""The files that ``netboot lab`` leaves behind."""

import os
from pathlib import Path
from types import SimpleNamespace

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


def test_a_picture_belongs_to_the_calling_user_unless_it_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Path] = []
    monkeypatch.setenv("SUDO_UID", "1000")
    monkeypatch.setattr(os, "chown", lambda path, *_, **__: given.append(path))
    new, old = tmp_path / "new.png", tmp_path / "old.png"
    lab._give([new, old], frozenset([old]))
    assert given == [new]


def test_a_picture_of_an_image_with_a_screen_is_taken_when_the_screen_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from netboot.roots import library

    def found(_: object, name: str) -> SimpleNamespace:
        screen = {"server": "none"}.get(name, name)
        source = "room.tar" * (name == "imported")
        manifest = SimpleNamespace(definition={"screen": screen}, name=name, source=source)
        return SimpleNamespace(manifest=manifest)

    monkeypatch.setattr(library.Library, "find", found)
    picture = tmp_path / "a.png"
    assert lab._stage(None, "kiosk", picture, tmp_path) == "screen:shown"
    assert lab._stage(None, "server", picture, tmp_path) == "userland"
    assert lab._stage(None, "imported", picture, tmp_path) == "userland"
    assert lab._stage(None, "kiosk", None, tmp_path) == "userland"
    assert lab._stage("swap", "kiosk", picture, tmp_path) == "swap"
    assert lab._stage("screen", "", None, tmp_path) == "screen:shown"
    assert lab._root_image("kiosk", tmp_path) == ["root.kind=image", "root.image=kiosk"]
