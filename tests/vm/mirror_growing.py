"""A PC whose swap is a mirror over two servers, and grows. The report is JSON.

Once the load is in both areas, the first server is killed. When it is back, both areas are copied to it. Then
the second one is killed, so that pages are read from the copies. The first one takes the PC's words: while it
is away, the last word of the load would stay in the PC. After the load the PC is watched until it has given
back the further area.
"""

import asyncio
from pathlib import Path
from typing import Any

from netboot.images import build as images
from netboot.lab import network
from netboot.lab.rig import Lesson
from tests import ROOT
from tests.vm.growing import AREA_BYTES, emptied_bytes, stored_bytes
from tests.vm.watched import Watched, run

LOAD = 1.0  # times the RAM: fills the first area and half of the second one
SETTINGS = (
    *(f"swap.size={AREA_BYTES}", "swap.grow=1", "swap.capacity=144MiB"),
    *(network.servers_setting(2), "swap.layout=mirror"),
)
AWAY_SECONDS = 4.0  # more than swap.timeout, so that the mirrors go on without it


async def lesson(folder: Path, image_folder: Path) -> dict[str, Any]:
    pc = Watched(
        Lesson(
            ROOT / "profiles/lab.yaml",
            image_folder,
            folder,
            memory=128,
            arguments=f"netboot.load={LOAD}",  # does not switch the PC off
            settings=SETTINGS,
            initrds=(images.build_load_image(images.default_cache()),),
            servers=2,
        )
    )
    classroom, stored = pc.classroom, {}
    async with classroom.open():
        await classroom.power_on()
        await pc.until("load:written")
        stored["full"] = stored_bytes()
        areas = 1 + pc.count("agent:grown")
        classroom.kill_server(1)
        await asyncio.sleep(AWAY_SECONDS)
        await classroom.start_server(1)
        await pc.until("agent:resynced", areas)
        classroom.kill_server(2)
        await pc.until("agent:degraded", 2 * areas)
        await classroom.start_server(2)
        await pc.until("load:verified")
        await pc.until("agent:returned", areas - 1)
        stored["empty"] = await emptied_bytes()
    return pc.told(areas=areas, stored=stored)


if __name__ == "__main__":
    run(lesson)
