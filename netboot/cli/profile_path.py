"""The places in which a profile is looked for."""

import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from netboot.errors import OperatorError
from netboot.profile import reading

INSTALLED = Path("/etc/netboot")
USUAL = "profile.yaml"  # in INSTALLED
SHIPPED = "lab.yaml"  # among netboot's own profiles
VARIABLE = "NETBOOT_PROFILE"


@cache  # one line for each name, also if a command asks again
def find_profile(name: str = "") -> Path:
    """Return the file of the profile ``name``, of --profile or NETBOOT_PROFILE.

    Without a name it is that of this machine, else that which comes with netboot. Print its path if
    it is of another folder. Raises OperatorError.
    """
    from netboot.images import resources

    here = Path()
    if name:
        found = search(name, [here, INSTALLED, resources.folder("profiles")])
        told = "/" not in name and found.parent != here
    else:
        found, told = usual(INSTALLED / USUAL, resources.folder("profiles") / SHIPPED), True
    if told:
        print(f"netboot: profile {found}", file=sys.stderr)
    return found


def usual(*places: Path) -> Path:
    """Return the first of the files ``places`` that exists. Raises OperatorError."""
    for path in places:
        if os.path.lexists(path):  # one that is broken or unreadable is told, not passed over
            return path
    looked = ", ".join(["--profile", VARIABLE, *map(str, places[:-1])])
    raise OperatorError(
        f"there is no profile: looked at {looked} and {places[-1]}",
        hint="name one: --profile FILE",
    )


def search(name: str, folders: Sequence[Path]) -> Path:
    """Return the first file ``name`` in ``folders``. Return a name with a folder unchanged.

    Raises OperatorError.
    """
    if "/" in name:
        return Path(name)
    for folder in folders:
        if os.path.isfile(folder / name):  # Path.is_file raises for a folder that we may not read
            return folder / name
    known = {path.stem: path.name for folder in folders for path in folder.glob("*.yaml")}
    guess = known.get(reading.nearest(Path(name).stem, known))
    looked = reading.any_of({_called(folder): None for folder in folders})
    hint = f"; did you mean '{guess}'?" if guess else ""
    raise OperatorError(f"{name}: there is no such profile in {looked}{hint}")


def _called(folder: Path) -> str:
    return "the current folder" if folder == Path() else str(folder)
