"""Definitions of root images: defaults, and one line for each mistake."""

from pathlib import Path

import pytest

from netboot.errors import OperatorError
from netboot.roots import definition
from netboot.roots.definition import Definition

ROOM = Path("/srv/my/room.yaml")


def test_an_empty_file_is_a_definition() -> None:
    made = definition.parse("", ROOM)
    assert made == Definition(name="room")
    assert made.kernel_package == "linux-image-amd64"


def test_paths_are_relative_to_the_file() -> None:
    made = definition.parse(
        "name: other\nfiles: {/etc/motd: motd, /usr/share/x: /srv/x}\nhooks: ./finish\n", ROOM
    )
    assert made.name == "other"
    assert made.files == {"/etc/motd": "/srv/my/motd", "/usr/share/x": "/srv/x"}
    assert made.hooks == ("/srv/my/finish",)


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        (
            "screen: kisok",
            1,
            "key 'screen': expected kiosk, desktop, thin or none, found 'kisok'; did",
        ),
        ("\nbrowsr: surf", 2, "key 'browsr': unknown key; did you mean 'browser'?"),
        ("base: sid", 1, "key 'base': expected bookworm or trixie, found 'sid'"),
        ("packages: [vim, -y]", 1, "key 'packages.1': expected a Debian package such as"),
        (
            "files: {etc/motd: motd}",
            1,
            "key 'files.etc/motd': expected a path in the image such as",
        ),
        ("files: {/etc/../x: motd}", 1, "key 'files./etc/../x': expected a path in the image"),
        ("hardware: [amd, matrox]", 1, "key 'hardware.1': expected amd, intel, nvidia, realtek or"),
        ("name: ../etc", 1, "key 'name': expected a name such as kiosk or room-12, found '../etc'"),
        ("base: trixie\narchitecture: i386", 1, "key 'base': trixie has no kernel for i386"),
        ("kernel: /boot/vmlinuz", 1, "key 'kernel': expected a Debian package"),
        ("locales: [de, fr, de]", 1, "key 'locales': 'de' is there twice"),
        ("desktop: xfce", 1, "key 'desktop': xfce needs 'screen: desktop'"),
        ("name: Kiosk", 1, "key 'name': expected a name such as kiosk or room-12, found 'Kiosk'"),
        ("kiosk", 1, "expected keys such as 'screen:', found 'kiosk'"),
        ("format:", 1, "key 'format': expected erofs or squashfs, found nothing"),
    ],
)
def test_a_mistake_is_one_line(text: str, line: int, problem: str) -> None:
    with pytest.raises(OperatorError) as caught:
        definition.parse(text, ROOM)
    message = str(caught.value)
    assert message.startswith(f"{ROOM}:{line}: {problem}")
    assert "\n" not in message


def test_a_file_name_that_is_no_image_name_is_told() -> None:
    with pytest.raises(OperatorError, match="'My Room' cannot be an image's name"):
        definition.parse("", Path("/srv/My Room.yaml"))


def test_a_manifest_keeps_what_is_not_the_default() -> None:
    made = definition.parse("screen: none\npackages: vim\nfiles: {/a: b}", ROOM)
    kept = made.as_json()
    assert kept == {
        "name": "room",
        "screen": "none",
        "packages": ["vim"],
        "files": {"/a": "/srv/my/b"},
    }
    assert definition.stored(kept, "room@1") == made


@pytest.mark.parametrize("content", [{}, {"screen": "huge"}, {"colour": "blue"}])
def test_a_definition_of_another_release_is_told(content: dict[str, str]) -> None:
    with pytest.raises(OperatorError, match="no definition that this release can build"):
        definition.stored(content, "room@1")
