"""Files that are replaced in one step: what readers, other writers and a power cut find."""

import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from netboot.host.files import PRIVATE, create_file, replace_file, replace_link, rewrite_file


@pytest.fixture(params=[0o022, 0o077, 0], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is synced, renamed and linked, in that order."""
    seen: list[str] = []
    fsync, replace, link = os.fsync, Path.replace, os.link

    def syncing(descriptor: int) -> None:
        seen.append("sync " + ("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"))
        fsync(descriptor)

    def replacing(self: Path, target: Path) -> Path:
        seen.append("rename")
        return replace(self, target)

    def linking(source: Path, target: Path) -> None:
        seen.append("link")
        link(source, target)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(Path, "replace", replacing)
    monkeypatch.setattr(os, "link", linking)
    return seen


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("umask")
def test_content_and_mode_are_as_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_file(path, "text \N{EURO SIGN}")
    assert (path.read_text("utf-8"), _mode(path)) == ("text \N{EURO SIGN}", 0o644)
    replace_file(path, b"\0\xff", mode=PRIVATE)
    assert (path.read_bytes(), _mode(path)) == (b"\0\xff", 0o600)
    assert create_file(tmp_path / "other", b"", mode=0o640)
    assert _mode(tmp_path / "other") == 0o640
    assert {each.name for each in tmp_path.iterdir()} == {"file", "other"}


@pytest.mark.usefixtures("umask")
def test_a_secret_is_private_from_its_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    fchmod = os.fchmod

    def watched(descriptor: int, mode: int) -> None:
        status = os.fstat(descriptor)
        seen.append((stat.S_IMODE(status.st_mode) & 0o077, status.st_size))
        fchmod(descriptor, mode)

    monkeypatch.setattr(os, "fchmod", watched)
    replace_file(tmp_path / "secret", b"secret", mode=PRIVATE)
    create_file(tmp_path / "another", b"secret", mode=PRIVATE)
    assert seen == [(0, 0), (0, 0)]


def test_a_durable_file_is_on_disk_before_and_after_it_has_its_name(
    tmp_path: Path, calls: list[str]
) -> None:
    replace_file(tmp_path / "file", "text", durable=True)
    assert calls == ["sync file", "rename", "sync folder"]
    calls.clear()
    create_file(tmp_path / "other", "text")
    assert calls == ["sync file", "link", "sync folder"]
    calls.clear()
    replace_file(tmp_path / "file", "text")
    assert calls == ["rename"]


def test_a_disk_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    (path := tmp_path / "file").write_text("old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        replace_file(path, "new", durable=True)
    with pytest.raises(OSError, match="Input/output"):
        create_file(tmp_path / "other", "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_rewritten_keeps_its_mode_and_its_link(tmp_path: Path) -> None:
    (path := tmp_path / "file").write_text("old")
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 1234, 1235)
    was = path.stat()
    (link := tmp_path / "link").symlink_to("file")
    rewrite_file(link, "new\r\n")
    now = path.stat()
    assert link.is_symlink() and path.read_bytes() == b"new\r\n"
    assert (now.st_mode, now.st_uid, now.st_gid) == (was.st_mode, was.st_uid, was.st_gid)
    assert set(tmp_path.iterdir()) == {path, link}


def test_a_full_disk_does_not_empty_a_file_that_is_rewritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    (path := tmp_path / "file").write_text("old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        rewrite_file(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_what_is_in_the_way_stays_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    (folder := tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        replace_file(folder, "text")
    with pytest.raises(OSError):
        replace_link(folder, "target")
    with pytest.raises(FileNotFoundError):
        replace_file(tmp_path / "missing" / "file", "text")
    assert list(tmp_path.iterdir()) == [folder]


def test_readers_and_writers_at_once_see_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "file"
    texts = [str(number) * 50_000 for number in range(4)]
    replace_file(path, texts[0])

    def write(text: str) -> None:
        for _ in range(50):
            replace_file(path, text)

    with ThreadPoolExecutor(len(texts)) as threads:
        writing = [threads.submit(write, text) for text in texts]
        while not all(each.done() for each in writing):
            assert path.read_text() in texts
        for each in writing:
            each.result()
    assert list(tmp_path.iterdir()) == [path]


def test_of_many_who_create_a_file_one_does(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def create(number: int) -> tuple[bool, str]:
        return create_file(path, str(number)), path.read_text()

    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(create, range(40)))
    (winner,) = (number for number, (first, _) in enumerate(made) if first)
    assert {text for _, text in made} == {str(winner)}
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_replaced_in_one_step(tmp_path: Path, calls: list[str]) -> None:
    link = tmp_path / "current"
    for target in ("releases/1", "releases/2"):
        replace_link(link, target)
        assert os.readlink(link) == target
    assert calls == ["rename"] * 2
    assert list(tmp_path.iterdir()) == [link]
