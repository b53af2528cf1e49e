"""The server's secret: made once, read by nobody else, refused if it is not whole."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from netboot.boot.ticket import SECRET_BYTES
from netboot.errors import OperatorError
from netboot.serve.secret import load_secret


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "state" / "secret"
    secret = load_secret(path)
    assert len(secret) == SECRET_BYTES
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_secret(path) == load_secret(path, make=False) == secret
    assert list(path.parent.iterdir()) == [path]


def test_servers_that_start_at_once_agree(tmp_path: Path) -> None:
    for number in range(20):
        path = tmp_path / f"{number}"
        with ThreadPoolExecutor(4) as threads:
            assert len(set(threads.map(load_secret, [path] * 4))) == 1


@pytest.mark.parametrize("size", [0, 5, SECRET_BYTES + 1])
def test_a_secret_that_is_not_whole_is_refused(tmp_path: Path, size: int) -> None:
    (path := tmp_path / "secret").write_bytes(bytes(size))
    path.chmod(0o600)
    expected = f"{path}: damaged: the secret has {size} bytes, expected 32"
    with pytest.raises(OperatorError) as caught:
        load_secret(path)
    assert str(caught.value) == expected and caught.value.hint.startswith(f"rm {path}: ")
    with pytest.raises(OperatorError) as caught:
        load_secret(path, make=False)
    assert str(caught.value) == expected and caught.value.hint.startswith("copy it again")
    assert path.stat().st_size == size, "a secret that may be of use is not overwritten"


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    load_secret(path := tmp_path / "secret")
    path.chmod(0o640)
    with pytest.raises(OperatorError, match="others can read it") as caught:
        load_secret(path)
    assert caught.value.hint == f"chmod 600 {path}"


def test_another_server_s_secret_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="there is no secret"):
        load_secret(tmp_path / "secret", make=False)
    (tmp_path / "file").touch()
    with pytest.raises(OperatorError, match="cannot keep the server's secret"):
        load_secret(tmp_path / "file" / "secret")
