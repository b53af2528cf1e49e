"""``netboot secret``: what the operator reads after a rotation."""

import json
from pathlib import Path

import pytest

from netboot.cli import secret
from netboot.cli.main import app
from netboot.errors import OperatorError
from netboot.serve.secret import SECRET_FILE, load_secret


def test_a_rotation_says_what_is_to_be_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / SECRET_FILE
    made = load_secret(path)
    secret.rotate(state=tmp_path)
    told = capsys.readouterr().out
    assert told.splitlines() == [
        f"{path}: a new secret; a running server takes it up within seconds",
        "the previous one is accepted for a day: boot every PC once within it",
        "other servers of the room, and panels on other machines, need a copy of the new one",
    ]
    assert made.hex() not in told and load_secret(path).hex() not in told
    secret.rotate(state=tmp_path)
    assert "the one before that is forgotten" in capsys.readouterr().out
    secret.rotate(state=tmp_path, as_json=True)
    assert json.loads(capsys.readouterr().out) == {
        "secret": str(path),
        "accepted_seconds": 86400.0,
        "forgotten_at_once": True,
    }


def test_a_folder_without_a_secret_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="there is no secret to rotate") as error:
        app(["secret", "rotate", "--state", str(tmp_path)])
    assert "--state names another folder" in error.value.hint
