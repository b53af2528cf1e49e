"""The ROM of a virtual PC's network card, with the iPXE of Debian's newest release.

QEMU has ROMs of its own, as old as the host's release. A room has cards with old and new ones.
"""

import hashlib
import shutil
from pathlib import Path

from netboot.images import packages
from netboot.images.cache import Cache
from netboot.images.part import Sources
from netboot.images.progress import Progress

PACKAGE = "ipxe-qemu"
# Debian 13's place of it, and Debian 12's.
PLACES = ("usr/share/qemu/pxe-e1000.rom", "usr/lib/ipxe/qemu/pxe-e1000.rom")
FILE = "e1000.rom"


def newest(cache: Path, progress: Progress) -> Path:
    """Return the path of the ROM of an e1000. Raises OperatorError."""
    store = Cache(cache)
    with store.alone(progress):
        sources = Sources(store, progress)
        apt = sources.newest or sources.host
        package = apt.need([PACKAGE])[PACKAGE]
        key = hashlib.sha256(f"{package.name} {package.version} {PLACES}".encode()).hexdigest()[:32]

        def make(folder: Path) -> None:
            with store.scratch() as scratch:
                packages.unpack(apt.download(package, scratch, progress), scratch)
                shutil.copyfile(packages.file_of(PACKAGE, scratch, *PLACES), folder / FILE)

        return store.folder("rom", key, make) / FILE
