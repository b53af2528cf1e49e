"""Words of an operator and of old PCs: the CSV, ``-H``, the hardware script, efibootmgr.

The first byte of an input selects the parser. Only OperatorError leaves.
"""

import re
from collections.abc import Callable

from netboot.deploy import bootorder, hardware, roster
from netboot.errors import OperatorError

MAC = "52:54:00:12:34:56"
MOST_CHARACTERS = 800  # of one mistake: 60 of a cell may be escaped, 10 for each
IMAGES = {"amd64": ("e1000", "r8169"), "i386": ("e1000",)}


def one_input(data: bytes) -> None:
    """Run one input."""
    if not data:
        return
    parser = PARSERS[data[0] % len(PARSERS)]
    try:
        parser(data[1:].decode("utf-8", "replace"))
    except OperatorError as error:
        for line in str(error).split("\n"):
            assert line.isprintable() and len(line) <= MOST_CHARACTERS, line


def _csv(text: str) -> None:
    for host in roster.from_csv(text, "room.csv"):
        assert (host.seat + host.address + host.mac).isascii()
        assert re.fullmatch(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}|", host.mac)
        row = f"seat,mac,address\n{host.seat},{host.mac},{host.address}\n"
        assert roster.from_csv(row, "room.csv") == [host]


def _words(text: str) -> None:
    for host in roster.from_words(text):
        assert host.address and not re.search(r"\s", host.user + host.address)


def _hardware(text: str) -> None:
    found = hardware.parse(text)
    words = [str(found), found.hostname, found.firmware, *found.drivers]
    for word in [*words, *hardware.problems(found, IMAGES)]:
        assert word.isprintable() and len(word) <= MOST_CHARACTERS, word


def _boot_order(text: str) -> None:
    variables = bootorder.parse_efibootmgr(text)
    for once in (False, True):
        for command in bootorder.efi_commands(variables, MAC, once=once):
            assert re.fullmatch(r"efibootmgr --quiet --boot(?:next|order) [0-9A-F,]+", command)
    for command in bootorder.efi_restore(variables, MAC, "0001,0002"):
        assert re.fullmatch(r"efibootmgr --quiet --[a-z-]+(?: [0-9A-F,]+)?", command)


def _grub(text: str) -> None:
    custom = bootorder.grub_entry(text, once=False)
    again = bootorder.grub_entry(custom, once=False)
    assert again == custom, "an entry is replaced, not repeated"


PARSERS: tuple[Callable[[str], None], ...] = (_csv, _words, _hardware, _boot_order, _grub)
