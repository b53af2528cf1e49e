"""PCs that wait for their pages come before a mistake in the files that they would boot from."""

from pathlib import Path

import pytest

from netboot.cli import serving
from netboot.errors import OperatorError
from netboot.pages.stores.folder import KEPT_PREFIX
from netboot.pages.upgrade import LISTENERS
from netboot.profile import file as profile_file
from netboot.serve.services import pages_name


def test_a_server_with_pages_of_pcs_starts_without_its_images(tmp_path: Path) -> None:
    profile = profile_file.parse(f"swap: {{store: 'disk:{tmp_path}'}}", "room.yaml")
    state, none = tmp_path / "state", tmp_path / "none"

    def unfit() -> list[str]:
        return serving._unfit_files(Path("room.yaml"), profile, none, [], state)

    with pytest.raises(OperatorError, match="there is no folder"):
        unfit()
    kept = tmp_path / f"{KEPT_PREFIX}{pages_name(state)}"
    kept.mkdir(mode=0o700)
    with pytest.raises(OperatorError):
        unfit()  # nobody has pages in it
    (kept / "seat.pages").touch()
    assert unfit() == [f"--images: there is no folder {none}"]


def test_a_server_that_replaces_its_program_starts_without_its_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = profile_file.parse("", "room.yaml")
    monkeypatch.setenv(LISTENERS, "3")
    told = serving._unfit_files(Path("room.yaml"), profile, tmp_path / "none", [], tmp_path)
    assert told == [f"--images: there is no folder {tmp_path / 'none'}"]
