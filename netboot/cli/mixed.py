"""Refuse to run in a mixture with PyPI's `netboot`, another project whose package has our name.

Both are in one folder then, and the one that was installed later has overwritten files of the other
(`__init__.py`, `__main__.py`, the command). If that was ours, this module runs and sees the mixture;
if it was the other one, its own command runs.
"""

import os
import sys
from pathlib import Path

PACKAGE = "netboot"
REMEDY = (
    "pip uninstall netboot netboot-classroom, then install netboot-classroom alone, "
    "best with pipx in an environment of its own"
)


def refusal(package: Path) -> str:
    """Return the line that says what is mixed in the folder ``package``; an empty text if nothing is."""
    beside = package.parent
    others = [name for name in os.listdir(beside) if _is_metadata_of_other(name)]
    if others:
        return (
            f"{package}: files of two projects are mixed here: PyPI's 'netboot' "
            f"({min(others)}) is not netboot-classroom; {REMEDY}"
        )
    return ""


def _is_metadata_of_other(name: str) -> bool:
    """Return whether pip keeps its record of a distribution `netboot` in a folder of this name."""
    distribution, _, kind = name.partition("-")
    return distribution.lower() == PACKAGE and kind.endswith((".dist-info", ".egg-info"))


def refuse() -> None:
    """End the command with one line and status 2 if this package is mixed with the other one."""
    told = refusal(Path(__file__).parent.parent)
    if told:
        print(told, file=sys.stderr)
        sys.exit(2)
