"""Variables of the environment that stand for options, and systemd's folders."""

import json
from pathlib import Path
from typing import Any

import pytest

from netboot.cli import feeds
from netboot.cli.main import app
from netboot.errors import OperatorError
from netboot.feed.protocol import SOCKET_FILE
from netboot.host import folders
from netboot.images.cache import default_cache
from tests import ROOT
from tools.reference import cli

LAB = str(ROOT / "profiles/lab.yaml")
PAGE = (ROOT / "docs/reference/environment.md").read_text()


def checked(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    with pytest.raises(SystemExit) as end:
        app(["check", *words])
    assert not end.value.code
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A profile, which a variable names; JSON is asked for by another one."""
    path = tmp_path / "room.yaml"
    path.write_text("swap: {size: 1GiB}\n")
    monkeypatch.setenv("NETBOOT_PROFILE", str(path))
    monkeypatch.setenv("NETBOOT_JSON", "1")
    return path


def test_a_variable_stands_for_an_option(
    room: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checked(capsys)["profile"] == str(room)
    monkeypatch.setenv("NETBOOT_SET", "swap.capacity=900000TiB http.port=8088")
    assert checked(capsys)["warnings"][0].startswith("key 'swap.capacity': 9e+05 TiB is promised")
    other = tmp_path / "other.yaml"
    other.write_text("swap: {size: 2GiB}\n")
    monkeypatch.setenv("NETBOOT_CHECK_PROFILE", str(other))
    assert checked(capsys)["profile"] == str(other), "that of one verb comes first"
    assert checked(capsys, "--profile", LAB)["profile"] == LAB, "the command line comes before all"
    monkeypatch.setenv("NETBOOT_CHECK_PROFILE", "")
    assert checked(capsys)["profile"] == str(room), "an empty variable is none"


@pytest.mark.parametrize(
    ("name", "value", "words", "told"),
    [
        (
            "NETBOOT_WATCH_TIMEOUT",
            "soon",
            "watch 52:54:00:12:34:56",
            "NETBOOT_WATCH_TIMEOUT: expected",
        ),
        ("NETBOOT_STATE", "/nowhere/x", "serve", "NETBOOT_STATE: there is no folder /nowhere"),
        ("NETBOOT_STATUS_SERVER", "x", "status", "NETBOOT_STATUS_SERVER: expected HOST:PORT"),
        ("NETBOOT_PAGES_WORKERS", "99", "pages", "NETBOOT_PAGES_WORKERS: expected at most 64"),
    ],
)
def test_a_mistake_names_the_variable(
    name: str, value: str, words: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(OperatorError) as caught:
        app([*words.split()])
    assert str(caught.value).startswith(told)


def test_systemd_s_folder_is_the_default_for_the_state(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    for folder in (own, other):
        folder.mkdir()
        (folder / "secret").write_bytes(bytes(range(32)))
        (folder / "secret").chmod(0o600)
    monkeypatch.setenv(folders.STATE, f"{own}:/nowhere")

    def rotated(*words: str) -> str:
        with pytest.raises(SystemExit):
            app(["secret", "rotate", "--json", *words])
        return str(json.loads(capsys.readouterr().out)["secret"])

    assert rotated() == str(own / "secret")
    assert rotated("--state", str(other)) == str(other / "secret")
    monkeypatch.setenv("NETBOOT_STATE", str(other))
    assert rotated() == str(other / "secret"), "a variable of ours comes before systemd's"


def test_systemd_s_other_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(folders.CACHE, str(tmp_path / "cache"))
    assert default_cache() == tmp_path / "cache"
    monkeypatch.setenv(folders.CACHE, "cache")
    assert default_cache() != Path("cache"), "another program's word"
    monkeypatch.setattr(feeds, "DEFAULT_STATE", tmp_path / "state")
    monkeypatch.setattr(feeds, "INSTALLED_STATE", tmp_path / "state/state")
    monkeypatch.setenv(folders.RUNTIME, str(tmp_path))
    (tmp_path / SOCKET_FILE).touch()
    assert feeds.default_feed() == tmp_path / SOCKET_FILE
    assert feeds.feed_of(feeds.LOCAL, tmp_path / "state") == tmp_path / SOCKET_FILE


def test_the_page_names_each_variable_of_several_verbs() -> None:
    found = set()
    for _, verb, _ in cli.verbs(cli.command()):
        found |= {each.envvar for each in verb.params if isinstance(each.envvar, str)}
    assert found == {
        f"NETBOOT_{name}" for name in ("PROFILE", "SET", "STATE", "ROOTS", "JSON", "LOG_LEVEL")
    }
    manual = (ROOT / "docs/netboot.1").read_text()
    for name in (*found, folders.STATE, folders.CACHE, folders.RUNTIME):
        assert f"`{name}`" in PAGE and name in manual
