"""Add seats to the text of a profile and leave all other lines as they are. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

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
    section = re.search(r"^clients:[ \t]*(#.*)?$\n?", text, re.MULTILINE)
    if section is not None:
        return f"{text[: section.end()].rstrip(chr(10))}\n{block}{text[section.end() :]}"
    return f"{text.rstrip(chr(10))}\n\nclients:\n{block}"
