"""Files that come with netboot but are not Python: initramfs sources, root images' files, profiles.

In a checkout they are beside the package; a wheel puts them into PREFIX/share/netboot.
"""

import sysconfig
from pathlib import Path

import netboot
from netboot.errors import OperatorError


def folder(name: str) -> Path:
    """Return ``initramfs``, ``profiles``, ``rootfs`` or ``tools``. Raises OperatorError if missing."""
    checkout = Path(netboot.__file__).parent.parent / name
    installed = Path(sysconfig.get_path("data")) / "share/netboot" / name
    # A folder of that name beside an installed package would belong to another program.
    for path in (checkout, installed):
        if path.is_dir() and (path is installed or (path.parent / "pyproject.toml").is_file()):
            return path
    raise OperatorError(
        f"the folder {installed} is missing",
        hint="install netboot's wheel, or run netboot from a clone",
    )
