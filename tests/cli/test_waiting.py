"""PCs that wait for their pages come before a mistake in the files that they would boot from."""

import fcntl
from pathlib import Path

import pytest

from netboot.cli import beginning
from netboot.errors import OperatorError
from netboot.images.cache import Cache, default_cache
from netboot.pages.stores.folder import KEPT_PREFIX
from netboot.pages.upgrade import LISTENERS
from netboot.profile import file as profile_file
from netboot.profile.profile import Profile
from netboot.serve.room_pages import pages_name


def test_pages_of_pcs_are_found_before_the_server_starts(tmp_path: Path) -> None:
    profile = profile_file.parse(f"swap: {{store: 'disk:{tmp_path}'}}", "room.yaml")
    state = tmp_path / "state"
    assert not beginning.has_pages(profile, state)
    kept = tmp_path / f"{KEPT_PREFIX}{pages_name(state)}"
    kept.mkdir(mode=0o700)
    assert not beginning.has_pages(profile, state)  # nobody has pages in it
    (kept / "seat.pages").touch()
    assert beginning.has_pages(profile, state)


def test_a_server_that_replaces_its_program_has_pages_of_pcs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LISTENERS, "3")
    assert beginning.has_pages(profile_file.parse("", "room.yaml"), tmp_path)


@pytest.mark.parametrize(
    "failure", [OperatorError("this machine's apt knows no mirror"), OSError(28, "No space left")]
)
def test_a_build_that_fails_is_a_warning_if_pcs_wait(
    failure: Exception,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def built(profile: Profile, *, waits: bool) -> Path:
        raise failure

    monkeypatch.setattr(beginning, "built", built)
    with pytest.raises(type(failure)):
        beginning.built_or_last(Profile(), tmp_path, waited_for=False)
    assert (
        beginning.built_or_last(Profile(), tmp_path, waited_for=True) == default_cache() / "images"
    )
    told = capsys.readouterr().err
    assert "; serving those of the last build\n" in told and told.count("\n") == 1


def test_another_build_is_not_waited_for_if_pcs_wait(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with (
            pytest.raises(OperatorError, match="another build uses"),
            Cache(tmp_path).alone(Silent(), waits=False),
        ):
            pass


class Silent:
    """Progress that nobody sees."""

    def step(self, text: str) -> None:
        """Tell nobody."""

    def advance(self, done: int, total: int) -> None:
        """Tell nobody."""
