"""Two PCs of one room with different root images: ``two_images IMAGES FOLDER ROOTS SCREEN PLAIN``.

PC 1 has the image SCREEN and shows its page, PC 2 has PLAIN. Pictures go to FOLDER; the report is JSON.
"""

import asyncio
import json
import sys
from pathlib import Path

from netboot.lab import network, tried
from netboot.lab.pictures import SHOWN
from netboot.lab.rig import STATE_FOLDER, Classroom, Lesson
from netboot.roots.uses import read_uses

SECONDS = 900
MEMORY = 192


async def lesson(room: Classroom) -> None:
    wanted = list(zip(room.seats.values(), (SHOWN, "userland"), strict=True))
    async with room.open(), asyncio.timeout(SECONDS):
        await room.power_on()
        while not all(seat.first(stage) for seat, stage in wanted):
            for seat, _ in wanted:
                assert not seat.failure, seat.failure
            assert not room.server_failure, room.server_failure
            await asyncio.sleep(0.2)
        for seat, _ in wanted:
            assert seat.power is not None
            path = room.lesson.folder / f"pc{seat.machine.number}.png"
            await seat.power.screen.still_picture(path)


def body() -> int:
    images, folder, roots = map(Path, sys.argv[1:4])
    screen, plain = sys.argv[4:]
    profile = folder / "room.yaml"
    profile.write_text(
        f"root: {{kind: image, image: {screen}}}\n"
        "clients:\n"
        f'  "52:54:00:77:00:02": {{root: {{image: {plain}}}}}\n'
    )
    wanted = Lesson(
        profile, images, folder, clients=2, memory=MEMORY, until=SHOWN, screen=True, roots=roots
    )
    room = Classroom(wanted)
    failure = ""
    try:
        asyncio.run(lesson(room))
    except (AssertionError, TimeoutError) as error:
        failure = f"{type(error).__name__} {error}".strip()
    tried.note(room)
    stages = [[event.stage for event in seat.events] for seat in room.seats.values()]
    report = {"failure": failure, "stages": stages, "uses": read_uses(STATE_FOLDER)}
    sys.stdout.write(json.dumps(report) + "\n")
    return 1 if failure else 0


if __name__ == "__main__":
    network.run_isolated(body)
