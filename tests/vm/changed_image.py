"""A PC whose root image is changed on the server after the server has made its hash tree."""

import asyncio
import json
import shutil
import sys
from pathlib import Path

from netboot.lab import network
from netboot.lab.rig import Classroom, Lesson

BEHIND_THE_SUPERBLOCK = 1000  # in the first block; a PC mounts such an image without a complaint


def change(path: Path, place: int) -> None:
    """Change a bit of the byte at ``place`` of a file."""
    with path.open("r+b") as file:
        file.seek(place)
        before = file.read(1)
        file.seek(place)
        file.write(bytes([before[0] ^ 1]))


async def lesson(classroom: Classroom, image: Path) -> None:
    async with classroom.open():
        change(image, BEHIND_THE_SUPERBLOCK)
        await classroom.power_on()
        await classroom.wait()


def body() -> int:
    original, folder, built = map(Path, sys.argv[1:4])
    image, profile = folder / "root.squashfs", folder / "room.yaml"
    shutil.copyfile(original, image)
    profile.write_text(f"root: {{kind: nbd, image: {image}}}\nswap: {{size: 0}}\n")
    classroom = Classroom(Lesson(profile, built, folder, settings=tuple(sys.argv[4:])))
    asyncio.run(lesson(classroom, image))
    (report,) = classroom.seats.values()
    sys.stdout.write(json.dumps([[e.stage, e.message] for e in report.events]) + "\n")
    return 0 if classroom.ok else 1


if __name__ == "__main__":
    network.run_isolated(body)
