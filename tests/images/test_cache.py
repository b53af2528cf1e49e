"""Everything in the cache is complete, whatever happened while it was made."""

from pathlib import Path

import pytest

from netboot.errors import OperatorError
from netboot.images.cache import KEPT, UNFINISHED, Cache, default_cache


class Steps:
    """Progress that records its steps."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, text: str) -> None:
        self.steps.append(text)

    def advance(self, done: int, total: int) -> None:
        assert 0 <= done <= total


def write(folder: Path) -> None:
    (folder / "file").write_text("made")


def test_a_folder_is_made_once(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with cache.alone(Steps()):
        folder = cache.folder("kind", "key", write)
        assert (folder / "file").read_text() == "made"
        assert cache.folder("kind", "key", lambda folder: pytest.fail("made again")) == folder


def test_nothing_is_made_without_the_lock(tmp_path: Path) -> None:
    """Another build would remove it while it is unfinished."""
    cache = Cache(tmp_path)
    with cache.alone(Steps()):
        pass
    with pytest.raises(AssertionError, match="not locked"):
        cache.folder("kind", "key", write)
    with pytest.raises(AssertionError, match="not locked"), cache.scratch():
        pass


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        write(folder)
        raise OperatorError("no")

    cache = Cache(tmp_path)
    with cache.alone(Steps()), pytest.raises(OperatorError):
        cache.folder("kind", "key", fail)
    assert {path.name for path in tmp_path.rglob("*")} == {"kind", "lock"}


def test_the_next_build_clears_away_what_a_killed_one_left(tmp_path: Path) -> None:
    (tmp_path / f"{UNFINISHED}abc" / "boot").mkdir(parents=True)
    with Cache(tmp_path).alone(Steps()):
        assert not list(tmp_path.glob(UNFINISHED + "*"))


def test_only_the_last_used_are_kept(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with cache.alone(Steps()):
        for number in range(KEPT + 2):
            cache.folder("kind", str(number), write)
    assert len(list((tmp_path / "kind").iterdir())) == KEPT
    assert (tmp_path / "kind" / str(KEPT + 1)).is_dir()


def test_a_cache_that_cannot_be_written_is_the_operators_to_mend(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(OperatorError, match="cannot be written"),
        Cache(tmp_path / "file" / "cache").alone(Steps()),
    ):
        pass


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert default_cache() == Path("/var/cache/netboot")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "netboot"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/ann")
    assert default_cache() == Path("/home/ann/.cache/netboot")
    monkeypatch.setenv("HOME", "nowhere")
    with pytest.raises(OperatorError, match="no folder for the cache"):
        default_cache()
