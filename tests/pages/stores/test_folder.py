"""The directory of a store: found again by the next server, whoever took its usual name."""

import os
from pathlib import Path

import pytest

from netboot.pages.stores.folder import KEPT_PREFIX, Folder, find_kept


def test_the_usual_name_is_used_if_nobody_has_it(tmp_path: Path) -> None:
    assert find_kept(tmp_path, "a", os.geteuid()) is None
    folder = Folder(tmp_path, "a")
    assert folder.path == tmp_path / f"{KEPT_PREFIX}a" == find_kept(tmp_path, "a", os.geteuid())
    folder.close()


def test_pages_under_another_name_are_found_again(tmp_path: Path) -> None:
    (made := tmp_path / f"{KEPT_PREFIX}a_x1").mkdir(mode=0o700)
    (tmp_path / f"{KEPT_PREFIX}a_file").touch()
    (tmp_path / f"{KEPT_PREFIX}a_link").symlink_to(made)
    folder = Folder(tmp_path, "a")
    assert folder.path == made
    folder.close()
    other = Folder(tmp_path, "a-b")
    assert other.path == tmp_path / f"{KEPT_PREFIX}a-b", "another server's"
    other.close()


@pytest.mark.root
def test_a_name_that_another_user_took_is_left_to_that_user(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    (taken := tmp_path / f"{KEPT_PREFIX}a").mkdir(mode=0o777)
    os.chown(taken, 65534, 65534)
    first = Folder(tmp_path, "a")
    os.close(first.create("page", 4096))
    first.close()
    assert first.path.parent == tmp_path and first.path != taken and not list(taken.iterdir())
    again = Folder(tmp_path, "a")
    assert again.path == first.path and again.names() == ["page"]
    again.close()
