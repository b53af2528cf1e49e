"""The screen of a virtual PC: what it tells QEMU, by a monitor that only pretends."""

import asyncio
import json
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from netboot.errors import AnswerError
from netboot.lab import screen
from netboot.lab.screen import Screen, keys_of, size_of

Answer = dict[str, Any]


class Monitor:
    """QEMU's side of the socket. It answers each command with ``answers``, else with success."""

    def __init__(self, connection: socket.socket) -> None:
        self.commands: list[tuple[str, Any]] = []
        self.answers: dict[str, Answer] = {}
        self.pictures: list[bytes] = []
        self._connection = connection

    async def run(self) -> None:
        reader, writer = await asyncio.open_connection(sock=self._connection)
        writer.write(b'{"QMP": {"version": {}, "capabilities": []}}\n')
        while line := await reader.readline():
            asked = json.loads(line)
            name, arguments = asked["execute"], asked["arguments"]
            self.commands.append((name, arguments))
            if name == "screendump" and self.pictures:
                Path(arguments["filename"]).write_bytes(self.pictures.pop(0))
            if name == "quit":
                break
            answer = self.answers.get(name, {"return": {}})
            writer.write(b'{"event": "NIC_RX_FILTER_CHANGED", "data": {}}\n')
            writer.write(json.dumps({**answer, "id": asked["id"]}).encode() + b"\n")
        writer.close()


def play(task: Callable[[Screen, Monitor], Coroutine[Any, Any, None]]) -> list[tuple[str, Any]]:
    """Run ``task`` beside a monitor; return the commands that came, without the greeting."""

    async def both() -> Monitor:
        ours, theirs = socket.socketpair()
        shown, monitor = Screen(ours), Monitor(theirs)
        running = asyncio.create_task(monitor.run())
        try:
            await task(shown, monitor)
        finally:
            shown.close()
            await running
        return monitor

    commands = asyncio.run(both()).commands
    assert commands[0] == ("qmp_capabilities", {})
    return commands[1:]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(screen, "HOLD_SECONDS", 0.0)


@pytest.mark.parametrize("suffix", ["png", "ppm"])
def test_the_name_decides_the_form_of_a_picture(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"page.{suffix}"
    assert play(lambda pc, _: pc.picture(path)) == [
        ("screendump", {"filename": str(path), "format": suffix})
    ]


def test_text_is_typed_key_by_key() -> None:
    commands = play(lambda pc, _: pc.keys('Ls "1|\n'))
    assert [[key["data"] for key in words["keys"]] for _, words in commands] == [
        ["shift", "l"],
        ["s"],
        ["spc"],
        ["shift", "apostrophe"],
        ["1"],
        ["shift", "backslash"],
        ["ret"],
    ]


def test_every_character_of_a_us_keyboard_has_a_key_of_its_own() -> None:
    printed = [chr(code) for code in range(ord(" "), 127)]
    assert len({keys_of(character) for character in printed}) == len(printed)
    for character in "ä\r\0":
        with pytest.raises(ValueError, match="no key for"):
            keys_of(character)


def test_nothing_is_typed_if_one_character_has_no_key() -> None:
    async def task(pc: Screen, _: Monitor) -> None:
        await pc.power_button()
        with pytest.raises(ValueError, match="no key for 'ß'"):
            await pc.keys("Straße")

    assert play(task) == [("system_powerdown", {})]


def test_a_click_is_a_place_then_a_button() -> None:
    commands = play(lambda pc, _: pc.click(1023, 0, (1024, 768)))
    events = [words["events"] for name, words in commands if name == "input-send-event"]
    assert [event["data"] for event in events[0]] == [
        {"axis": "x", "value": 0x7FFF},
        {"axis": "y", "value": 0},
    ]
    assert [events[1][0]["data"]["down"], events[2][0]["data"]["down"]] == [True, False]


def test_a_picture_is_still_when_it_has_been_the_same_twice(tmp_path: Path) -> None:
    async def task(pc: Screen, monitor: Monitor) -> None:
        monitor.pictures = [b"boot", b"cursor", b"no cursor", b"cursor", b"later"]
        assert await pc.still_picture(tmp_path / "p.png")
        assert (tmp_path / "p.png").read_bytes() == b"cursor"
        assert monitor.pictures == [b"later"]

    play(task)


def test_a_picture_that_never_rests_is_given_up(tmp_path: Path) -> None:
    async def task(pc: Screen, monitor: Monitor) -> None:
        monitor.pictures = [b"%d" % number for number in range(2)]
        assert not await pc.still_picture(tmp_path / "p.png", seconds=0)
        assert (tmp_path / "p.png").read_bytes() == b"0"

    play(task)


def test_a_refusal_of_qemu_is_one_line() -> None:
    async def task(pc: Screen, monitor: Monitor) -> None:
        monitor.answers["screendump"] = {"error": {"class": "GenericError", "desc": "no console"}}
        with pytest.raises(AnswerError, match=r"^screendump: no console$"):
            await pc.picture(Path("x.png"))

    play(task)


def test_a_pc_that_is_off_says_so() -> None:
    async def task(pc: Screen, _: Monitor) -> None:
        for _attempt in range(2):  # also when it was known before
            with pytest.raises(AnswerError, match="the PC is switched off"):
                await pc._tell("quit", {})

    play(task)


def test_an_answer_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "ANSWER_SECONDS", 0.05)

    async def body() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            shown = Screen(ours)
            with pytest.raises(AnswerError, match="no answer from QEMU within 0.05 s"):
                await shown.power_button()
            shown.close()

    asyncio.run(body())


def test_the_size_of_a_picture_is_read_from_its_header(tmp_path: Path) -> None:
    png, ppm = tmp_path / "a.png", tmp_path / "a.ppm"
    png.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\4\0\0\0\3\0\x08\2\0\0\0")
    ppm.write_bytes(b"P6\n640 480\n255\n" + bytes(12))
    assert (size_of(png), size_of(ppm)) == ((1024, 768), (640, 480))
    png.write_bytes(b"")
    with pytest.raises(ValueError, match="neither a PNG nor a PPM"):
        size_of(png)
