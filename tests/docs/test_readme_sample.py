"""README's sample of `make demo` has the shape of what the lab prints, made by the lab's own functions."""

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from netboot.boot.events import BootEvent
from netboot.boot.stages import BY_NAME
from netboot.cli import show
from netboot.lab.machine import Machine
from netboot.lab.rig import Classroom, SeatReport
from tests import ROOT
from tests.docs.pages import blocks

LEFT_OUT = re.compile(r"\s*(\.\.\.|…)")
TIMELINE = re.compile(
    r" *(?P<seconds>[0-9.]+) s  pc(?P<number>\d+) +(?P<stage>\S+) +(?P<message>.+)"
)
HEADING = re.compile(r"pc(?P<number>\d+) \((?P<mac>[0-9a-f:]{17}), (?P<memory>\d+) MB\): done")
FIGURE = re.compile(r"  (?P<title>[\w -]+):\s+(?P<value>[0-9.]+) (?P<unit>s|MB|pages)")
LOGS = re.compile(r"consoles and logs: (?P<folder>/\S+)")

ADDRESS, ARCH = r"10\.77\.0\.\d+", "(bios|uefi-x64)"
FILE = r"((amd64/(vmlinuz|initramfs[\w-]*\.img))|load\.img)"
# What each of these stages says, as the code that reports it makes it.
MESSAGES = {
    "dhcp": rf"(DISCOVER|REQUEST) from \w+ {ARCH}|(OFFER|ACK) {ADDRESS}, boot file {ARCH}\.ipxe",
    "tftp": rf"{ARCH}\.ipxe \d+\.\d kB in \d+\.\d\d s",
    "http": rf"{ARCH}\.ipxe|{FILE} \d+\.\d MB in \d+\.\d\d s, \d+\.\d MB/s",
    "lease": r"swap of \d+ MiB granted",
    "pages:attach": rf"seat-[0-9a-f]{{12}} attached by {ADDRESS}, connection \d",
    "pages:first-write": "first page written",
    "agent:attached": rf"holds /dev/nbd0 of {ADDRESS}, \d connections",
    "kernel": "Linux starts",
    "init:start": r"\d+ MiB of RAM, Linux \S+",
    "init:hardware": r"eth0, driver \w+",
    "init:drivers": "nbd loaded",
    "init:zswap": r"\w+, at most \d+ % of RAM",
    "init:network": rf"eth0 \w+ up, {ADDRESS}/24, address from the boot loader",
    "init:lease": r"\d+ MiB of swap granted",
    "swap": r"/dev/nbd0, \d+ MiB, \d connections",
    "init:root": "ram, starting userland",
    "userland": r"\d+ MiB of RAM for programs, \d+ MiB of swap",
    "agent:examined": rf"swap attached for .*: /dev/nbd0, \d+ MiB of {ADDRESS}:10809",
    "load:start": r"2 times the RAM, \d+ MiB",
    "load:writing": r"\d+ %",
    "load:written": "everything written",
    "load:verifying": r"\d+ %",
    "load:round": "every page of a round verified",
    "load:verified": "every page verified",
}


def _sample(page: Path) -> list[str]:
    found = [lines for _, lines in blocks(page) if any(TIMELINE.fullmatch(line) for line in lines)]
    assert len(found) == 1, "README has one sample of make demo"
    return found[0]


SAMPLE = _sample(ROOT / "README.md")
SUMMARY = next(number for number, line in enumerate(SAMPLE) if HEADING.fullmatch(line))


def _report(number: int, memory: int, folder: Path) -> SeatReport:
    return SeatReport(Machine(number, "bios", memory, folder), done=True)


def _said(line: str) -> Iterator[str]:
    """Yield why the lab cannot print this line of the timeline."""
    match = TIMELINE.fullmatch(line)
    if match is None:
        yield "no line of a timeline"
        return
    event = BootEvent(float(match["seconds"]), "", match["stage"], match["message"])
    printed = show.timeline_line(_report(int(match["number"]), 256, ROOT), event)
    if printed != line:
        yield f"it would be {printed!r}"
    if event.stage not in BY_NAME:
        yield f"there is no stage {event.stage}"
    elif not re.fullmatch(MESSAGES[event.stage], event.message):
        yield f"{event.stage} does not say that"


@pytest.mark.parametrize("line", [line for line in SAMPLE[:SUMMARY] if line.strip()])
def test_timeline_is_what_the_lab_prints(line: str) -> None:
    assert LEFT_OUT.fullmatch(line) or list(_said(line)) == []


def test_summary_is_what_the_lab_prints() -> None:
    """The figures of the sample, put into a report, give the sample again."""
    heading, logs = HEADING.fullmatch(SAMPLE[SUMMARY]), LOGS.fullmatch(SAMPLE[-1])
    assert heading and logs
    figures = [match for line in SAMPLE[SUMMARY:] if (match := FIGURE.fullmatch(line))]
    value = {match["title"]: float(match["value"]) for match in figures}
    report = _report(int(heading["number"]), int(heading["memory"]), Path(logs["folder"]))
    load: dict[str, Any] = {
        "ram_pages": int(value["RAM"]),
        "pages": int(value["memory load"]),
        "pswpout": int(value["swapped out"]),
        "pswpin": int(value["swapped in"]),
        "wrong": int(value["wrong pages"]),
    }
    sent = {"bytes": round(value["files sent"] * 1e6)}
    report.events = [
        BootEvent(0, "", "http", "", sent),
        BootEvent(value["power-on to swap attached"], "", "swap", ""),
        BootEvent(value["power-on to userland"], "", "userland", ""),
        BootEvent(0, "", "load:verified", "", load),
    ]
    lesson = SimpleNamespace(folder=report.machine.folder)
    seats = {report.machine.mac: report}
    room = SimpleNamespace(server_failure="", seats=seats, lesson=lesson)
    printed = show.lesson(cast(Classroom, room)).splitlines()
    assert printed == ["", *SAMPLE[SUMMARY:]]
    assert SAMPLE[SUMMARY - 1] == ""


def test_figures_of_the_sample_agree() -> None:
    """Twice the RAM was loaded, and no page was wrong: or the sample is of no run."""
    text = "\n".join(SAMPLE)
    swap, userland = (
        re.search(rf"power-on to {what}: +([0-9.]+) s", text)
        for what in ("swap attached", "userland")
    )
    assert swap and userland
    assert re.search(rf" {swap[1]} s  pc1 +swap ", text)
    assert re.search(rf" {userland[1]} s  pc1 +userland ", text)


def test_lines_that_the_lab_cannot_print_are_found() -> None:
    stale = "    3.45 s  pc1   http           vmlinuz 8.2 MB in 0.14 s, 58.7 MB/s"
    assert list(_said(stale)) == ["http does not say that"]
    assert list(_said("   12.48 s  pc1   leese          swap of 510 MiB granted")) != []
    assert list(_said("   12.48 s pc1  lease          swap of 510 MiB granted")) != []
