"""The session of Xfce: what rootfs/xfce/usr/lib/netboot/xfce writes for one monitor or two."""

import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests import ROOT

SCRIPT = ROOT / "rootfs/xfce/usr/lib/netboot/xfce"
SETTINGS = ".config/xfce4/xfconf/xfce-perchannel-xml"
SHIPPED = sorted((ROOT / "rootfs/xfce/etc/xdg/xfce4").rglob("*.xml"))
SCREENS = (
    "Screen 0: minimum 320 x 200\nVGA-1 connected primary 1024x768+0+0\nDVI-D-1 disconnected\n"
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return the home folder of a session that has begun."""
    for name, text in (("xrandr", f"printf '{SCREENS}'"), ("dbus-run-session", 'echo "$@"')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    applications = tmp_path / "applications"
    applications.mkdir()
    for name, icon in (("netsurf-gtk", "netsurf.png"), ("thunar", "org.xfce.thunar")):
        (applications / f"{name}.desktop").write_text(f"Name=x\nIcon={icon}\n")
    done = subprocess.run(
        ["sh", SCRIPT],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "applications": str(applications)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("xfce4-session\n", "")
    return tmp_path


def names(channel: ElementTree.Element) -> list[str]:
    return [each.get("name", "") for each in channel.iter("property")]


def test_each_monitor_that_is_there_has_the_colour(home: Path) -> None:
    found = names(ElementTree.parse(home / SETTINGS / "xfce4-desktop.xml").getroot())
    assert "monitorVGA-1" in found
    assert "monitorDVI-D-1" not in found


def test_each_plugin_of_the_panel_is_described(home: Path) -> None:
    panel = ElementTree.parse(home / SETTINGS / "xfce4-panel.xml").getroot()
    listed = panel.findall(".//property[@name='plugin-ids']/value")
    assert len(listed) == 7 + 2, "the image has two of the programs"
    for each in listed:
        assert f"plugin-{each.get('value')}" in names(panel)


def test_an_icon_has_a_name_that_xfce_finds(home: Path) -> None:
    own = home / ".local/share/applications"
    assert [path.name for path in own.iterdir()] == ["netsurf-gtk.desktop"]
    assert (own / "netsurf-gtk.desktop").read_text() == "Name=x\nIcon=netsurf\n"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_channel_has_the_name_of_its_file(path: Path) -> None:
    assert ElementTree.parse(path).getroot().get("name") == path.stem
