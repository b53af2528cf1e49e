"""Caches in root images agree with the times of the files that they were made of."""

import os
from pathlib import Path

from netboot.roots.caches import renew_caches
from netboot.roots.format import SOURCE_DATE_EPOCH


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("text")
    return path


def test_folders_of_fonts_have_the_time_that_they_have_in_the_image(tmp_path: Path) -> None:
    """The cache tells it, and fontconfig reads all fonts if it differs."""
    old, new = (write(tmp_path / f"usr/share/fonts/{name}/font.ttf").parent for name in ("a", "b"))
    os.utime(old, (1_600_000_000, 1_600_000_000))
    renew_caches(tmp_path)
    assert (old.stat().st_mtime, new.stat().st_mtime) == (1_600_000_000, SOURCE_DATE_EPOCH)


def test_a_system_without_fonts_icons_and_udev_has_no_caches(tmp_path: Path) -> None:
    write(tmp_path / "etc/hosts")
    write(tmp_path / "usr/share/icons/hicolor/index.theme")
    before = sorted(tmp_path.rglob("*"))
    renew_caches(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_names_of_devices_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "usr/lib/udev/hwdb.d"
    write(folder / "20-usb-vendor-model.hwdb")
    write(folder / "60-keyboard.hwdb")
    renew_caches(tmp_path)
    assert [path.name for path in folder.iterdir()] == ["60-keyboard.hwdb"]
