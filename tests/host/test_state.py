"""State files: what a start finds after each damage, and what a save needs on a full disk."""

import errno
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from netboot.host import state
from netboot.host.state import MAX_ASIDE, RESERVE_BYTES, StateFile, seal, unseal

VERSION = 1


def content(number: int) -> dict[str, Any]:
    return {"version": VERSION, "leases": [{"number": number, "seconds": 0.1 + number}]}


def parse(data: bytes) -> dict[str, Any]:
    return unseal(data, VERSION)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def saved(path: Path, *numbers: int) -> StateFile:
    file = StateFile(path)
    for number in numbers:
        file.write(seal(content(number)))
    return file


def found(path: Path) -> tuple[dict[str, Any], bool] | None:
    return StateFile(path).read(parse)


def aside(path: Path) -> list[str]:
    return sorted(each.name for each in path.parent.glob("*.aside-*"))


def test_a_save_replaces_the_file_which_is_private(path: Path) -> None:
    saved(path, 1, 2)
    assert found(path) == (content(2), True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_bytes())["leases"] == content(2)["leases"], (
        "as old releases read it"
    )


def test_a_shorter_state_leaves_nothing_of_a_longer_one(path: Path) -> None:
    file = StateFile(path)
    for text in ("x" * 300_000, "y" * 10, "z" * 20, "w"):
        file.write(json.dumps(text))
        assert json.loads(path.read_bytes()) == text


def test_the_next_start_and_no_older_writer_goes_on_with_the_same_files(path: Path) -> None:
    saved(path, 1, 2)
    saved(path, 3)
    path.write_text(seal(content(4)))  # by somebody else, or a release that knows no spare
    saved(path, 5)
    assert found(path) == (content(5), True)
    assert len(list(path.parent.iterdir())) == 2


CONTENTS = {
    "empty": b"",
    "spaces": b" " * 5000,
    "zeros": bytes(5000),
    "random": bytes(range(256)) * 20,
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "newer": seal({"version": VERSION + 1}).encode(),
    "no number": b'{"version": "x"}',
}


def damage(path: Path, kind: str) -> None:
    if kind in CONTENTS:
        path.write_bytes(CONTENTS[kind])
        return
    path.unlink()
    if kind == "a folder":
        path.mkdir()
        (path / "x").touch()
    elif kind == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("nothing")


@pytest.mark.parametrize("kind", [*CONTENTS, "a folder", "a pipe", "a link to nothing"])
def test_a_file_that_cannot_be_used_is_set_aside_with_one_line(
    path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    saved(path, 1, 2).close()
    damage(path, kind)
    file = StateFile(path)
    assert file.read(parse) == (content(1), False), "the save before"
    if kind != "a link to nothing":
        assert len(caplog.records) == 1 and str(path) in caplog.text
        assert aside(path) == ["state.json.aside-1"]
    file.write(seal(content(3)))
    assert found(path) == (content(3), True)


def test_without_the_save_before_nothing_is_found(path: Path) -> None:
    path.write_bytes(b"{")
    assert found(path) is None
    assert found(path) is None
    assert aside(path) == ["state.json.aside-1"]


def test_a_file_that_an_operator_removes_is_not_brought_back(path: Path) -> None:
    saved(path, 1, 2).close()
    path.unlink()
    assert found(path) is None
    saved(path, 3)
    assert found(path) == (content(3), True)


def test_a_server_that_is_killed_after_it_has_set_a_file_aside_loses_nothing(path: Path) -> None:
    saved(path, 1, 2).close()
    path.write_bytes(b"")
    assert found(path) == found(path) == (content(1), False)


def test_only_a_few_are_set_aside(path: Path) -> None:
    for number in range(2 * MAX_ASIDE):
        if number % 2:
            path.mkdir()
        else:
            path.write_text(f"damaged {number}")
        assert found(path) is None
    assert len(aside(path)) == MAX_ASIDE


def test_a_file_that_may_not_be_read_nor_renamed_is_no_end(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    saved(path, 1)

    def refuse(*arguments: object, **options: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "rename", refuse)
    assert found(path) is None
    assert "set aside as nothing (Permission denied)" in caplog.text


def test_a_file_that_is_cut_at_any_byte_gives_the_save_before_or_the_whole(path: Path) -> None:
    saved(path, 1, 2).close()
    whole, spare = path.read_bytes(), path.with_name(".state.json.spare").read_bytes()
    length = len(whole.rstrip())
    for cut in range(length + 2):
        path.write_bytes(whole[:cut])
        path.with_name(".state.json.spare").write_bytes(spare)
        assert found(path) == ((content(2), True) if cut >= length else (content(1), False))


def test_no_flipped_byte_gives_another_content(path: Path) -> None:
    saved(path, 1, 2).close()
    whole = path.read_bytes()
    for at in range(len(whole.rstrip()) + 2):
        for flip in (0x01, 0x08, 0x20, 0x80, 0xFF):
            damaged = bytearray(whole[: len(whole.rstrip()) + 8])
            damaged[at] ^= flip
            try:
                read = parse(bytes(damaged))
            except ValueError:
                continue
            # A digest whose own name is damaged is an unknown key of an older release.
            assert {name: read.get(name) for name in content(2)} == content(2)


class PowerCutError(Exception):
    """The end of the machine, between two system calls."""


@pytest.mark.parametrize("exchanges", [True, False], ids=["exchange", "replace"])
def test_a_power_cut_at_any_call_leaves_the_old_state_or_the_new_one(
    path: Path, monkeypatch: pytest.MonkeyPatch, exchanges: bool
) -> None:
    """With both ways to put a file in its place; a cut write leaves half of its bytes."""
    left = 0
    pwrite, exchange = os.pwrite, StateFile._has_exchanged

    def step() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise PowerCutError

    def half(descriptor: int, data: bytes, offset: int) -> int:
        try:
            step()
        except PowerCutError:
            pwrite(descriptor, bytes(data)[: len(data) // 2], offset)
            raise
        return pwrite(descriptor, data, offset)

    def after(name: str) -> Callable[..., Any]:
        call = getattr(os, name)

        def stepping(*arguments: object) -> object:
            step()
            return call(*arguments)

        return stepping

    def exchanging(self: StateFile) -> bool:
        step()
        return exchanges and exchange(self)

    with monkeypatch.context() as patch:
        for name in ("fdatasync", "fsync", "replace", "ftruncate"):
            patch.setattr(os, name, after(name))
        patch.setattr(os, "pwrite", half)
        patch.setattr(StateFile, "_has_exchanged", exchanging)
        for calls in range(100):
            left = 1000
            file = saved(path, 1, 2)
            left = calls
            try:
                file.write(seal(content(3)))
            except PowerCutError:
                is_over = False
            else:
                is_over = left >= 0
            file.close()
            left = 1000
            read = found(path)
            assert read is not None and read[1], calls
            assert read[0] == content(3) if is_over else read[0] in (content(2), content(3))
            if is_over:
                break
    assert 3 < calls < 99


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EMFILE])
def test_a_save_needs_no_room_no_inode_and_no_descriptor(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    file = saved(path, 1)
    pwrite = os.pwrite

    def inside(descriptor: int, data: bytes, offset: int) -> int:
        if offset + len(data) > os.fstat(descriptor).st_size:
            raise OSError(number, os.strerror(number))
        return pwrite(descriptor, data, offset)

    def refuse(*arguments: object, **options: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", inside)
        full.setattr(os, "open", refuse)
        for each in range(2, 6):
            file.write(seal(content(each)))
        with pytest.raises(OSError):
            file.write(seal({"version": VERSION, "leases": ["x" * 8 * RESERVE_BYTES]}))
        file.write(seal(content(6)))
    assert found(path) == (content(6), True)


def test_room_is_kept_back_for_twice_the_state(path: Path) -> None:
    file = StateFile(path)
    file.prepare()
    assert path.with_name(".state.json.spare").stat().st_blocks * 512 >= RESERVE_BYTES
    file.write("x" * 100_000)
    file.write("y" * 100_000)
    assert min(each.stat().st_blocks * 512 for each in path.parent.iterdir()) >= 200_000


def test_a_folder_that_was_removed_is_made_again(path: Path) -> None:
    file = saved(path.parent / "folder" / "state.json", 1, 2)
    for each in file.path.parent.iterdir():
        each.unlink()
    file.path.parent.rmdir()
    file.write(seal(content(3)))
    assert found(file.path) == (content(3), True)


def test_a_folder_in_the_place_of_the_spare_file_is_set_aside(path: Path) -> None:
    path.with_name(".state.json.spare").mkdir()
    saved(path, 1, 2)
    assert found(path) == (content(2), True)


def test_nobody_writes_through_a_link_in_the_place_of_the_spare_file(path: Path) -> None:
    (other := path.parent / "other").write_text("other")
    path.with_name(".state.json.spare").symlink_to(other)
    saved(path, 1, 2)
    assert other.read_text() == "other" and found(path) == (content(2), True)


def test_a_file_of_an_older_release_has_no_digest() -> None:
    assert unseal(b'{"leases": []}\n', VERSION) == {"leases": []}
    with pytest.raises(ValueError, match="of a newer release: version 2, expected at most 1"):
        unseal(seal({"version": 2}).encode(), VERSION)


def test_the_check_is_of_the_values_and_not_of_their_order() -> None:
    assert state.digest({"a": 1, "b": [0.1]}) == state.digest({"b": [0.1], "a": 1})
