"""``python -m tests.support.confined UNIT COMMAND...``: run a command under a unit's seccomp rules.

These are the rules that systemd makes of SystemCallFilter, RestrictAddressFamilies and
MemoryDenyWriteExecute, by the same library, without systemd as process 1.
"""

import ctypes
import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

# seccomp.h
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
EQUAL, MASKED_EQUAL = 4, 7
PROT_WRITE, PROT_EXEC = 2, 4


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


def settings(unit: str) -> dict[str, list[str]]:
    """Return the values of a unit's keys."""
    found: dict[str, list[str]] = {}
    for line in unit.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            found.setdefault(key, []).append(value)
    return found


def groups() -> dict[str, list[str]]:
    """Return systemd's groups of system calls."""
    command = ["systemd-analyze", "syscall-filter"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, list[str]] = {}
    members: list[str] = []
    for line in text.splitlines():
        word = line.strip()
        if line.startswith("@"):
            members = found[word] = []
        elif line.startswith(" ") and not word.startswith("#"):
            members.append(word)
    return found


def calls(values: Sequence[str]) -> dict[str, int | None]:
    """Return what SystemCallFilter lists: None is allowed, a number is that error."""
    known = groups()

    def flat(name: str) -> Iterator[str]:
        if name.startswith("@"):
            for member in known[name]:
                yield from flat(member)
        else:
            yield name

    chosen: dict[str, int | None] = dict.fromkeys(flat("@default"))
    for value in values:
        for word in value.removeprefix("~").split():
            name, _, number = word.partition(":")
            for call in flat(name):
                if number:
                    chosen[call] = int(number)
                elif value.startswith("~"):
                    chosen.pop(call, None)
                else:
                    chosen[call] = None
    return chosen


def confine(unit: Mapping[str, Sequence[str]]) -> None:
    """Give this thread the rules of ``unit`` for good. It must have no_new_privs."""
    library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ERRNO | errno.EPERM))

    def add(action: int, name: str, *comparisons: _Comparison) -> None:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:  # this processor has the call
            array = (_Comparison * len(comparisons))(*comparisons)
            words = (context, action, number, len(comparisons), array)
            assert library.seccomp_rule_add_array(*words) == 0, name

    restricted = {"socket", "mmap", "mprotect", "pkey_mprotect"}
    for name, number in calls(unit["SystemCallFilter"]).items():
        if name not in restricted:
            add(ALLOW if number is None else ERRNO | number, name)
    for family in " ".join(unit["RestrictAddressFamilies"]).split():
        add(ALLOW, "socket", _Comparison(0, EQUAL, getattr(socket, family)))
    assert unit["MemoryDenyWriteExecute"] == ["yes"]
    for protection in (0, PROT_WRITE, PROT_EXEC):
        both = _Comparison(2, MASKED_EQUAL, PROT_WRITE | PROT_EXEC, protection)
        add(ALLOW, "mmap", both)
    for name in ("mprotect", "pkey_mprotect"):
        add(ALLOW, name, _Comparison(2, MASKED_EQUAL, PROT_EXEC, 0))
    assert library.seccomp_load(context) == 0


if __name__ == "__main__":
    confine(settings(Path(sys.argv[1]).read_text()))
    os.execvp(sys.argv[2], sys.argv[2:])
