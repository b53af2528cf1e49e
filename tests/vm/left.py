"""An agent is killed and leaves its connections to the kernel; another one starts with its token.

So it is if an agent ends between the handshake and swapon. The report is JSON.
"""

from pathlib import Path
from typing import Any

from netboot.boot import cpio
from netboot.images import initramfs
from netboot.lab.rig import Lesson
from tests import ROOT
from tests.vm.watched import Watched, run

HOOK = Path(__file__).parent / "userland/left"


async def lesson(folder: Path, image_folder: Path) -> dict[str, Any]:
    hook = cpio.file("userland/etc/netboot.d/45-left", HOOK.read_bytes(), executable=True)
    (extra := folder / "left.img").write_bytes(initramfs.compressed(cpio.archive([hook])))
    pc = Watched(
        Lesson(ROOT / "profiles/lab.yaml", image_folder, folder, memory=128, initrds=(extra,))
    )
    async with pc.classroom.open():
        await pc.classroom.power_on()
        await pc.until("left:attached")
    return pc.told()


if __name__ == "__main__":
    run(lesson)
