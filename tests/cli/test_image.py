"""``netboot image``: its lists, its refusals, and where definitions are found."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from netboot.cli import image, image_lines
from netboot.cli.common import DEFAULT_ROOTS
from netboot.cli.image import app, find_definition
from netboot.errors import OperatorError
from netboot.host.state import seal
from netboot.roots.library import DEFAULT_FOLDER, Library, Version
from netboot.roots.uses import USES_FILE, VERSION
from tests.roots.test_library import NEW, OLD, add


@pytest.fixture
def library(tmp_path: Path) -> Library:
    made = Library(tmp_path / "roots")
    add(made, replace(OLD, packages={"surf": "2.0", "vim": "9"}))
    add(made, replace(NEW, packages={"surf": "2.1", "ed": "1"}, definition={"screen": "kiosk"}))
    return made


def netboot(library: Library, *words: str) -> str:
    done = CliRunner().invoke(app, [*words, "--roots", str(library.folder)])
    if done.exception is not None:
        raise done.exception
    return done.stdout


def uses(library: Library, **seats: list[str]) -> None:
    rows = {
        seat: {"short": short, "label": short, "seen": 1.0}
        for short, names in seats.items()
        for seat in names
    }
    record = seal({"version": VERSION, "seats": rows})
    (library.folder.parent / USES_FILE).write_text(record)


def label(version: Version | None) -> str:
    assert version is not None
    return version.label


def test_the_default_is_the_library_that_the_server_reads() -> None:
    assert DEFAULT_ROOTS == DEFAULT_FOLDER


def test_versions_are_listed_with_the_current_one_marked(library: Library) -> None:
    uses(library, **{OLD.short: ["pc-1", "pc-2"]})
    lines = netboot(library, "list").splitlines()
    assert lines[1].split() == ["*", f"kiosk@{NEW.stamp}", "0.0", "MB", "6.1.0-56", "-", "0"]
    assert lines[2].split()[-1] == "2"
    found = json.loads(netboot(library, "list", "--json"))
    assert [(each["current"], each["seats"]) for each in found] == [
        (True, []),
        (False, ["pc-1", "pc-2"]),
    ]


def test_a_library_without_images_says_how_to_make_one(tmp_path: Path) -> None:
    assert "sudo netboot image build kiosk" in netboot(Library(tmp_path), "list")
    assert json.loads(netboot(Library(tmp_path), "list", "--json")) == []


def test_inspect_tells_what_differs_from_the_version_before(library: Library) -> None:
    text = netboot(library, "inspect", "kiosk")
    assert (
        f"packages that differ from kiosk@{OLD.stamp}:\n  + ed 1\n  surf 2.0 -> 2.1\n  - vim 9"
        in text
    )
    assert "seats now:     unknown" in text and "screen:      kiosk" in text
    assert netboot(library, "inspect", "kiosk", "--packages") == "ed 1\nsurf 2.1\n"
    assert json.loads(netboot(library, "inspect", "kiosk", "--json"))["digest"] == NEW.digest


def test_another_version_is_used_and_named_in_full(library: Library) -> None:
    assert "the next boots get it" in netboot(library, "use", "kiosk@aaaa")
    assert label(library.current("kiosk")) == f"kiosk@{OLD.stamp}"
    with pytest.raises(OperatorError, match="kiosk: a version is missing"):
        netboot(library, "use", "kiosk")


def test_prune_keeps_what_seats_run_and_what_may_run(library: Library) -> None:
    with pytest.raises(OperatorError, match="no server has told yet"):
        netboot(library, "prune")
    uses(library, **{OLD.short: ["pc-1"]})
    assert netboot(library, "prune") == "nothing to remove\n"
    uses(library)
    assert netboot(library, "prune", "kiosk") == f"removed: kiosk@{OLD.stamp}\n"
    assert [version.label for version in library.versions("kiosk")] == [f"kiosk@{NEW.stamp}"]


def test_force_removes_what_may_run_but_not_what_does(library: Library) -> None:
    assert netboot(library, "prune", "--force") == f"removed: kiosk@{OLD.stamp}\n"


def test_an_imported_image_cannot_be_updated(library: Library) -> None:
    library.use(library.find("kiosk@aaaa"))
    with pytest.raises(OperatorError, match="no definition that this release can build"):
        netboot(library, "update", "kiosk")
    with pytest.raises(OperatorError, match="was built here"):
        netboot(library, "update")


def test_a_definition_is_a_name_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "OWN_DEFINITIONS", tmp_path)
    assert find_definition("kiosk").parts[-2:] == ("images", "kiosk.yaml")
    (tmp_path / "kiosk.yaml").touch()
    assert find_definition("kiosk") == tmp_path / "kiosk.yaml"
    assert find_definition("room.yaml") == Path("room.yaml")
    with pytest.raises(OperatorError, match="no definition 'kisok'") as caught:
        find_definition("kisok")
    assert caught.value.hint == "did you mean 'kiosk'?"


def test_the_words_of_a_definition_are_shown(library: Library) -> None:
    made = replace(NEW, definition={"hardware": [], "files": {"/etc/motd": "/srv/motd"}})
    version = Version(library.folder / "kiosk", made)
    text = image_lines.details(version, None, current=False, uses={})
    assert "  hardware:    none" in text and "/etc/motd from /srv/motd" in text
