"""The JSON Schema that editors use for definitions, and ``netboot image build``, accept the same files."""

import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from netboot.errors import OperatorError
from netboot.roots import definition
from netboot.roots.definition import Definition, schema
from tests import ROOT
from tests.profile import yaml12

SCHEMA = Draft202012Validator(schema())
SHIPPED = sorted((ROOT / "profiles/images").glob("*.yaml"))

# Spellings of values, right and wrong, of each key.
SPELLINGS = {
    "name": ("kiosk", "room-12", "a.b_c", "Kiosk", "-a", "../etc", "a" * 40, "a" * 41, "", "[a]"),
    "base": ("bookworm", "trixie", "Trixie", "sid", "12", "", "[trixie]"),
    "architecture": ("amd64", "i386", "arm64", "x86_64", "AMD64", "", "[amd64]"),
    "kernel": ("linux-image-amd64", "/boot/vmlinuz", "linux-image-6.1.0-56-rt-amd64", "X", "", "a"),
    "screen": ("kiosk", "desktop", "thin", "none", "kisok", "Kiosk", "", "[none]"),
    "desktop": ("icewm", "xfce", "gnome", "", "[icewm]"),
    "browser": ("netsurf", "surf", "firefox-esr", "chromium", "none", "firefox", "", "1"),
    "packages": (
        *("[vim, ed]", "vim", "'vim, ed'", "[]", "''", "vim=2:9.0-1", "[Vim]", "[-y]", "[a]", ""),
        *("'vim,'", "{a: b}", "[[vim]]", "g++", "a b"),
    ),
    "hardware": (
        *("[amd, intel]", "amd", "'amd, nvidia'", "[]", "[matrox]", "", "[amd, amd]"),
        *("'amd,amd'", "AMD", "broadcom", "[1]"),
    ),
    "locales": (
        *("de_DE.UTF-8", "[de_DE.UTF-8, ca_ES.UTF-8@valencia]", "de", "1", "d", "[de, de]", ""),
        *("'de_DE.UTF-8, fr_FR.UTF-8'", "de_DE UTF-8", "de-DE"),
    ),
    "documentation": ("yes", "No", "true", "off", "auto", "1", "", "[yes]"),
    "drop_drivers": ("[sound]", "'*wifi*, drivers/media'", "/lib", "[]", "a b", "", "net/[x]"),
    "keep_drivers": ("drivers/ata", "[drivers/ata]", "../x", "..", "'!x'"),
    "files": (
        *("{/etc/motd: motd}", "{/a: /b, /c: d e}", "{etc/motd: motd}", "{/: a}", "{/etc/../x: a}"),
        *("{/..: a}", "{/.: a}", "{/a/..: b}", "{/..a: b}", "{/./: b}", "{//a: b}", "{/a b: c}"),
        *(
            "{/a: }",
            "{/a: ''}",
            "{/a: [b]}",
            "{}",
            "",
            "[]",
            "motd",
            '{"/a\\tb": c}',
            '{/a: "b\\tc"}',
        ),
    ),
    "hooks": ("[./a, /b]", "./finish", "'./a, ./b'", "[]", "", "{a: b}", '"a\\tb"'),
    "format": ("erofs", "squashfs", "ext4", "EROFS", ""),
}
# Whole files: their shape, and rules over several keys.
FILES = (
    *("", "# nothing\n", "kiosk\n", "- screen\n", "{}\n", "[]\n", "1\n", "browsr: surf\n"),
    *("base: trixie\narchitecture: i386\n", "base: bookworm\narchitecture: i386\n"),
    *("base: trixie\narchitecture: arm64\n", "architecture: i386\n", "base:\narchitecture: i386\n"),
    *("screen: desktop\ndesktop: xfce\n", "screen: thin\ndesktop: xfce\n"),
    *("screen: thin\ndesktop: icewm\n", "desktop: xfce\nbase: trixie\nscreen: desktop\n"),
)
TEXTS = [f"{key}: {text}\n" for key, texts in SPELLINGS.items() for text in texts] + list(FILES)

# What no JSON Schema can tell.
EXCEPTIONS = {
    "white space inside quotes around a name of a table": ("architecture: ' i386 '",),
    "an editor sees a number, not how it is written": ("hooks: 12", "name: 12", "packages: 389"),
    "Unicode has more characters that do not print": ('files: {"/a\\u2028b": c}',),
    "YAML allows more than a definition": ("screen: kiosk\nscreen: kiosk", "screen: &a kiosk"),
}


def taken(text: str) -> bool:
    try:
        definition.parse(text, Path("/srv/room.yaml"))
    except OperatorError:
        return False
    return True


def underlined(text: str) -> list[str]:
    """Return what an editor complains of."""
    errors = SCHEMA.iter_errors(yaml12.load(text))
    return [f"{error.json_path}: {error.message[:200]}" for error in errors]


def test_each_key_has_spellings_of_both_kinds() -> None:
    assert SPELLINGS.keys() == Definition.model_fields.keys()
    for key, texts in SPELLINGS.items():
        # A key of the desktop kind needs the screen, which FILES has.
        right = [taken(f"{key}: {text}\n") for text in texts]
        assert any(right) and not all(right), key


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("text", TEXTS)
def test_build_and_schema_agree(text: str) -> None:
    try:
        said = underlined(text)
    except yaml.YAMLError:
        assert not taken(text)
        return
    assert taken(text) == (not said), said


@pytest.mark.parametrize("reason", EXCEPTIONS)
def test_what_a_schema_cannot_tell(reason: str) -> None:
    """An exception that is none any more leaves the list."""
    assert not [text for text in EXCEPTIONS[reason] if taken(text) != bool(underlined(text))]


def test_each_key_has_a_description() -> None:
    rows = schema()["properties"].items()
    assert [key for key, row in rows if not row.get("description", "").endswith(".")] == []


def test_the_schema_that_is_shipped_is_current() -> None:
    shipped = json.loads((ROOT / "profiles/images/image.schema.json").read_text())
    assert shipped == schema(), "run: netboot schema --image > profiles/images/image.schema.json"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_definition_names_its_schema_and_fits(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# yaml-language-server: $schema=image.schema.json\n")
    assert underlined(text) == []


def test_the_kiosk_shows_all_keys() -> None:
    text = (ROOT / "profiles/images/kiosk.yaml").read_text()
    lines = [line.removeprefix("# ") for line in text.splitlines()]
    shown = [
        key for key in Definition.model_fields for line in lines if line.startswith(f"{key}: ")
    ]
    assert shown == list(Definition.model_fields)
