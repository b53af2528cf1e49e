"""The manifest of a build: the file that lists all others. Reads it for all who need it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True, slots=True)
class File:
    """A file of a build: its name relative to the folder, its size in bytes and its SHA-256."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of a manifest.

    ``processors`` has a description for each processor; None if the folder is not one of a build.
    """

    files: tuple[File, ...]
    processors: Mapping[str, Any] | None


def read(path: Path) -> Manifest:
    """Return the manifest in the file ``path``. Raises OSError, or ValueError if it is none."""
    content = json.loads(path.read_text())
    try:
        files = tuple(File(row["name"], row["size"], row["sha256"]) for row in content["files"])
        processors = content.get("processors")
        names = None if processors is None else {**processors}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a manifest: {error!r}") from None
    for file in files:
        _check(file)
    return Manifest(files, names)


def _check(file: Any) -> None:
    """Check a row, whose values may be of any type. Raises ValueError."""
    if not (isinstance(file.name, str) and _is_inside(file.name)):
        raise ValueError(f"{file.name!r} is no file of the folder")
    if type(file.size) is not int or not isinstance(file.sha256, str):
        raise ValueError(f"{file.name}: no size, or no sum")


def _is_inside(name: str) -> bool:
    """Return whether ``name`` is the name of a file below its folder."""
    path = PurePosixPath(name)
    return (
        bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name
    )
