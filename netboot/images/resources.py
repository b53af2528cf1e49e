"""Files that come with netboot but are no Python: the initramfs's sources, the example profiles.

In a checkout they are beside the package; a wheel puts them into PREFIX/share/netboot.
"""

import sysconfig
from pathlib import Path

import netboot
from netboot.errors import OperatorError


def folder(name: str) -> Path:
    """The folder ``initramfs`` or ``profiles``. Raises OperatorError if there is none."""
    checkout = Path(netboot.__file__).parent.parent / name
    installed = Path(sysconfig.get_path("data")) / "share/netboot" / name
    # A folder of that name beside an installed package would be somebody else's.
    for path in (checkout, installed):
        if path.is_dir() and (path is installed or (path.parent / "pyproject.toml").is_file()):
            return path
    raise OperatorError(
        f"there is no {installed}", hint="install netboot's wheel, or run it from a clone"
    )
