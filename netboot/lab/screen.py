"""Screen, keyboard, mouse and power button of a virtual PC, by QEMU's machine protocol (QMP).

QEMU answers each command on the same socket, with the ``id`` of the command. Events stand between
the answers and are passed over.
"""

import asyncio
import json
import socket
import string
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from netboot.errors import AnswerError

ANSWER_SECONDS = 60.0  # an emulated PC on a busy machine takes seconds for a picture
SUFFIXES = (".png", ".ppm")
STILL_SECONDS = 30.0
PAUSE_SECONDS = 1.0  # QEMU tells no change of the picture
RECENT = 4  # pictures; the cursor of a text console blinks, so a picture has two states
HOLD_SECONDS = 0.02  # a key is down for so long, and QEMU then waits as long
# QEMU keeps 1024 steps of keys (ui/input.c) and drops later ones. A character takes at most 8.
PIECE = 64  # characters
LARGEST = 0x7FFF  # the position of the right and of the lower edge (qapi/ui.json)

_NAMED = {
    " ": "spc",
    "\n": "ret",
    "\t": "tab",
    "-": "minus",
    "=": "equal",
    "[": "bracket_left",
    "]": "bracket_right",
    ";": "semicolon",
    "'": "apostrophe",
    "`": "grave_accent",
    "\\": "backslash",
    ",": "comma",
    ".": "dot",
    "/": "slash",
}
_PLAIN = _NAMED | {letter: letter for letter in string.ascii_lowercase + string.digits}
# The characters of a US keyboard with Shift, and the same keys without it.
_WITH_SHIFT = '!@#$%^&*()_+{}:"~|<>?' + string.ascii_uppercase
_WITHOUT = "1234567890-=[];'`\\,./" + string.ascii_lowercase
_SHIFTED = {upper: _PLAIN[lower] for upper, lower in zip(_WITH_SHIFT, _WITHOUT, strict=True)}


class Screen:
    """The monitor, keyboard, mouse and power button of one PC that is switched on.

    ``connection`` leads to QEMU's monitor in control mode. All methods raise AnswerError if the PC
    is switched off, does not answer, or refuses a command.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._alone = asyncio.Lock()
        self._number = 0

    async def picture(self, path: Path) -> None:
        """Write what the screen shows to ``path``: a PNG, or a PPM if it ends so."""
        form = path.suffix.removeprefix(".")
        await self._tell("screendump", {"filename": str(path.absolute()), "format": form})

    async def still_picture(self, path: Path, seconds: float = STILL_SECONDS) -> bool:
        """Write pictures to ``path`` until one is like an earlier one; return whether it is.

        After ``seconds`` the last one stays.
        """
        recent: list[bytes] = []
        end = asyncio.get_running_loop().time() + seconds
        while True:
            await self.picture(path)
            content = path.read_bytes()
            if content in recent:
                return True
            if asyncio.get_running_loop().time() >= end:
                return False
            recent = [*recent[1 - RECENT :], content]
            await asyncio.sleep(PAUSE_SECONDS)

    async def keys(self, text: str) -> None:
        """Type ``text`` on a US keyboard. Raises ValueError for a character that it has not."""
        pressed = [keys_of(character) for character in text]
        for start in range(0, len(pressed), PIECE):
            piece = pressed[start : start + PIECE]
            for names in piece:
                await self.press(*names)
            await asyncio.sleep(2 * HOLD_SECONDS * sum(map(len, piece)))

    async def press(self, *names: str) -> None:
        """Press keys together, by QEMU's names: ``press("ctrl", "alt", "delete")``."""
        keys = [{"type": "qcode", "data": name} for name in names]
        await self._tell("send-key", {"keys": keys, "hold-time": int(HOLD_SECONDS * 1000)})

    async def click(self, x: int, y: int, size: tuple[int, int], button: str = "left") -> None:
        """Click on a pixel of a picture that has ``size`` (see ``size_of``)."""
        where = [
            {"type": "abs", "data": {"axis": axis, "value": at * LARGEST // max(length - 1, 1)}}
            for axis, at, length in zip("xy", (x, y), size, strict=True)
        ]
        await self._tell("input-send-event", {"events": where})
        for down in (True, False):
            event = {"type": "btn", "data": {"button": button, "down": down}}
            await self._tell("input-send-event", {"events": [event]})

    async def power_button(self) -> None:
        """Press the power button: the system is asked to switch off (ACPI)."""
        await self._tell("system_powerdown", {})

    def close(self) -> None:
        """Close the connection."""
        if self._streams is None:
            self._socket.close()
        else:
            self._streams[1].close()

    async def _tell(self, command: str, arguments: Mapping[str, Any]) -> None:
        async with self._alone:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    if self._streams is None:
                        self._streams = await asyncio.open_connection(sock=self._socket)
                        await self._exchange("qmp_capabilities", {})
                    answer = await self._exchange(command, arguments)
            except TimeoutError:
                problem = f"no answer from QEMU within {ANSWER_SECONDS:g} s"
                raise AnswerError(f"{command}: {problem}") from None
            except OSError:
                raise AnswerError(f"{command}: the PC is switched off") from None
        if "error" in answer:
            raise AnswerError(f"{command}: {answer['error'].get('desc', 'refused')}")

    async def _exchange(self, command: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Give a command and return its answer. Raises OSError if QEMU ends."""
        assert self._streams is not None
        reader, writer = self._streams
        self._number += 1
        question = {"execute": command, "arguments": arguments, "id": self._number}
        writer.write(json.dumps(question).encode() + b"\n")
        await writer.drain()
        while line := await reader.readline():
            answer: dict[str, Any] = json.loads(line)
            if answer.get("id") == self._number:
                return answer
        raise ConnectionResetError


def keys_of(character: str) -> tuple[str, ...]:
    """Return QEMU's names of the keys for a character. Raises ValueError if there are none."""
    if character in _PLAIN:
        return (_PLAIN[character],)
    if character in _SHIFTED:
        return ("shift", _SHIFTED[character])
    raise ValueError(f"no key for {character!r} on a US keyboard")


def size_of(path: Path) -> tuple[int, int]:
    """Return width and height of a picture in pixels, from its header. Raises ValueError."""
    with path.open("rb") as file:
        header = file.read(64)
    if header.startswith(b"\x89PNG\r\n\x1a\n") and len(header) >= 24:  # then IHDR
        width, height = struct.unpack_from(">II", header, 16)
        return width, height
    words = header.split(maxsplit=3)
    if len(words) == 4 and words[0] == b"P6":
        return int(words[1]), int(words[2])
    raise ValueError(f"{path} is neither a PNG nor a PPM")
