"""The options that name feeds: each mistake is one line with its remedy."""

import os
from pathlib import Path

import pytest

from netboot.cli import feeds
from netboot.cli.feeds import sources, state_of
from netboot.deploy import layout
from netboot.errors import OperatorError
from netboot.panel.follow import Source

KEY, OTHER = "a" * 64, "b" * 64
A, B = "10.0.0.5:8080", "10.0.0.6:8080"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, key in (("panel.key", KEY), ("other.key", OTHER)):
        (tmp_path / name).write_text(f"{key}\n")
        (tmp_path / name).chmod(0o640)
    monkeypatch.setattr(feeds, "DEFAULT_STATE", tmp_path)
    monkeypatch.setattr(feeds, "INSTALLED_STATE", tmp_path / "state")
    return tmp_path


def test_without_options_it_is_the_server_of_this_machine(folder: Path) -> None:
    assert sources(None, (), ()) == [Source(folder / "feed.sock")]
    (folder / "state").mkdir()
    (folder / "state/feed.sock").touch()
    assert sources(None, (), ()) == [Source(folder / "state/feed.sock")]


def test_further_servers_have_one_key_or_one_each(folder: Path) -> None:
    one, other = folder / "panel.key", folder / "other.key"
    assert sources(None, (A,), ()) == [Source(address=A, key=KEY)]
    both = [Source(address=A, key=OTHER), Source(address=B, key=OTHER)]
    assert sources(None, (A, f"http://{B}/"), (other,)) == both
    assert sources(None, (A, B), (one, other))[1] == Source(address=B, key=OTHER)
    local = folder / "my.sock"
    assert sources(local, (A,), ()) == [Source(local), Source(address=A, key=KEY)]


@pytest.mark.parametrize(
    ("servers", "keys", "message"),
    (
        (("10.0.0.5",), (), "--server: expected HOST:PORT"),
        ((A, A), (), f"--server {A}: given twice"),
        ((A, f"http://{A}"), (), f"--server {A}: given twice"),
        ((A,), ("panel.key", "other.key"), "one for each of 1 servers, found 2"),
        ((A,), ("none",), "no key of the server: .*none does not exist"),
        ((A,), (".",), "the key .* cannot be read: Is a directory"),
        ((A,), ("empty",), "expected a key, 64 digits"),
        ((A,), ("secret",), "expected a key, 64 digits"),
    ),
)
def test_mistakes_are_told(
    folder: Path, servers: tuple[str, ...], keys: tuple[str, ...], message: str
) -> None:
    (folder / "empty").touch()
    (folder / "secret").write_bytes(b"\xff" * 32)
    with pytest.raises(OperatorError, match=message) as found:
        sources(None, servers, [folder / key for key in keys])
    assert found.value.hint or "did you mean" in str(found.value)
    assert KEY not in found.value.text()


@pytest.mark.parametrize("mode", (0o644, 0o602, 0o666))
def test_a_key_that_others_can_read_or_change_is_refused(folder: Path, mode: int) -> None:
    (folder / "panel.key").chmod(mode)
    with pytest.raises(OperatorError, match="others can read this key") as found:
        sources(None, (A,), ())
    assert found.value.hint == f"chmod 640 {folder / 'panel.key'}"
    assert KEY not in str(found.value)


def test_an_installed_server_is_found_without_an_option(folder: Path) -> None:
    usual, installed = folder, folder / "state"
    assert state_of(usual) == usual
    installed.mkdir()
    assert state_of(usual) == installed
    assert state_of(folder / "own") == folder / "own"
    (usual / "secret").touch()
    assert state_of(usual) == usual, "a server in the usual folder comes first"


def test_a_packaged_server_that_never_started_has_its_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "PACKAGED", folder)
    assert state_of(folder) == folder / "state"


def test_a_state_folder_that_this_user_may_not_enter_has_no_feed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "stat", refused)
    assert feeds.feed_of(feeds.LOCAL, folder) is None
    assert feeds.default_feed() == folder / "feed.sock"
