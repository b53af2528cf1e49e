"""The folders in which a profile is looked for, if its name has no folder."""

import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from netboot.errors import OperatorError
from netboot.profile import reading

INSTALLED = Path("/etc/netboot")


@cache  # one line for each name, also if a command asks again
def find_profile(name: str) -> Path:
    """Return the file of the profile ``name``; print its path if it is of another folder.

    Raises OperatorError.
    """
    from netboot.images import resources

    here = Path()
    found = search(name, [here, INSTALLED, resources.folder("profiles")])
    if "/" not in name and found.parent != here:
        print(f"netboot: profile {found}", file=sys.stderr)
    return found


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
