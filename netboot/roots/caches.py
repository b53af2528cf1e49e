"""Caches of an image's files, made for the times that these files have in every build.

Without them each PC reads at each boot what they are made of: fontconfig read 22 fonts, 4 MB of the
image, before the first letter was drawn, and GTK looked into 100 folders of icons with 280 requests.
"""

from pathlib import Path

from netboot.roots import tidy
from netboot.roots.dressing import ENVIRONMENT
from netboot.roots.format import clamp_times
from netboot.roots.merging import merge_files
from netboot.roots.running import in_root

# Names of devices for people to read, 10 of the 13 MB of a table in which udev looks for each device.
NAMES_OF_DEVICES = ("usr/lib/udev/hwdb.d/20-*",)
HWDB = "usr/lib/udev/hwdb.bin"
FONTS = ("usr/share/fonts", "usr/local/share/fonts")
FONT_CACHES = ("var/cache/fontconfig/*",)


def renew_caches(root: Path) -> None:
    """Make the caches of fonts, icons and devices, and merge small files. Raises OperatorError, OSError."""
    merge_files(root)
    tidy.remove(root, FONT_CACHES)
    for folder in FONTS:
        if (root / folder).is_dir():
            clamp_times(root / folder)  # the cache has the time of the folder
    if (root / "usr/bin/fc-cache").exists():
        _run(root, ["fc-cache", "--system-only"], "the font cache cannot be made")
    if (root / "usr/bin/gtk-update-icon-cache").exists():
        for theme in sorted(root.glob("usr/share/icons/*/index.theme")):
            folder = f"/{theme.parent.relative_to(root)}"
            command = ["gtk-update-icon-cache", "--force", "--quiet", folder]
            _run(root, command, f"the cache of icons in {folder} cannot be made")
    tidy.remove(root, NAMES_OF_DEVICES)
    if (root / HWDB).exists():
        _run(root, ["systemd-hwdb", "update", "--usr"], "udev's table cannot be made")


def _run(root: Path, command: list[str], problem: str) -> None:
    in_root(root, command, problem=problem, env=ENVIRONMENT)
