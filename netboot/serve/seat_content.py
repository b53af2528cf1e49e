"""The files that a profile adds to a PC (`seat.files`): read from this machine, within bounds."""

import os
import stat
from collections.abc import Mapping

# All files of one PC: scripts, a picture. Programs belong into the image.
MOST_BYTES = 1 << 20


def read_files(wanted: Mapping[str, str]) -> tuple[dict[str, tuple[bytes, bool]], list[str]]:
    """Return the files by their place on the PC, and a line for each that cannot be sent.

    ``wanted`` are the paths here by place. A file is its content, and True for a program. Small
    enough to be read in the event loop.
    """
    found: dict[str, tuple[bytes, bool]] = {}
    refused, left = [], MOST_BYTES
    for place, path in wanted.items():
        try:
            found[place] = _read(path, left)
            left -= len(found[place][0])
        except OSError as error:
            refused.append(f"{path}: cannot be read: {error.strerror}; the PC gets no {place}")
        except ValueError as error:
            refused.append(f"{path}: {error}; the PC gets no {place}")
    return found, refused


def _read(path: str, most: int) -> tuple[bytes, bool]:
    # O_NONBLOCK: to open a named pipe would block until it has a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise ValueError("expected a file, found a folder or a device")
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"too large: all files of seat.files have at most {MOST_BYTES} bytes")
    return content, bool(mode & 0o100)
