"""The exit status of the swap agent, from the enum of its source."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tools.reference.markdown import table

AGENT = Path(__file__).resolve().parents[2] / "initramfs" / "agent"

# Meaning, and what the initramfs does.
MEANINGS = {
    "OK": ("done", "goes on"),
    "NOT_ATTACHED": ("`agent status`: no swap is attached", ""),
    "USAGE": ("an argument is wrong", "fails the stage"),
    "CANNOT_CONNECT": ("no server answers, or it went away in the handshake", "tries again"),
    "REFUSED": ("the server refused, or it does not have the pages", "fails the stage"),
    "KERNEL_REFUSED": ("the kernel refused: netlink, the device, or swapon(2)", "fails the stage"),
    "BAD_PROTOCOL": ("the server does not speak NBD", "fails the stage"),
}


def codes() -> Mapping[str, int]:
    """Return the agent's exit codes by their name in C."""
    headers = "\n".join(path.read_text() for path in sorted(AGENT.glob("*.h")))
    enum = next(
        body for body in re.findall(r"enum[\s\w]*\{(.*?)\}", headers, re.DOTALL) if "USAGE" in body
    )
    return {name: int(value) for name, value in re.findall(r"\b([A-Z_]+) = (\d+)", enum)}


def _rows() -> Iterator[tuple[str, ...]]:
    for name, value in codes().items():
        yield str(value), f"`{name}`", *MEANINGS[name]


def _agent() -> str:
    return table(("Status", "Name in C", "Meaning", "The initramfs"), _rows())


BLOCKS: Mapping[str, Callable[[], str]] = {"agent": _agent}
