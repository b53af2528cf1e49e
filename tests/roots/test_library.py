"""The versions of root images: what is whole, what is current, what is left when work breaks off."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from netboot.errors import OperatorError
from netboot.roots import manifest
from netboot.roots.library import CURRENT, Library, Version
from netboot.roots.manifest import Manifest

OLD = Manifest("kiosk", "a" * 64, 1_795_000_000, "erofs", 8192, 2, "b" * 64, kernels=("6.1.0-56",))
NEW = replace(OLD, digest="c" * 64, created=OLD.created + 3600)


def add(library: Library, made: Manifest) -> Version:
    library.folder.mkdir(exist_ok=True)
    image, tree = library.folder / "image", library.folder / "tree"
    image.write_bytes(bytes(made.size))
    tree.write_bytes(bytes(4096))
    return library.add(made, image, tree)


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "roots")


def test_a_manifest_is_read_as_it_was_written() -> None:
    made = replace(OLD, packages={"surf": "2.1"}, definition={"screen": "kiosk"}, ram_tried=256)
    assert manifest.parse(manifest.dump(made).encode()) == made


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"digest": "../../etc/passwd"},
        {"digest": "A" * 64},
        {"size": "many"},
        {"created": -1},
        {"name": "a\nb"},
        {"packages": []},
        {"kernels": [1]},
        {"nfs": "yes"},
    ],
)
def test_what_is_no_manifest_of_ours_is_refused(change: dict[str, object]) -> None:
    content = json.loads(manifest.dump(OLD)) | change
    with pytest.raises(ValueError, match="."):
        manifest.parse(json.dumps(content).encode())


def test_a_key_of_a_newer_release_is_passed_over() -> None:
    content = json.loads(manifest.dump(OLD)) | {"colour": "blue"}
    assert manifest.parse(json.dumps(content).encode()) == OLD


def test_the_version_that_was_added_last_is_current(library: Library) -> None:
    assert library.names() == () and library.current("kiosk") is None
    old = add(library, OLD)
    new = add(library, NEW)
    assert library.names() == ("kiosk",)
    assert library.versions("kiosk") == (new, old)
    assert library.current("kiosk") == new
    library.use(old)
    assert library.current("kiosk") == old == library.find("kiosk")
    assert library.with_digest("kiosk", OLD.short) == old


def test_a_version_is_found_by_a_part_of_its_time_or_digest(library: Library) -> None:
    old, new = add(library, OLD), add(library, NEW)
    assert library.find(f"kiosk@{OLD.stamp}") == old
    assert library.find("kiosk@ccc") == new
    with pytest.raises(OperatorError, match="several versions begin so"):
        library.find(f"kiosk@{OLD.stamp[:4]}")
    with pytest.raises(OperatorError, match="no such version"):
        library.find("kiosk@2020")
    with pytest.raises(OperatorError, match="no root image 'kisok'") as caught:
        library.find("kisok")
    assert "'kiosk'" in caught.value.hint


def test_the_current_version_is_not_removed(library: Library) -> None:
    old, new = add(library, OLD), add(library, NEW)
    with pytest.raises(OperatorError, match="the next boots get"):
        library.remove(new)
    library.remove(old)
    assert library.versions("kiosk") == (new,)
    assert not old.image.exists() and not old.tree.exists()


def test_what_was_left_half_done_is_not_seen_and_removed(library: Library) -> None:
    add(library, OLD)
    folder = library.folder / "kiosk"
    (folder / "ddd.img").write_bytes(b"half of an image")
    (folder / "eee.json").write_text("{")
    assert [each.manifest for each in library.versions("kiosk")] == [OLD]
    add(library, NEW)
    assert not (folder / "ddd.img").exists()


def test_a_link_leads_to_no_other_folder(library: Library) -> None:
    add(library, OLD)
    other = add(library, replace(OLD, name="desktop"))
    link = library.folder / "kiosk" / CURRENT
    link.unlink()
    link.symlink_to(f"../desktop/{other.manifest.short}.json")
    assert library.current("kiosk") is not None
    link.unlink()
    link.symlink_to("missing.json")
    assert library.current("kiosk") is None


def test_the_smallest_ram_that_was_tried_is_kept(library: Library) -> None:
    version = add(library, NEW)
    for tried, kept in ((512, 512), (256, 256), (384, 256)):
        version = library.note_ram(version, tried)
        assert version.manifest.ram_tried == kept
        assert library.current("kiosk") == version


def test_the_ram_of_a_version_that_was_removed_is_not_kept(library: Library) -> None:
    old = add(library, OLD)
    add(library, NEW)
    library.remove(old)
    library.note_ram(old, 256)
    assert [each.manifest.short for each in library.versions("kiosk")] == [NEW.short]
    assert library.with_digest("kiosk", OLD.short) is None
