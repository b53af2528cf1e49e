"""The rows that changed between two commits: ``python -m bench.compare A B``.

It reads the history that ``make bench-pages`` has written on machines of one kind
(``bench-results/history``). Exit status 2 if a commit has no runs there.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from bench import history
from bench.history import COMMIT_DIGITS, Entry
from netboot.errors import OperatorError

FOLDER = Path("bench-results/history")
HERE = Path(__file__).parent
SHOWN = 8  # commits in a message


def _git(*words: str) -> str | None:
    """Return git's answer about this clone, or None. Root may ask in the clone of another user."""
    command = ["git", "-c", "safe.directory=*", "-C", str(HERE), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def this_commit() -> str:
    """Return the commit of this clone, with ``-dirty`` if files differ; ``unknown`` without git."""
    return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*") or "unknown"


def commit_of(name: str) -> str:
    """Return the number of a commit by any name that git knows, or the name itself.

    ``-dirty`` at its end stays. Raises OperatorError for an empty name.
    """
    plain = name.removesuffix("-dirty")
    if not plain:
        raise OperatorError(
            f"expected two commits, found '{name}'", hint="make bench-compare A=HEAD~3 B=HEAD"
        )
    number = _git("rev-parse", "--verify", "--quiet", f"{plain}^{{commit}}") or plain
    return number + name[len(plain) :]


def compare(folder: Path, names: tuple[str, str]) -> str:
    """Return the tables of each kind of machine that measured both. Raises OperatorError."""
    before, after = (commit_of(name) for name in names)
    parts, known = [], set()
    for path in sorted(folder.glob("*.jsonl")):
        found = _read(path)
        known |= {each.commit for each in found}
        old, new = history.of_commit(found, before), history.of_commit(found, after)
        both = old.keys() & new.keys()
        if both:
            parts += [f"{path.stem}:", history.table(history.changes(old, new), len(both))]
    if parts:
        return "\n\n".join(parts)
    for name, commit in zip(names, (before, after), strict=True):
        if not any(each.startswith(commit.removesuffix("-dirty")) for each in known):
            there = ", ".join(sorted(_short(each) for each in known)[:SHOWN]) or "none"
            raise OperatorError(
                f"no run of commit '{name}' in {folder}: it has {there}",
                hint="measure it: check the commit out and run 'make bench-pages'",
            )
    raise OperatorError(
        f"no kind of machine in {folder} measured both '{names[0]}' and '{names[1]}'"
    )


def _short(commit: str) -> str:
    return commit[:COMMIT_DIGITS] + ("-dirty" if commit.endswith("-dirty") else "")


def _read(path: Path) -> list[Entry]:
    try:
        return history.parse(path.read_text())
    except (OSError, ValueError) as error:
        raise OperatorError(f"{path}: {error}") from error


def main() -> NoReturn:
    """Run the command line."""
    options = argparse.ArgumentParser(prog="bench.compare", description=__doc__)
    options.add_argument("before", metavar="A", help="a commit, for example HEAD~3 or a branch")
    options.add_argument("after", metavar="B")
    options.add_argument("--history", type=Path, default=FOLDER)
    given = options.parse_args()
    try:
        sys.stdout.write(compare(given.history, (given.before, given.after)) + "\n")
    except OperatorError as error:
        sys.stderr.write(error.text() + "\n")
        sys.exit(error.exit)
    sys.exit(0)


if __name__ == "__main__":
    main()
