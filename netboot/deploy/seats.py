"""Add seats to the text of a profile and leave all other lines as they are. Pure."""

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from netboot.errors import OperatorError
from netboot.profile import reading, values
from netboot.profile.profile import Profile


@dataclass(frozen=True, slots=True)
class NewSeat:
    """A seat to add. ``remark`` describes the PC, and becomes a comment."""

    mac: str
    hostname: str
    address: str
    remark: str


def add(text: str, profile: Profile, seats: Sequence[NewSeat]) -> str:
    """Return ``text``, the file of ``profile``, with the ``seats`` that it lacks."""
    lines = []
    for seat in seats:
        if seat.mac in profile.clients:
            continue
        lines += [f"  {seat.mac}: # {seat.remark}", f"    hostname: {seat.hostname}"]
        if seat.address:
            lines.append(f"    address: {seat.address}")
    if not lines:
        return text
    block = "\n".join(lines) + "\n"
    section = _section(text)
    if section is not None:
        return f"{text[: section.end()].rstrip(chr(10))}\n{block}{text[section.end() :]}"
    return f"{text.rstrip(chr(10))}\n\nclients:\n{block}"


def _section(text: str) -> re.Match[str] | None:
    """Return the line `clients:` of a profile; None if it has none. Raises OperatorError."""
    section = re.search(r"^clients:[ \t]*(#.*)?$\n?", text, re.MULTILINE)
    other = re.search(r"^['\"]?clients['\"]?[ \t]*:.*$", text, re.MULTILINE)
    if section is None and other is not None:
        line = text.count("\n", 0, other.start()) + 1
        raise OperatorError(
            f"line {line}, key 'clients': seats cannot be added behind it on its line",
            hint="write each PC of 'clients' on a line of its own, without { and }",
        )
    return section


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
