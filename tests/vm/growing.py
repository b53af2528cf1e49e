"""A PC whose swap is too small for its load, and grows. The report is JSON.

Once the load has filled further areas, the server is killed and restarted, and each area must
reconnect. After the load the PC is watched until it has given back all further areas.
"""

import asyncio
import os
from pathlib import Path
from typing import Any

from netboot.images import build as images
from netboot.lab import network
from netboot.lab.rig import Lesson
from tests import ROOT
from tests.vm.watched import Watched, run

AREA_BYTES = 72 << 20
SETTINGS = (f"swap.size={AREA_BYTES}", "swap.grow=2", "swap.encrypt=yes", "swap.capacity=216MiB")
AWAY_SECONDS = 2.0


def stored_bytes() -> int:
    """Return the bytes of the page server's files, with deleted files that are still mapped."""
    found = os.statvfs(network.PRIVATE_TMPFS)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


async def lesson(folder: Path, image_folder: Path) -> dict[str, Any]:
    load = images.build_load_image(images.default_cache())
    pc = Watched(
        Lesson(
            ROOT / "profiles/lab.yaml",
            image_folder,
            folder,
            memory=128,
            arguments="netboot.load=1.5",  # not as a lesson's load, which switches the PC off
            settings=SETTINGS,
            initrds=(load,),
        )
    )
    classroom, stored = pc.classroom, {}
    async with classroom.open():
        await classroom.power_on()
        await pc.until("load:written")
        stored["full"] = stored_bytes()
        areas = 1 + pc.count("agent:grown")
        classroom.kill_server()
        await asyncio.sleep(AWAY_SECONDS)
        await classroom.start_server()
        await pc.until("agent:reattached", areas)
        await pc.until("load:verified")
        await pc.until("agent:returned", areas - 1)
        await pc.until_true(
            lambda: sum("given back" in event.message for event in pc.report.events) >= areas - 1
        )
        stored["empty"] = await emptied_bytes()
    return pc.told(stored=stored)


async def emptied_bytes() -> int:
    """Return ``stored_bytes`` once the workers know that the areas are given back, a moment later."""
    for _ in range(600):
        if stored_bytes() < AREA_BYTES:
            break
        await asyncio.sleep(0.1)
    return stored_bytes()


if __name__ == "__main__":
    run(lesson)
