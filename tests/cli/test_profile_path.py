"""Where a profile is looked for, and what the command says of it."""

from pathlib import Path

import pytest

from netboot.cli import profile_path
from netboot.cli.profile_path import find_profile, search, usual
from netboot.errors import OperatorError
from tests import ROOT


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Three folders: the second and the third have b.yaml, only the third has lab.yaml."""
    made = [tmp_path / name for name in ("here", "etc", "shipped")]
    for folder, names in zip(made, ([], ["b.yaml"], ["b.yaml", "lab.yaml"]), strict=True):
        folder.mkdir()
        for name in names:
            (folder / name).touch()
    return made


def test_the_first_folder_that_has_it_counts(folders: list[Path]) -> None:
    here, etc, shipped = folders
    assert search("b.yaml", folders) == etc / "b.yaml"
    assert search("lab.yaml", folders) == shipped / "lab.yaml"
    (here / "lab.yaml").touch()
    (etc / "b.yaml").unlink()
    (etc / "b.yaml").mkdir()
    assert search("lab.yaml", folders) == here / "lab.yaml"
    assert search("b.yaml", folders) == shipped / "b.yaml"


@pytest.mark.parametrize("name", ["./lab.yaml", "elsewhere/lab.yaml", "/lab.yaml"])
def test_a_name_with_a_folder_is_taken_as_it_is(name: str, folders: list[Path]) -> None:
    assert search(name, folders) == Path(name)


@pytest.mark.parametrize(
    ("name", "guess"), [("lba.yaml", "lab.yaml"), ("lab", "lab.yaml"), ("xyz", "")]
)
def test_what_is_not_found_names_the_places_and_the_nearest(
    name: str, guess: str, folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, etc, shipped = folders
    monkeypatch.chdir(here)
    with pytest.raises(OperatorError) as caught:
        search(name, [Path(), etc, shipped])
    places = f"{name}: there is no such profile in the current folder, {etc} or {shipped}"
    assert str(caught.value) == places + (f"; did you mean '{guess}'?" if guess else "")


def test_it_says_which_it_took_once_unless_it_is_the_current_folders(
    folders: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here, etc, _ = folders
    monkeypatch.chdir(here)
    monkeypatch.setattr(profile_path, "INSTALLED", etc)
    find_profile.cache_clear()
    assert find_profile("b.yaml") == find_profile("b.yaml") == etc / "b.yaml"
    assert find_profile("lab.yaml") == ROOT / "profiles/lab.yaml"
    assert find_profile("../etc/b.yaml") == Path("../etc/b.yaml")
    (here / "own.yaml").touch()
    assert find_profile("own.yaml") == Path("own.yaml")
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        f"netboot: profile {etc / 'b.yaml'}",
        f"netboot: profile {ROOT / 'profiles/lab.yaml'}",
    ]
    find_profile.cache_clear()


def test_without_a_name_that_of_this_machine_comes_before_the_shipped_one(
    folders: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here, etc, _ = folders
    (here / "lab.yaml").touch()
    monkeypatch.chdir(here)
    monkeypatch.setattr(profile_path, "INSTALLED", etc)
    find_profile.cache_clear()
    assert find_profile("") == ROOT / "profiles/lab.yaml"
    find_profile.cache_clear()
    (etc / "profile.yaml").touch()
    assert find_profile("") == etc / "profile.yaml"
    told = capsys.readouterr().err.splitlines()
    assert told[1] == f"netboot: profile {etc / 'profile.yaml'}" and len(told) == 2
    find_profile.cache_clear()


def test_no_profile_at_all_names_each_place(folders: list[Path]) -> None:
    here, etc, _ = folders
    with pytest.raises(OperatorError) as caught:
        usual(etc / "profile.yaml", here / "lab.yaml")
    assert str(caught.value) == (
        f"there is no profile: looked at --profile, NETBOOT_PROFILE, {etc / 'profile.yaml'} "
        f"and {here / 'lab.yaml'}"
    )
    (etc / "profile.yaml").symlink_to("/nowhere")
    assert usual(etc / "profile.yaml", here / "lab.yaml") == etc / "profile.yaml"
