"""Recipes of root images: rows, packages that exist, units, drivers."""

import shutil
import subprocess
from dataclasses import dataclass
from itertools import product
from pathlib import PurePosixPath
from typing import get_args

import pytest
import yaml

from netboot.roots import recipes, translations
from netboot.roots.definition import Definition
from netboot.roots.recipes import BROWSERS, DESKTOPS, FIRMWARE, SCREENS, recipe
from tests import ROOT

ROOTFS = ROOT / "rootfs"


@dataclass(frozen=True)
class Wanted:
    """A definition, as far as a recipe needs it."""

    screen: str = "kiosk"
    desktop: str = "icewm"
    browser: str = "netsurf"
    packages: tuple[str, ...] = ()
    hardware: tuple[str, ...] = ()
    locales: tuple[str, ...] = ()
    drop_drivers: tuple[str, ...] = ()
    keep_drivers: tuple[str, ...] = ()


@pytest.mark.parametrize("screen", SCREENS)
def test_each_screen_has_a_definition_that_is_shipped(screen: str) -> None:
    text = (ROOT / f"profiles/images/{screen}.yaml").read_text()
    assert yaml.safe_load(text)["screen"] == screen


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("desktop", DESKTOPS)
def test_each_tree_of_a_screen_is_a_folder(screen: str, desktop: str) -> None:
    for tree in recipe(Wanted(screen, desktop), "bookworm").trees:
        assert (ROOTFS / tree).is_dir()


def test_only_a_desktop_has_the_packages_and_trees_of_one() -> None:
    for name, row in DESKTOPS.items():
        found = {screen: recipe(Wanted(screen, name), "bookworm") for screen in SCREENS}
        having = {screen for screen, each in found.items() if set(row.packages) <= {*each.packages}}
        assert having == {"desktop"}
        assert not {*row.trees} & {*found["kiosk"].trees}
        assert {*row.trees} <= {*found["desktop"].trees}


def test_a_definition_may_have_each_row_of_the_tables() -> None:
    tables = {"screen": [*SCREENS], "desktop": [*DESKTOPS], "browser": [*BROWSERS]}
    for key, names in tables.items():
        assert {*get_args(Definition.model_fields[key].annotation)} == {*names}


def test_only_screens_with_a_browser_have_its_packages() -> None:
    packages = {screen: recipe(Wanted(screen), "bookworm").packages for screen in SCREENS}
    having = {screen for screen, names in packages.items() if "netsurf-gtk" in names}
    assert having == {"kiosk", "desktop"}


def test_a_word_of_hardware_is_a_package_and_two_may_be_one() -> None:
    wanted = Wanted(hardware=("intel", "nvidia", "realtek"))
    assert recipe(wanted, "bookworm").firmware == ("firmware-misc-nonfree", "firmware-realtek")
    assert len(recipe(wanted, "trixie").firmware) == 3


def test_the_rdp_viewer_has_another_name_in_trixie() -> None:
    assert "freerdp2-x11" in recipe(Wanted("thin"), "bookworm").packages
    assert "freerdp3-x11" in recipe(Wanted("thin"), "trixie").packages


def test_what_the_definition_adds_comes_last() -> None:
    wanted = Wanted(
        packages=("nano",),
        locales=("de_DE.UTF-8",),
        drop_drivers=("sound",),
        keep_drivers=("fs/xfs",),
    )
    found = recipe(wanted, "bookworm")
    assert found.packages[-2:] == ("locales", "nano")
    assert found.drop[-1] == "sound"
    assert found.keep[-1] == "fs/xfs"


def test_only_a_screen_starts_the_screen_and_hides_the_prompt() -> None:
    assert "netboot-screen.service" in recipe(Wanted(), "bookworm").enable
    assert "getty@tty1.service" in recipe(Wanted(), "bookworm").mask
    assert recipe(Wanted("none"), "bookworm").enable == ()
    assert "getty@tty1.service" not in recipe(Wanted("none"), "bookworm").mask


def test_units_that_are_enabled_are_shipped_or_of_a_package_in_the_image() -> None:
    own = {path.name for path in ROOTFS.rglob("*.service")}
    for screen in SCREENS:
        found = recipe(Wanted(screen), "bookworm")
        assert not set(found.enable) & set(found.mask)
        for unit in found.enable:
            assert unit in own or PurePosixPath(unit).stem in found.packages


def test_drivers_of_usb_sticks_are_in_each_image() -> None:
    assert not {"drivers/usb", "drivers/scsi", "fs/fat", "fs/exfat"} & set(recipes.NO_SEAT_HAS)


@pytest.mark.parametrize(
    ("locale", "package"),
    [
        ("de_DE.UTF-8", "de"),
        ("de_AT.UTF-8", "de"),
        ("pt_BR.UTF-8", "pt-br"),
        ("ca_ES.UTF-8@valencia", "ca-valencia"),
        ("nb_NO.UTF-8", "nb-no"),
        ("en_GB.UTF-8", ""),
        ("C.UTF-8", ""),
        ("yi_US.UTF-8", ""),
    ],
)
def test_firefox_speaks_the_languages_of_the_image(locale: str, package: str) -> None:
    found = recipe(Wanted(browser="firefox-esr", locales=(locale,)), "bookworm").packages
    translations = [name for name in found if name.startswith("firefox-esr-")]
    assert translations == ([f"firefox-esr-l10n-{package}"] if package else [])


def test_chromium_has_one_package_of_all_languages() -> None:
    found = recipe(Wanted(browser="chromium", locales=("de_DE", "fr_FR")), "bookworm").packages
    assert found.count("chromium-l10n") == 1


@pytest.mark.system
@pytest.mark.skipif(not shutil.which("apt-cache"), reason="needs apt")
def test_debian_12_has_all_packages_of_all_recipes() -> None:
    locales = tuple(name.replace("-", "_") for name in translations.FIREFOX)
    names = {
        name
        for screen, desktop, browser in product(SCREENS, DESKTOPS, BROWSERS)
        for name in recipe(Wanted(screen, desktop, browser, locales=locales), "bookworm").packages
    }
    known = _known(names)
    if "systemd-sysv" not in known:
        pytest.skip("apt knows no Debian mirror")
    assert names - known == set()


def test_firmware_of_both_releases_has_the_same_words() -> None:
    assert FIRMWARE.keys() == recipes.FIRMWARE_OF_TRIXIE.keys()


def _known(names: set[str]) -> set[str]:
    """Return the packages that apt can install here."""
    done = subprocess.run(
        ["apt-cache", "show", "--no-all-versions", *sorted(names)],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    return {line.removeprefix("Package: ") for line in lines if line.startswith("Package: ")}
