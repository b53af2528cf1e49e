"""The pages of seats that a stopped server leaves in the memory for the next one of its room."""

import shutil
from pathlib import Path

from netboot.pages.stores.folder import KEPT_PREFIX
from netboot.pages.stores.memory import TMPFS
from netboot.serve.room_pages import pages_name


def forget_pages(state: Path) -> None:
    """Remove what the server with this ``state`` folder, which has ended, keeps in /dev/shm."""
    shutil.rmtree(TMPFS / f"{KEPT_PREFIX}{pages_name(state)}", ignore_errors=True)
