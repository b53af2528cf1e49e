"""The text that the command prints, made of events, reports and manifests. Pure."""

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from netboot.boot.client import played_mac
from netboot.boot.events import BootEvent
from netboot.boot.plan import image_name
from netboot.boot.slices import Catalogue
from netboot.deploy.doctor import Finding
from netboot.lab.machine import console_tail
from netboot.lab.rig import Classroom, SeatReport
from netboot.lab.storm.play import Storm
from netboot.lab.storm.report import SHARES, Report
from netboot.lab.watch import Watched
from netboot.serve.dryrun import Rehearsal

CONSOLE_LINES = 25


class BuildProgress:
    """A progress display: the steps of a build, with a bar where the amount is known.

    Without a terminal each step is a line.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._progress.add_task("", total=None, visible=False)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def step(self, text: str) -> None:
        """Begin a step; ``text`` names it."""
        if not self._console.is_terminal:
            print(f"netboot: {text}", file=sys.stderr, flush=True)
        self._progress.reset(self._task, description=text, total=None, visible=True)

    def advance(self, done: int, total: int) -> None:
        """Report ``done`` of ``total`` of this step, in bytes or files."""
        self._progress.update(self._task, completed=done, total=total)


def timeline_line(report: SeatReport, event: BootEvent) -> str:
    """Return one event of a lab PC, with the seconds since its power-on."""
    return f"{report.seconds(event):8.2f} s  pc{report.machine.number:<3} {event.stage:<14} " + (
        event.message
    )


def picture_line(report: SeatReport, message: str) -> str:
    """Return the line of a picture of a lab PC's screen, like those of its events."""
    seconds = time.time() - report.powered_on
    return f"{seconds:8.2f} s  pc{report.machine.number:<3} {'screenshot':<14} {message}"


def manifest(folder: Path, content: dict[str, Any]) -> str:
    """Return a line for each file of a build, and one for all slices of the initramfs."""
    apart = {
        image_name(processor, file)
        for processor, part in content["processors"].items()
        for file in Catalogue.of(part).files()
    }
    lines = [
        f"{item['sha256'][:16]}  {item['size'] / 1e6:7.2f} MB  {folder / item['name']}"
        for item in content["files"]
        if item["name"] not in apart
    ]
    size = sum(item["size"] for item in content["files"] if item["name"] in apart) / 1e6
    lines.append(f"{len(apart)} slices  {size:7.2f} MB  for PCs whose network card is known")
    return "\n".join(lines)


def status(report: dict[str, Any]) -> str:
    """Return a line for each seat: the version of a root image that it runs, its last event, its age."""
    lines = []
    images = [str(seat.get("image", "")) for seat in report["seats"]]
    width = max(map(len, images), default=0)
    for seat, image in zip(report["seats"], images, strict=True):
        last = seat["events"][-1]
        ago = time.time() - last["when"]
        lines.append(
            f"{seat['mac']}  {seat['hostname']:<12} {f'{image:<{width}} ' if width else ''}"
            f"{last['stage']:<14} {ago:6.0f} s ago  "
            f"{last['message']}"
        )
    lines += kept_areas(report)
    if report.get("left_out"):
        lines.append(f"{report['left_out']} more, which the profile does not name")
    return "\n".join(lines) or "no seat has asked for anything yet"


def kept_areas(report: dict[str, Any]) -> list[str]:
    """Return a line for each PC that keeps files on the server."""
    return [
        f"{row['mac']}  keeps files: {row['used_bytes'] >> 20} of {row['size_bytes'] >> 20} MiB"
        for row in report.get("kept", [])
    ]


def kept(rows: list[dict[str, Any]], names: dict[str, str]) -> str:
    """Return a line for each PC that keeps files. ``names``: host names by MAC address."""
    lines = []
    for row in sorted(rows, key=lambda each: each["last_boot"] or 0):
        used, size = row["used_bytes"] >> 20, row["size_bytes"] >> 20
        date = time.strftime("%Y-%m-%d", time.localtime(row["last_boot"] or 0))
        last = (
            "on now" if row["in_use"] else f"last start {date if row['last_boot'] else 'unknown'}"
        )
        name = names.get(row["mac"], "")
        lines.append(f"{row['mac']}  {name:<12} {used:6} of {size:6} MiB  {last}")
    return "\n".join(lines)


def watched(seats: list[Watched], console: Path | None) -> str:
    """Return the result of each watched seat, and after a failure the end of ``console``."""
    lines = []
    for seat in seats:
        name = f"{seat.hostname or seat.mac}:"
        lines.append(f"{name} {seat.last()}" if seat.done else f"{name} FAILED, {seat.failure}")
        if not seat.done and console is not None:
            lines += _console(console)
    return "\n".join(lines)


def findings(all_findings: list[Finding]) -> str:
    """Return a line for each check of the doctor."""
    return "\n".join(
        f"{finding.interface:<10} {finding.check:<8} {finding.verdict:<7} "
        f"{finding.seconds:7.3f} s  {finding.detail}"
        for finding in all_findings
    )


def storm_begins(storm: Storm) -> str:
    """Return the lines that announce a storm."""
    first, last = played_mac(0), played_mac(storm.clients - 1)
    sources = (
        f"from {storm.sources[0]} to {storm.sources[-1]}, one for each PC"
        if storm.sources
        else "all from one, so the server's limits for one machine hold: --addresses gives them more"
    )
    return (
        f"netboot: {storm.clients} PCs ({storm.arch.name}) start within {storm.over:g} s on "
        f"{storm.interface.name} and ask {storm.server}\n"
        f"  MAC addresses {first} to {last[-5:]}; the storm lasts at most {storm.limit:g} s and "
        "gives all addresses and swap back\n"
        f"  IPv4 addresses: {sources}"
    )


def storm(wanted: Storm, report: Report) -> str:
    """Return a line for each stage of a storm, each reason of failure, and the sum."""
    titles = "".join(f"{title:>10}" for title, _ in SHARES)
    lines = [f"{'stage':<10}{'done':>6}{'failed':>8}{titles}{'MB':>10}"]
    for row in report.stages():
        times = "".join(f"{_duration(row[title]):>10}" for title, _ in SHARES)
        counts = f"{row['stage']:<10}{row['done']:>6}{row['failed']:>8}"
        lines.append(f"{counts}{times}{row['bytes'] / 1e6:>10.1f}")
    lines += [f"  {count} failed in {reason}" for reason, count in report.failures().items()]
    done = sum(1 for outcome in report.outcomes if not outcome.failure)
    rate = report.received / 1e6 / max(report.seconds, 1e-6)
    server = "unknown" if report.server_cpu is None else f"{report.server_cpu:.2f} s"
    lines.append(
        f"{done} of {wanted.clients} PCs done in {report.seconds:.2f} s: "
        f"{report.received / 1e6:.1f} MB, {rate:.1f} MB/s; CPU: the server's {server}, "
        f"this program's {report.own_cpu:.2f} s"
    )
    return "\n".join(lines)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def rehearsal(result: Rehearsal) -> str:
    """Return all answers of a dry run, in the order of a boot."""
    return "\n\n".join(f"== {title}\n{text.rstrip()}" for title, text in result.parts)


def lesson(classroom: Classroom) -> str:
    """Return the summary of a lab run, with the last console lines of each failed PC."""
    lines = [""]
    if classroom.server_failure:
        lines.append(classroom.server_failure)
    for report in classroom.seats.values():
        lines += _seat_summary(report)
    lines.append(f"consoles and logs: {classroom.lesson.folder}")
    return "\n".join(lines)


def _seat_summary(report: SeatReport) -> list[str]:
    name = f"pc{report.machine.number} ({report.machine.mac}, {report.machine.memory} MB)"
    lines = [f"{name}: {'FAILED, ' + report.failure if report.failure else 'done'}"]
    for stage, text in (
        ("swap", "power-on to swap attached"),
        ("userland", "power-on to userland"),
    ):
        event = report.first(stage)
        if event is not None:
            lines.append(f"  {text + ':':<28} {report.seconds(event):8.2f} s")
    lines.append(f"  {'files sent:':<28} {report.bytes_sent / 1e6:8.2f} MB")
    if report.picture is not None:
        lines.append(f"  {'picture of its screen:':<28} {report.picture}")
    if report.doubt:
        lines.append(f"  warning: {report.doubt}")
    verified = report.first("load:verified")
    if verified is not None:
        for key, text in (
            ("ram_pages", "RAM"),
            ("pages", "memory load"),
            ("pswpout", "swapped out"),
            ("pswpin", "swapped in"),
            ("wrong", "wrong pages"),
        ):
            lines.append(f"  {text + ':':<28} {verified.data.get(key, '?'):>8} pages")
    if report.failure:
        lines += _console(report.machine.console)
    return lines


def _console(path: Path) -> list[str]:
    tail = console_tail(path, CONSOLE_LINES)
    return [f"  last lines of its console ({path}):", *(f"    | {line}" for line in tail)]
