"""The words behind ``python -m`` of a server that tests and benchmarks start."""

import json
from collections.abc import Sequence
from pathlib import Path

# Without a panel beside the server: another process, at which nobody looks.
SERVE = ("netboot", "serve", "--json", "--set", "http.panel=off")

# The same program, which looks for a second server of its kind for longer than 0.5 s before it starts.
PATIENT = """from netboot.serve.dhcp import server
server.RIVAL_PATIENCE = 60.0
from netboot.__main__ import main
main()"""


def patient(command: Sequence[str | Path]) -> list[str | Path]:
    """Return a command that finds also a rival which a busy machine has answer late."""
    at = command.index("-m")
    return [*command[:at], "-c", PATIENT, *command[at + 2 :]]


def plain(errors: str) -> str:
    """Return what a command wrote to standard error, its error as without ``--json``."""
    before, _, last = errors.rstrip("\n").rpartition("\n")
    if not last.startswith('{"message"'):
        return errors
    error = json.loads(last)
    hint = f"  hint: {error['remedy']}\n" if error["remedy"] not in error["message"] else ""
    return f"{before}\n{error['message']}\n{hint}".lstrip("\n")
