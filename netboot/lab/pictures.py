"""Pictures of the screens of a classroom, taken when its PCs are done."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from netboot.errors import AnswerError
from netboot.host.files import replace_file, rewrite_file
from netboot.lab.rig import Classroom, SeatReport
from netboot.lab.screen import STILL_SECONDS, size_of

SHOWN = "screen:shown"  # the beacon of a root image: the program's window and its page are there

Tell = Callable[[SeatReport, str], None]


def paths(target: Path, count: int) -> list[Path]:
    """Return the file of each of ``count`` PCs: ``target``, or with several PCs FILE-1.png etc."""
    if count == 1:
        return [target]
    return [target.with_stem(f"{target.stem}-{number}") for number in range(1, count + 1)]


async def photograph(classroom: Classroom, target: Path, tell: Tell) -> None:
    """Run a lesson, then write pictures of all screens to ``paths``; reports have the result.

    A PC that failed gets a picture, too. ``tell`` gets a line for each picture.
    """
    reports = list(classroom.seats.values())
    async with classroom.open():
        await classroom.power_on()
        await classroom.wait()
        files = paths(target, len(reports))
        await asyncio.gather(
            *(
                _take(classroom, report, path, tell)
                for report, path in zip(reports, files, strict=True)
            )
        )


async def _take(classroom: Classroom, report: SeatReport, path: Path, tell: Tell) -> None:
    if report.power is None:
        report.doubt = "no picture: the PC was not switched on"
        return
    kept = classroom.lesson.folder / f"pc{report.machine.number}{path.suffix}"
    try:
        still = await report.power.screen.still_picture(kept)
        _publish(kept, path)
        width, height = size_of(path)
    except (AnswerError, OSError, ValueError) as error:
        report.doubt = f"no picture: {error}"
        tell(report, report.doubt)
        return
    report.picture = path
    if classroom.lesson.until == SHOWN and report.first(SHOWN) is None:
        report.doubt = f"the screen as it was at the end: {SHOWN} was not reported"
    elif not still:
        report.doubt = f"the screen still changed after {STILL_SECONDS:g} s"
    doubt = f"; {report.doubt}" if report.doubt else ""
    tell(report, f"{width} x {height} pixels, {path}{doubt}")


def _publish(source: Path, target: Path) -> None:
    """Give ``target`` the content of ``source``. A file that is there keeps its owner and mode."""
    content = source.read_bytes()
    if target.exists():
        rewrite_file(target, content)
    else:
        replace_file(target, content)
