"""The server's secret: made once, read by nobody else, and never one that is not whole."""

import errno
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from netboot.boot.ticket import SECRET_BYTES
from netboot.errors import OperatorError
from netboot.host.state import unseal
from netboot.serve.secret import (
    DAY_SECONDS,
    Secrets,
    load_secret,
    load_secrets,
    rotate,
    save,
)


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "state" / "secret"
    secret = load_secret(path)
    assert len(secret) == SECRET_BYTES
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_secret(path) == load_secret(path, make=False) == secret
    names = {each.name for each in path.parent.iterdir()}
    assert names == {"secret", ".secret.spare"}
    path.unlink()
    assert load_secret(path) != secret, "an operator wants another one"


def test_servers_that_start_at_once_agree(tmp_path: Path) -> None:
    for number in range(20):
        path = tmp_path / f"{number}"
        with ThreadPoolExecutor(4) as threads:
            assert len(set(threads.map(load_secret, [path] * 4))) == 1


def test_a_secret_that_the_operator_replaces_has_its_own_spare_copy(tmp_path: Path) -> None:
    load_secret(path := tmp_path / "secret")
    load_secret(path)
    path.write_bytes(other := b"o" * SECRET_BYTES)
    assert load_secret(path) == other
    path.write_bytes(b"")
    assert load_secret(path) == other


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_damaged(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "secret"
    load_secret(path)
    secret = load_secret(path)
    path.unlink()
    path.mkdir() if kind == "folder" else os.mkfifo(path, 0o600)
    assert load_secret(path) == load_secret(path) == secret


@pytest.mark.parametrize("call", range(4))
def test_a_start_that_fails_at_any_call_loses_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """A full disk, or one that became read-only, while a damaged secret is replaced."""
    path = tmp_path / "secret"
    load_secret(path)
    secret = load_secret(path)
    path.write_bytes(b"")
    left = call
    rename, replace = os.rename, Path.replace

    def failing(call: Callable[..., object]) -> Callable[..., object]:
        def called(*arguments: object) -> object:
            nonlocal left
            left -= 1
            if left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return call(*arguments)

        return called

    with monkeypatch.context() as full:
        full.setattr(os, "rename", failing(rename))
        full.setattr(Path, "replace", failing(replace))
        assert load_secret(path) == secret
    assert load_secret(path) == secret


def test_without_room_for_a_new_secret_the_damaged_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path := tmp_path / "secret").write_bytes(b"damaged")
    path.chmod(0o600)

    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("netboot.serve.secret.create_file", full)
    with pytest.raises(OperatorError, match="No space left on device"):
        load_secret(path)
    assert path.read_bytes() == b"damaged"


def test_a_server_that_was_killed_between_two_names_loses_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    load_secret(path)
    secret = load_secret(path)
    (tmp_path / ".secret.spare").rename(tmp_path / ".secret.next")
    path.write_bytes(b"")
    assert load_secret(path) == secret, "before the damaged one was set aside"
    (tmp_path / ".secret.spare").rename(tmp_path / ".secret.next")
    path.unlink()
    assert load_secret(path) == secret, "after that"


DAMAGED = [0, 5, SECRET_BYTES + 1]


@pytest.mark.parametrize("size", DAMAGED)
def test_the_spare_copy_takes_the_place_of_a_damaged_secret(
    tmp_path: Path, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Else PCs with their root on the server lose it."""
    path = tmp_path / "secret"
    load_secret(path)
    secret = load_secret(path)
    path.write_bytes(bytes(size))
    assert load_secret(path) == load_secret(path) == secret
    (line,) = (record.getMessage() for record in caplog.records)
    assert line.startswith(f"{path}: damaged: the secret has {size} bytes, expected 32; its spare")
    assert line.endswith(f"it is set aside as {path}.aside-1")
    assert (tmp_path / "secret.aside-1").stat().st_size == size


@pytest.mark.parametrize("left", [0, 1, 24, 31])
def test_zeros_at_the_end_of_a_secret_are_a_damage(tmp_path: Path, left: int) -> None:
    """A file system may keep a file's length through a power cut, and lose its content."""
    path = tmp_path / "secret"
    secret = bytes(range(1, 33))
    path.write_bytes(secret)
    path.chmod(0o600)
    assert load_secret(path) == secret
    path.write_bytes(secret[:left] + bytes(32 - left))
    assert load_secret(path) == secret


def test_a_secret_of_zeros_is_never_used(tmp_path: Path) -> None:
    """Everybody knows that key."""
    path = tmp_path / "secret"
    path.write_bytes(bytes(32))
    path.chmod(0o600)
    assert load_secret(path) != bytes(32)


def test_without_a_spare_copy_a_damaged_secret_is_replaced_by_a_new_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, spare = tmp_path / "secret", tmp_path / ".secret.spare"
    load_secret(path)
    path.write_bytes(b"")
    secret = load_secret(path)
    assert len(secret) == SECRET_BYTES and "PCs that are on have to boot again" in caplog.text
    path.unlink()
    path.mkdir()
    spare.write_bytes(b"short")
    assert load_secret(path) != secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("size", DAMAGED)
def test_another_server_s_damaged_secret_is_refused(tmp_path: Path, size: int) -> None:
    (path := tmp_path / "secret").write_bytes(bytes(size))
    path.chmod(0o600)
    with pytest.raises(OperatorError) as caught:
        load_secret(path, make=False)
    assert str(caught.value) == f"{path}: damaged: the secret has {size} bytes, expected 32"
    assert caught.value.hint.startswith("copy it again")
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


def test_a_rotation_keeps_the_secret_before_it_and_none_else(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    load_secret(path)
    first = load_secret(path)
    assert rotate(path) == Secrets(first)
    second = load_secrets(path)
    assert (second.previous, second.left, second.until) == (first, DAY_SECONDS, None)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert rotate(path).current == second.current
    third = load_secrets(path, make=False)
    assert third.previous == second.current and len({first, second.current, third.current}) == 3
    everything = b"".join(each.read_bytes() for each in tmp_path.iterdir())
    assert first not in everything and first.hex().encode() not in everything
    assert (tmp_path / ".secret.spare").read_bytes() == third.current


def test_a_rotation_belongs_to_the_user_that_serves(tmp_path: Path) -> None:
    load_secret(path := tmp_path / "secret")
    if os.geteuid() != 0:
        pytest.skip("only root rotates for another user")
    for each in tmp_path.iterdir():
        os.chown(each, 65534, 65534)
    rotate(path)
    assert {each.stat().st_uid for each in tmp_path.iterdir()} == {65534}


def test_one_secret_alone_has_the_form_of_every_release(tmp_path: Path) -> None:
    """A release that knows no rotation reads it, before the first one and a day after the last."""
    load_secret(path := tmp_path / "secret")
    assert len(path.read_bytes()) == SECRET_BYTES
    rotate(path)
    assert unseal(path.read_bytes(), 2)["version"] == 2
    current = load_secret(path)
    save(path, Secrets(current))
    assert path.read_bytes() == current


def test_a_save_does_not_undo_a_rotation(tmp_path: Path) -> None:
    load_secret(path := tmp_path / "secret")
    before = load_secrets(path)
    rotate(path)
    save(path, before)
    assert load_secrets(path).previous == before.current


@pytest.mark.parametrize("cut", [1, 40, 150])
def test_a_damaged_file_of_two_secrets_is_replaced_by_the_spare_copy(
    tmp_path: Path, cut: int
) -> None:
    load_secret(path := tmp_path / "secret")
    rotate(path)
    current = load_secret(path)
    content = path.read_bytes()
    path.write_bytes(content[:cut] + bytes(len(content) - cut))
    assert load_secrets(path) == Secrets(current)
    assert load_secrets(path, make=False) == Secrets(current)


def test_a_time_beyond_a_day_is_not_believed() -> None:
    secrets = Secrets(b"n" * 32, b"o" * 32, left=1e9, until=None)
    assert Secrets.parse(secrets.serialize()).left == DAY_SECONDS
    with pytest.raises(ValueError, match="it has no two secrets"):
        Secrets.parse(Secrets(b"n" * 32, b"o" * 32, left=float("nan")).serialize())
    with pytest.raises(ValueError, match="it has no two secrets"):
        Secrets.parse(Secrets(b"n" * 32, b"o" * 31, left=1.0).serialize())


def test_without_a_secret_nothing_is_rotated(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="there is no secret to rotate"):
        rotate(tmp_path / "secret")
    assert not list(tmp_path.iterdir())


def test_a_rotation_without_room_leaves_the_secret_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = load_secret(path := tmp_path / "secret")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("netboot.serve.secret.rewrite_file", full)
    with pytest.raises(OperatorError, match="the secret so far stays: No space left on device"):
        rotate(path)
    assert load_secrets(path) == Secrets(secret)
