"""Signed loaders that the operator has: iPXE's own shim, and the iPXE that it starts. Pure.

The iPXE project's shim (https://github.com/ipxe/shim) finds the name of iPXE by its own: it leaves out
the part about the shim, so snponly-shim.efi starts snponly.efi beside it. iPXE then runs the script
autoexec.ipxe of the folder that it came from, which is made here.
"""

import re
from collections.abc import Collection

from netboot.boot.arch import GIVEN_FOLDER
from netboot.boot.ipxe import AUTOEXEC_FILE, render_any

AUTOEXEC = GIVEN_FOLDER + AUTOEXEC_FILE
FIRST = "snponly"  # of several: it uses the firmware's network driver
_SHIM = re.compile(r"([\w.]+)-shim(?:x64)?\.efi")


def shim_of(names: Collection[str]) -> str:
    """Return the shim among the files of a folder that has its iPXE beside it; empty if there is none.

    Of two for the same iPXE it is the one with x64 in its name: that of the shim's own releases, which
    the operator has added to those of iPXE's archive.
    """
    found = {match[1]: name for name in sorted(names) if (match := _SHIM.fullmatch(name))}
    whole = sorted(each for each in found if f"{each}.efi" in names)
    return found[FIRST if FIRST in whole else whole[0]] if whole else ""


def render_autoexec(base_url: str, other: str = "") -> str:
    """Return the script that iPXE finds beside itself. It asks by DHCP, as an iPXE without one does."""
    first, rest = render_any(base_url, other).split("\n", 1)
    return f"{first}\n:dhcp\ndhcp || goto dhcp\n{rest}"
