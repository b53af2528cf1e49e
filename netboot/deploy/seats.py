"""New seats written into a profile's text, which otherwise stays as its owner wrote it. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from netboot.profile.profile import Profile


@dataclass(frozen=True, slots=True)
class NewSeat:
    """``remark`` becomes a comment: what the PC is."""

    mac: str
    hostname: str
    address: str
    remark: str


def add(text: str, profile: Profile, seats: Sequence[NewSeat]) -> str:
    """``text``, the file of ``profile``, with those of ``seats`` that it does not have."""
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
