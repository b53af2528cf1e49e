"""The smallest RAM that a root image was tried with: noted after a lesson, told by ``inspect``."""

import contextlib

from netboot.lab.pictures import SHOWN
from netboot.lab.rig import STATE_FOLDER, Classroom
from netboot.roots.library import Library
from netboot.roots.manifest import has_screen
from netboot.roots.uses import read_uses


def note(classroom: Classroom) -> None:
    """Note the RAM of PCs that are done for the versions of root images that they run.

    A PC whose image has a screen must have shown its page. The server, which has ended, tells who
    runs what: so this must be inside ``network.run_isolated``. A library that cannot be written
    stays as it is.
    """
    library, uses = Library(classroom.lesson.roots), read_uses(STATE_FOLDER) or {}
    versions = [version for name in library.names() for version in library.versions(name)]
    for version in versions:
        runs = [classroom.seats.get(mac) for mac in uses.get(version.manifest.short, ())]
        wanted = SHOWN if has_screen(version.manifest) else "userland"
        if any(each and not each.failure and each.first(wanted) for each in runs):
            with contextlib.suppress(OSError):
                library.note_ram(version, classroom.lesson.memory)
