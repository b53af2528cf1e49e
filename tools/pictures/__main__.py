"""Take the pictures of docs/tutorial with virtual PCs: ``python -m tools.pictures [NAME...]``.

It needs root and the root images ``kiosk`` and ``desktop``. Each scene boots one PC; its pictures
replace those in docs/tutorial. Look at each of them before you commit it.
"""

import argparse
import asyncio
import contextlib
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from bench import web
from netboot.cli.common import built
from netboot.errors import OperatorError
from netboot.lab import machine, network
from netboot.lab.pictures import SHOWN
from netboot.lab.rig import Classroom, Lesson, SeatReport
from netboot.lab.screen import Screen
from netboot.profile import file as profile_file

HERE = Path(__file__).parent
TUTORIAL = HERE.parent.parent / "docs/tutorial"
PROFILE = HERE.parent.parent / "profiles/lab.yaml"
BOOT_SECONDS = 900.0  # without KVM, on a busy machine
STILL_SECONDS = 120.0
AWAY_SECONDS = 60
LINUX_SECONDS = 1.5
REACTION_SECONDS = 30  # of a program whose pages are on swap
MENU, EDITOR = (24, 756), (125, 753)  # buttons of IceWM's panel, with 1024 x 768 pixels
SIZE = (1024, 768)


def tell(line: str) -> None:
    """Write a line of progress."""
    sys.stderr.write(f"{line}\n")


@dataclass(frozen=True, slots=True)
class Stage:
    """A classroom with one PC that is switched on."""

    room: Classroom
    report: SeatReport
    folder: Path

    @property
    def screen(self) -> Screen:
        """Return the PC's screen."""
        assert self.report.power is not None
        return self.report.power.screen

    async def until(self, stage: str, word: str = "") -> None:
        """Wait for a stage of the PC whose message has ``word``. Raises OperatorError if it does not come."""
        report = self.report

        def is_over() -> bool:
            return any(each.stage == stage and word in each.message for each in report.events)

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BOOT_SECONDS):
                while not is_over() and not self.room.server_failure:
                    if report.failure:
                        break
                    await asyncio.sleep(0.2)
        if not is_over():
            reason = self.room.server_failure or report.failure or f"not in {BOOT_SECONDS:.0f} s"
            raise OperatorError(f"{stage}: {reason}; console: {report.machine.console}")

    async def take(self, name: str, *, still: bool = True) -> None:
        """Write a picture: of a screen that does not change any more, if ``still``."""
        path = self.folder / f"{name}.png"
        if still:
            await self.screen.still_picture(path, STILL_SECONDS)
        else:
            await self.screen.picture(path)
        shutil.copyfile(path, TUTORIAL / path.name)
        tell(f"{TUTORIAL / path.name}: {path.stat().st_size} bytes")


async def _boot(stage: Stage) -> None:
    """Show iPXE when it has loaded all, before Linux writes over it."""
    await stage.until("http", "initramfs")
    await asyncio.sleep(LINUX_SECONDS)
    await stage.take("boot", still=False)


async def _kiosk(stage: Stage) -> None:
    """Show the page, and the page while the server is away."""
    await stage.until(SHOWN)
    await stage.take("kiosk")
    stage.room.kill_server()
    await asyncio.sleep(AWAY_SECONDS)
    await stage.take("away")


async def _school(stage: Stage) -> None:
    """Show a page of the school, on which a German keyboard has typed."""
    await stage.until(SHOWN)
    await stage.screen.still_picture(stage.folder / "before.png", STILL_SECONDS)
    await stage.screen.press("shift", "bracket_left")  # Ü, where a US keyboard has {
    await stage.screen.keys("bung")
    await asyncio.sleep(REACTION_SECONDS)
    await stage.take("school")


async def _desktop(stage: Stage) -> None:
    """Show the desktop with an editor and the menu."""
    await stage.until(SHOWN)
    await stage.screen.still_picture(stage.folder / "before.png", STILL_SECONDS)
    await stage.screen.click(*EDITOR, SIZE)
    await asyncio.sleep(REACTION_SECONDS)
    await stage.screen.still_picture(stage.folder / "editor.png", STILL_SECONDS)
    await stage.screen.keys("Hallo! Dieser PC hat keine Festplatte.")
    await asyncio.sleep(REACTION_SECONDS)
    await stage.screen.click(*MENU, SIZE)
    await asyncio.sleep(REACTION_SECONDS)
    await stage.take("desktop")


@dataclass(frozen=True, slots=True)
class Scene:
    """The pictures of one PC of 256 MB: with settings of a profile, and a root image if it has one."""

    play: Callable[[Stage], Awaitable[None]]
    image: str = ""
    settings: tuple[str, ...] = ()


_GERMAN = ("seat.keyboard=de", "seat.locale=de_DE.UTF-8", "seat.timezone=Europe/Berlin")
SCENES = {
    "boot": Scene(_boot),
    "kiosk": Scene(_kiosk, "kiosk"),
    "school": Scene(
        _school, "kiosk", (*_GERMAN, f"seat.url=http://{network.SERVER.ip}:{web.PORT}/")
    ),
    "desktop": Scene(_desktop, "desktop", _GERMAN),
}


async def _play(scene: Scene, images: Path, arguments: str, folder: Path) -> None:
    root = ("root.kind=image", f"root.image={scene.image}") if scene.image else ()
    lesson = Lesson(
        PROFILE,
        images,
        folder,
        screen=True,
        arguments=arguments,
        settings=(*root, *scene.settings),
    )
    room = Classroom(lesson)
    async with room.open():
        await room.power_on()
        (report,) = room.seats.values()
        if report.power is None:
            raise OperatorError(room.server_failure)
        await scene.play(Stage(room, report, folder))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.pictures", description=__doc__)
    parser.add_argument("scenes", nargs="*", metavar="NAME", help=f"of {', '.join(SCENES)}")
    names = parser.parse_args().scenes or list(SCENES)
    if unknown := sorted({*names} - {*SCENES}):
        parser.error(f"expected {', '.join(SCENES)}, found {', '.join(unknown)}")
    network.check_root()
    machine.check_programs(["bios"])
    folder = Path(tempfile.mkdtemp(prefix="netboot-pictures-"))
    tell(f"logs: {folder}")
    profile = profile_file.load(PROFILE, [])
    images = built(profile, folder / "images")

    def play() -> int:
        with web.serve(HERE, folder / "page.log"):
            for name in names:
                (folder / name).mkdir()
                asyncio.run(_play(SCENES[name], images, profile.boot.arguments, folder / name))
        return 0

    network.run_isolated(play)


if __name__ == "__main__":
    try:
        main()
    except OperatorError as error:
        sys.exit(str(error))
