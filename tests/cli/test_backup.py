"""The verbs ``netboot backup`` and ``netboot restore``."""

import json
from pathlib import Path

import pytest

from netboot.cli.main import app
from netboot.errors import OperatorError

SECRET = bytes(range(32))


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """The options that name a server's profile and state."""
    state, room = tmp_path / "state", tmp_path / "room.yaml"
    state.mkdir()
    (state / "secret").write_bytes(SECRET)
    (state / "secret").chmod(0o600)
    room.write_text("swap: {size: 1GiB}\n")
    return ["--profile", str(room), "--state", str(state)]


def done(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as end:
        app(list(words))
    assert not end.value.code
    return capsys.readouterr().out


def test_a_backup_is_its_owner_s_alone_and_goes_back(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "room.tar.gz"
    told = json.loads(done(capsys, "backup", "-o", str(file), "--json", *words))
    assert told == {
        "file": str(file),
        "size": file.stat().st_size,
        "files": ["profile.yaml", "state/secret"],
    }
    assert file.stat().st_mode & 0o777 == 0o600
    new = tmp_path / "new"
    there = ["--profile", str(new / "profile.yaml"), "--state", str(new / "state")]
    told = json.loads(done(capsys, "restore", str(file), "--json", *there))
    assert set(told["written"]) == {str(new / "profile.yaml"), str(new / "state/secret")}
    assert (new / "state/secret").read_bytes() == SECRET
    (new / "state/secret").write_bytes(SECRET[::-1])
    with pytest.raises(OperatorError, match="there is other content already") as caught:
        app(["restore", str(file), *there])
    assert "--replace" in caught.value.hint
    assert "secret: written" in done(capsys, "restore", str(file), "--replace", *there)
    assert (new / "state/secret").read_bytes() == SECRET


def test_without_a_secret_there_is_nothing_to_back_up(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "state/secret").unlink()
    with pytest.raises(OperatorError, match="there is no secret") as refused:
        app(["backup", "-o", str(tmp_path / "x"), *words])
    assert "first start" in refused.value.hint
    assert not (tmp_path / "x").exists()
