"""Type into the shell of a PC of root kind ram: ``python -m tests.vm.typed PROFILE IMAGES FOLDER``.

It writes FOLDER/typed.png and prints the result as JSON.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from netboot.lab import network
from netboot.lab.rig import Classroom, Lesson

SENTENCE = "Somebody typed this at a diskless PC"


async def lesson(profile: Path, images: Path, folder: Path) -> dict[str, Any]:
    classroom = Classroom(Lesson(profile, images, folder, screen=True, timeout=240))
    (report,) = classroom.seats.values()
    async with classroom.open():
        await classroom.power_on()
        await classroom.wait()
        if report.power is None or not classroom.ok:
            return {"failure": classroom.server_failure or report.failure}
        screen = report.power.screen
        # The kernel tells late of USB devices, on the same screen.
        await screen.still_picture(folder / "booted.png")
        await screen.keys(f"dmesg -n 1; clear; echo '{SENTENCE}'\n")
        still = await screen.still_picture(folder / "typed.png")
    return {"failure": "" if still else "the screen did not rest"}


def main() -> int:
    profile, images, folder = map(Path, sys.argv[1:4])
    result = asyncio.run(lesson(profile, images, folder))
    sys.stdout.write(json.dumps(result) + "\n")
    return 1 if result["failure"] else 0


if __name__ == "__main__":
    network.run_isolated(main)
