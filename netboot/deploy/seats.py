"""Add seats to the text of a profile and leave all other lines as they are. Pure."""

import contextlib
import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from netboot.errors import OperatorError
from netboot.profile import document, reading, values
from netboot.profile.profile import Profile


@dataclass(frozen=True, slots=True)
class NewSeat:
    """A seat to add. ``remark`` describes the PC, and becomes a comment."""

    mac: str
    hostname: str
    address: str
    remark: str


ANY_SEAT = NewSeat("a-new-seat", "new", "", "")  # of no profile: its name is no MAC address
INDENTATION, ENDS = "  ", "\r\n"


def add(text: str, profile: Profile, seats: Sequence[NewSeat]) -> str:
    """Return ``text``, the file of ``profile``, with the ``seats`` that it lacks.

    They get the text's ends of lines, and the indentation of the seats that it has.
    """
    section = _section(text)
    pad = INDENTATION if section is None else _indentation(text[section.end() :])
    lines = []
    for seat in seats:
        if seat.mac in profile.clients:
            continue
        lines += [f"{pad}{seat.mac}: # {seat.remark}", f"{pad}{pad}hostname: {seat.hostname}"]
        if seat.address:
            lines.append(f"{pad}{pad}address: {seat.address}")
    if not lines:
        return text
    end = "\r\n" if "\r\n" in text else "\n"
    block = "".join(f"{line}{end}" for line in lines)
    if section is not None:
        return f"{text[: section.end()].rstrip(ENDS)}{end}{block}{text[section.end() :]}"
    return f"{text.rstrip(ENDS)}{end}{end}clients:{end}{block}"


def _section(text: str) -> re.Match[str] | None:
    """Return the line `clients:` of a profile; None if it has none. Raises OperatorError."""
    key = r"^\ufeff?(['\"]?)clients\1[ \t]*:"
    section = re.search(key + r"[ \t]*(#.*)?\r?$\n?", text, re.MULTILINE)
    other = re.search(key, text, re.MULTILINE)
    if section is None and other is not None:
        line = text.count("\n", 0, other.start()) + 1
        raise OperatorError(
            f"line {line}, key 'clients': seats cannot be added behind it on its line",
            hint="write each PC of 'clients' on a line of its own, without { and }",
        )
    return section


def _indentation(below: str) -> str:
    """Return the indentation of the first key in the text ``below`` a section's line."""
    first = re.search(r"^( *)[^\s#]", below, re.MULTILINE)
    return INDENTATION if first is None else first[1] or INDENTATION


def _check_form(text: str, profile: Profile) -> None:
    """Raise OperatorError if ``text`` is a profile, but no seat can join it in this way."""
    with contextlib.suppress(OperatorError):
        tree = document.read(add(text, profile, [ANY_SEAT]), "").tree
        if ANY_SEAT.mac in tree["clients"]:
            return
    raise OperatorError(
        "seats cannot be added to a profile in this form",
        hint="begin each outermost key, such as 'clients:', in the first column of a line of its own",
    )


def change(before: str, after: str, name: str) -> str:
    """Return what would change in the file ``name``, as diff(1) does; empty if nothing would."""
    return "".join(
        difflib.unified_diff(
            before.splitlines(keepends=True),
            after.splitlines(keepends=True),
            name,
            f"{name} (new)",
            n=1,
        )
    )


def check_hostname(name: str) -> None:
    """Raise OperatorError if ``name``, which a PC gave, is no host name."""
    try:
        values.HOSTNAME.parse(name)
    except reading.Unreadable:
        raise OperatorError(
            f"its host name {name!a} is none: letters, digits and hyphens; name it in a --csv"
        ) from None


def add_each(
    text: str, profile: Profile, seats: Sequence[NewSeat], check: Callable[[str], object]
) -> tuple[str, dict[NewSeat, str]]:
    """Return the text with the seats that it lacks, and the reason for each seat left out.

    ``check`` raises OperatorError for a text that is no profile. One wrong seat costs the others
    nothing.
    """
    _section(text)
    added = add(text, profile, seats)
    try:
        check(added)
    except OperatorError:
        pass
    else:
        return added, {}
    check(text)  # if the file itself is wrong, no seat is at fault
    _check_form(text, profile)
    good: list[NewSeat] = []
    refused: dict[NewSeat, str] = {}
    for seat in seats:
        try:
            check(add(text, profile, [*good, seat]))
        except OperatorError as error:
            # The line that the message names was never written.
            refused[seat] = re.sub(r"^.*?:\d+: ", "", str(error).partition("\n")[0])
        else:
            good.append(seat)
    return add(text, profile, good), refused
