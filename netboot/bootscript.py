"""Reads the iPXE scripts that a server sends: what a PC would fetch, wait for, and be told. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from netboot.errors import AnswerError


@dataclass(frozen=True, slots=True)
class Chain:
    """A script that leads to another one, at ``url``, ``wait`` seconds later."""

    url: str
    wait: int = 0


@dataclass(frozen=True, slots=True)
class Boot:
    """A script that loads ``files`` (URLs, the kernel's first) and starts Linux with ``arguments``:
    those with a value, by name. Of several kernels it is the one for the best processor.
    """

    files: tuple[str, ...]
    arguments: Mapping[str, str]

    def page_server(self) -> tuple[str, int, str] | None:
        """Address, port and export of the swap of a PC; None if it has none. Of several servers
        the first. Raises AnswerError.
        """
        swap = self.arguments.get("netboot.swap")
        if swap is None:
            return None
        match = re.fullmatch(r"([0-9.]+)(?:,[0-9.,]+)?:([0-9]{1,5})/(\S+)", swap)
        if match is None:
            raise AnswerError(f"netboot.swap={swap}: expected ADDRESS:PORT/EXPORT")
        return match[1], int(match[2]), match[3]


def read(script: str) -> Chain | Boot:
    """What a script has a PC do. Raises AnswerError if it is none of ours."""
    first, _, _ = script.partition("\nboot ")
    files = re.findall(r"^(?:kernel|initrd) (http://\S+)", first, re.MULTILINE)
    if files:
        line = re.search(r"^kernel \S+ (.*)", first, re.MULTILINE)
        words = line[1].split() if line else []
        arguments = dict(word.split("=", 1) for word in words if "=" in word)
        return Boot(tuple(files), arguments)
    chained = re.search(r"^chain .*?(http://\S+)", script, re.MULTILINE)
    if chained is None:
        raise AnswerError("a script that neither boots nor leads to another one")
    # What is slept behind the chain is only for when that fails.
    wait = re.search(r"^sleep ([0-9]{1,4}) \|\|$", script[: chained.start()], re.MULTILINE)
    return Chain(chained[1], int(wait[1]) if wait else 0)
