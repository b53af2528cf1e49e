"""The kernel drivers that a root image leaves out. Pure."""

from collections.abc import Iterable
from fnmatch import fnmatchcase


def left_out(table: str, drop: Iterable[str], keep: Iterable[str]) -> tuple[str, ...]:
    """Return the files to remove, relative to the folder of the kernel's modules.

    ``table`` is modules.dep (``kernel/a.ko: kernel/b.ko``). A module that a remaining one links to
    remains, whatever ``drop`` says.
    """
    drop, keep = tuple(drop), tuple(keep)
    needs = dict(_rows(table))
    waiting = [path for path in needs if not _any(path, drop) or _any(path, keep)]
    remaining = set(waiting)
    while waiting:
        found = set(needs.get(waiting.pop(), ())) - remaining
        remaining |= found
        waiting += found
    return tuple(sorted(needs.keys() - remaining))


def _rows(table: str) -> Iterable[tuple[str, tuple[str, ...]]]:
    for line in table.splitlines():
        path, _, others = line.partition(":")
        if path.strip():
            yield path.strip(), tuple(others.split())


def _any(path: str, patterns: Iterable[str]) -> bool:
    """Return True if a pattern names the module, its file's name, or a folder that it is in."""
    name = path.removeprefix("kernel/").partition(".ko")[0]
    base = name.rpartition("/")[2]
    return any(
        fnmatchcase(name, each) or fnmatchcase(name, f"{each}/*") or fnmatchcase(base, each)
        for each in patterns
    )
