"""The recipe of a root image, from its definition: packages, file trees, units, firmware. Pure.

A kind of screen is one row of ``SCREENS``, a desktop one of ``DESKTOPS``, a browser one of ``BROWSERS``. The trees are folders
below ``rootfs/``; the engine copies them over the image's root in their order, with mode 0755 for
a file that begins with "#!" and 0644 for any other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from netboot.roots import translations

TRIXIE = "trixie"


class Wanted(Protocol):
    """The keys of a definition that a recipe needs (netboot.roots.definition.Definition)."""

    @property
    def screen(self) -> str: ...
    @property
    def desktop(self) -> str: ...
    @property
    def browser(self) -> str: ...
    @property
    def packages(self) -> Sequence[str]: ...
    @property
    def hardware(self) -> Sequence[str]: ...
    @property
    def locales(self) -> Sequence[str]: ...
    @property
    def drop_drivers(self) -> Sequence[str]: ...
    @property
    def keep_drivers(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Screen:
    """A kind of screen. ``browser``, ``desktop``: if it has one.

    ``renamed``: packages with other names in trixie.
    """

    packages: tuple[str, ...]
    trees: tuple[str, ...]
    enable: tuple[str, ...] = ()
    mask: tuple[str, ...] = ()
    browser: bool = False
    desktop: bool = False
    renamed: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Desktop:
    """A desktop: its packages, its trees beside those of all desktops, and its least RAM in MiB."""

    packages: tuple[str, ...]
    least_ram: int
    trees: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Browser:
    """A browser: its packages, and the least RAM in MiB that a PC with network swap needs for it.

    ``languages``: the packages of its translations, by the ends of their names; one that ends with
    nothing has all languages. No package of ``packages`` has any.
    """

    packages: tuple[str, ...]
    least_ram: int
    languages: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that the engine has to know, in the order of its use.

    ``packages``: of the component main, without the kernel. ``firmware``: packages of the component
    non-free-firmware. ``trees``: folders below rootfs/. ``enable``, ``mask``: units of systemd.
    ``drop``, ``keep``: patterns of kernel drivers, relative to the folder ``kernel`` of a release's modules;
    what ``keep`` names stays although ``drop`` names it too. ``light``: with stubs of heavy libraries.
    """

    packages: tuple[str, ...]
    firmware: tuple[str, ...]
    trees: tuple[str, ...]
    enable: tuple[str, ...]
    mask: tuple[str, ...]
    drop: tuple[str, ...]
    keep: tuple[str, ...]
    light: bool


# e2fsprogs makes the area of a PC that keeps files (root.persist).
BASE = (
    "systemd-sysv",
    "udev",
    "kmod",
    "dbus",
    "ca-certificates",
    "iproute2",
    "tzdata",
    "e2fsprogs",
)

# dzen2 draws messages: 140 KB, and no toolkit. x11-utils has xprop, which tells titles of windows.
DRAWING = (
    "xserver-xorg-core",
    "xserver-xorg-input-libinput",
    "xserver-xorg-video-fbdev",
    "x11-xserver-utils",
    "x11-xkb-utils",
    "x11-utils",
    "dzen2",
    "fonts-dejavu-core",
    "earlyoom",
    "alsa-utils",
)
# The login window of `seat.login: local`: 3 MB with what it needs beside GTK.
GREETER = ("lightdm", "lightdm-gtk-greeter")
ONE_WINDOW = ("matchbox-window-manager",)
# Files, an editor, USB sticks and printing: any desktop has these.
WORK = ("mousepad", "gvfs", "udisks2", "polkitd", "cups-client")

# Jobs for a system that stays: the image is read-only, and its changes are gone at the next boot.
LASTING = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "ldconfig.service",
    "logrotate.timer",
    "man-db.timer",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-journal-flush.service",
    "systemd-pstore.service",
    "systemd-random-seed.service",
    "systemd-update-done.service",
)
# Services that imported systems have, that cost RAM and that a seat has no use for.
COSTLY = (
    "ModemManager.service",
    "NetworkManager-wait-online.service",
    "PackageKit.service",
    "packagekit.service",
    "snapd.service",
    "snapd.socket",
    "systemd-networkd-wait-online.service",
    "systemd-oomd.service",
    "unattended-upgrades.service",
    "whoopsie.service",
)
# Programs that look for disks with systems, encryption and updates, at each start of systemd.
GENERATORS = (
    "systemd-cryptsetup-generator",
    "systemd-gpt-auto-generator",
    "systemd-hibernate-resume-generator",
    "systemd-integritysetup-generator",
    "systemd-system-update-generator",
    "systemd-veritysetup-generator",
)
# No account of the image has a password, so a login prompt is of no use.
# netboot-screen.service starts LightDM, and only for `seat.login: local`.
PROMPT = ("getty@tty1.service", "lightdm.service")
SHOWN = ("netboot-screen.service", "netboot-printers.service", "earlyoom.service")

SCREENS = {
    "kiosk": Screen(
        (*BASE, *DRAWING, *GREETER, *ONE_WINDOW),
        ("common", "screen"),
        SHOWN,
        PROMPT,
        browser=True,
    ),
    "desktop": Screen(
        (*BASE, *DRAWING, *GREETER, *WORK),
        ("common", "screen", "desktop"),
        SHOWN,
        PROMPT,
        browser=True,
        desktop=True,
    ),
    "thin": Screen(
        (*BASE, *DRAWING, *ONE_WINDOW, "tigervnc-viewer", "freerdp2-x11", "xterm"),
        ("common", "screen"),
        SHOWN,
        PROMPT,
        renamed={"freerdp2-x11": "freerdp3-x11"},
    ),
    "none": Screen(BASE, ("common",)),
}

DESKTOPS = {
    "icewm": Desktop(("icewm", "pcmanfm"), 256),
    "xfce": Desktop(
        # librsvg2-common: the panel's icons are SVGs.
        ("xfce4-session", "xfce4-panel", "xfdesktop4", "xfwm4", "thunar", "librsvg2-common"),
        512,
        ("xfce",),
    ),
}

BROWSERS = {
    "netsurf": Browser(("netsurf-gtk",), 128),
    "surf": Browser(("surf",), 256),
    "firefox-esr": Browser(
        ("firefox-esr",), 384, {name: f"firefox-esr-l10n-{name}" for name in translations.FIREFOX}
    ),
    "chromium": Browser(("chromium", "chromium-sandbox"), 512, {"": "chromium-l10n"}),
    "none": Browser((), 0),
}

FIRMWARE = {
    "amd": ("firmware-amd-graphics",),
    "broadcom": ("firmware-bnx2",),
    "intel": ("firmware-misc-nonfree",),
    "nvidia": ("firmware-misc-nonfree",),
    "realtek": ("firmware-realtek",),
}
FIRMWARE_OF_TRIXIE = {
    **FIRMWARE,
    "intel": ("firmware-intel-graphics",),
    "nvidia": ("firmware-nvidia-graphics",),
}

# The driver of the card that a PC boots from is loaded from the initramfs, and a PC's own disks
# are not to be touched by its users. USB sticks need drivers/scsi itself, webcams drivers/media/usb/uvc.
NO_SEAT_HAS = (
    "arch/x86/kvm",
    "drivers/ata",
    "drivers/iio",
    "drivers/infiniband",
    "drivers/isdn",
    "drivers/media/dvb-*",
    "drivers/media/firewire",
    "drivers/media/pci",
    "drivers/media/platform",
    "drivers/media/radio",
    "drivers/media/tuners",
    "drivers/media/usb",
    "drivers/mtd",
    "drivers/net/ethernet",
    "drivers/net/wireless",
    "drivers/nvme",
    "drivers/scsi/*/*",
    "drivers/staging",
    "drivers/target",
    "fs/afs",
    "fs/bcachefs",
    "fs/btrfs",
    "fs/ceph",
    "fs/coda",
    "fs/f2fs",
    "fs/gfs2",
    "fs/jffs2",
    "fs/jfs",
    "fs/nilfs2",
    "fs/ocfs2",
    "fs/orangefs",
    "fs/reiserfs",
    "fs/ubifs",
    "fs/xfs",
    "net/ceph",
    "net/dccp",
    "net/mac80211",
    "net/openvswitch",
    "net/rds",
    "net/sctp",
    "net/tipc",
    "net/wireless",
)
STAYS = ("drivers/media/usb/uvc",)


def recipe(definition: Wanted, base: str) -> Recipe:
    """Return what ``definition`` stands for in the release ``base``: bookworm or trixie."""
    screen = SCREENS[definition.screen]
    browser = BROWSERS[definition.browser if screen.browser else "none"]
    desktop = DESKTOPS[definition.desktop] if screen.desktop else Desktop((), 0)
    renamed = (screen.renamed or {}) if base == TRIXIE else {}
    packages = (*screen.packages, *desktop.packages, *browser.packages)
    packages += translations.packages(browser.languages, definition.locales)
    packages += ("locales",) if definition.locales else ()
    firmware = FIRMWARE_OF_TRIXIE if base == TRIXIE else FIRMWARE
    return Recipe(
        packages=_once(*(renamed.get(each, each) for each in packages), *definition.packages),
        firmware=_once(*(package for word in definition.hardware for package in firmware[word])),
        trees=(*screen.trees, *desktop.trees),
        enable=screen.enable,
        mask=_once(*LASTING, *COSTLY, *screen.mask),
        drop=_once(*NO_SEAT_HAS, *definition.drop_drivers),
        keep=_once(*STAYS, *definition.keep_drivers),
        light="screen" in screen.trees,
    )


def _once(*words: str) -> tuple[str, ...]:
    """Return the words in their order, each once."""
    return tuple(dict.fromkeys(words))
