"""One of two page servers in front of a Ceph pool is killed while its PCs swap."""

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path

from netboot.boot.events import BootEvent
from netboot.images import build as images
from netboot.lab import network
from netboot.lab.rig import Classroom, Lesson, SeatReport
from netboot.pages.stores.rbd import CONF_VARIABLE
from tests import ROOT
from tests.support.ceph import POOL, Cluster

PCS = (1, 2)
# The cluster is at an address of its own, which the bridge answers for.
CLUSTER = "10.77.0.200"
PAGE_SERVERS = [str(network.server_address(number).ip) for number in (2, 3)]
LOAD = 0.6  # of the RAM, as in room.py
BOOT_SECONDS, LOAD_SECONDS = 300.0, 200.0
SETTINGS = (
    f"swap.servers={','.join(PAGE_SERVERS)}",
    "swap.layout=any",
    f"swap.store=rbd:{POOL}",
    "swap.capacity=2GiB",
    "swap.size=1x",
)


async def hold(lesson: Lesson) -> Classroom:
    """Boot the PCs; kill the page server that has their pages when their loads run."""
    news = asyncio.Event()

    def heard(_seat: SeatReport, _event: BootEvent) -> None:
        news.set()

    room = Classroom(lesson, heard)
    async with room.open():
        async with asyncio.timeout(BOOT_SECONDS):
            await room.power_on(*PCS)
            while not all(seat.first("load:start") or seat.failure for seat in room.seats.values()):
                assert not room.server_failure, room.server_failure
                news.clear()
                await news.wait()
        room.kill_server(3)
        await room.wait()
    return room


def body() -> int:
    built, folder = map(Path, sys.argv[1:3])
    network.ip("address", "add", f"{CLUSTER}/32", "dev", "lo")
    lesson = Lesson(
        ROOT / "profiles/lab.yaml",
        built,
        folder,
        clients=len(PCS),
        memory=128,
        load=LOAD,
        timeout=LOAD_SECONDS,
        settings=SETTINGS,
        initrds=(images.build_load_image(images.default_cache()),),
        servers=3,
    )
    with contextlib.ExitStack() as stack:
        cluster = Cluster(folder / "ceph", CLUSTER)
        stack.callback(cluster.stop)
        os.environ[CONF_VARIABLE] = str(cluster.conf)
        room = asyncio.run(hold(lesson))
    found = []
    for report in room.seats.values():
        stages = {event.stage: event for event in report.events}
        verified, back = stages.get("load:verified"), stages.get("agent:reattached")
        found.append(
            {
                "failure": report.failure,
                "wrong": verified and verified.data["wrong"],
                "lost": "failed:swap" in stages,
                "back": back.message if back else "",
            }
        )
    sys.stdout.write(json.dumps(found) + "\n")
    return 0 if room.ok else 1


if __name__ == "__main__":
    network.run_isolated(body)
