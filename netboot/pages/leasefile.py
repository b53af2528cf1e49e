"""The leases of a room in files, for the next server: two copies of the lease table.

- ``state-leases.json`` beside the pages, which lives exactly as long as they do. It is a list of
  rows, which releases up to 0.2.0 read: a rollback finds all leases. Each row has the sequence
  number of its save, and the digest of the list.
- ``swap.json`` in the server's state folder, which a full page store does not touch.

A change is saved as soon as one copy has it, and the newest copy counts at the next start. The copy
beside the pages has the last word about pending leases: in the other one alone they may have been
attached since, and their pages may be lost. Such a lease must not come back with empty pages.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netboot.host.files import PRIVATE
from netboot.host.keeper import Copy, Keeper
from netboot.host.state import CHECK, StateFile, digest, digest_of_text, parse_json, unseal
from netboot.pages.lease import LeaseTable
from netboot.pages.places import Keyed
from netboot.pages.stores.store import PageStore

STATE_FILE = "state-leases.json"  # in the store's directory
APART_FILE = "swap.json"  # in the server's state folder
VERSION = 1  # of APART_FILE
SEQUENCE = "sequence"

_TYPES: dict[str, type] = {"seat": str, "export": str, "generation": str, "token": str}
_TYPES |= {"size_bytes": int, "set_number": int, "attached": bool}

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Saved:
    """A copy that was read. ``sequence`` is -1 if an older release wrote it, or if it is empty.

    ``mark`` tells such a copy from another one; in APART_FILE it is the mark of the last one that
    this release has read. ``places`` are the directories of this server's stores, those of before
    too. ``last`` is False for the save before.
    """

    rows: Rows
    sequence: int
    mark: str
    places: tuple[str, ...] = ()
    last: bool = True


class LeaseFiles:
    """Restores ``table`` at the start and saves it after each change. ``apart``: the state folder."""

    def __init__(self, table: LeaseTable, store: PageStore, apart: Path | None) -> None:
        self._table = table
        self._store = store
        self._texts = _Texts()
        self._sequence = 0
        self._mark = ""
        self.is_damaged = False  # a copy was set aside, so pages without a lease may have had one
        self.places: list[Path] = []  # the directories of the stores of the servers before
        directory = store.directory
        self._beside = (
            None if directory is None else StateFile(directory / STATE_FILE, mode=PRIVATE)
        )
        self._apart = None
        if apart is not None and directory is not None:
            self._apart = StateFile(apart / APART_FILE, mode=PRIVATE)
        self.keeper = Keeper(
            "leases of swap",
            [
                Copy(file, text)
                for file, text in ((self._beside, self._list), (self._apart, self._object))
                if file is not None
            ],
        )

    def restore(self, now: float) -> None:
        """Read the newest copy into the table, which is empty."""
        beside = self._read(self._beside, _parse_list)
        apart = self._read(self._apart, _parse_object)
        before = [Path(each) for each in apart.places] if apart is not None else []
        self.places = [each for each in before if each != self._store.directory and _may_be(each)]
        # Also newer than a copy of another machine, or of long ago, that is restored one day.
        numbers = (each.sequence for each in (beside, apart) if each is not None)
        self._sequence = max(int(now * 1000), *numbers, 0)
        self.keeper.prepare()
        newest = _newest(beside, apart)
        if newest is None:
            return
        self._mark = beside.mark if beside is not None and beside.sequence < 0 else newest.mark
        rows = newest.rows
        if newest is not beside or not beside.last:
            rows = [row for row in rows if row["attached"]]
        self._table.restore(rows, now)

    def _read(self, file: StateFile | None, parse: Callable[[bytes], Saved]) -> Saved | None:
        if file is None:
            return None
        aside = os.path.lexists(file.path)
        found = file.read(parse)
        if found is None:
            self.is_damaged |= aside
            return None
        saved, last = found
        self.is_damaged |= not last and aside
        return Saved(saved.rows, saved.sequence, saved.mark, saved.places, last)

    def _list(self) -> str:
        self._store.mend()  # the text goes to the store's directory, which may have been removed
        middle = f', "{SEQUENCE}": {self._sequence + self.keeper.change}, '
        rows = [f"{begin}{middle}{end}" for begin, end in self._texts.of(self._table)]
        last = f', "{CHECK}": "{digest_of_text(_list_of(rows))}"}}'
        return "[" + ",\n".join(row[:-1] + last for row in rows) + "]"

    def _object(self) -> str:
        leases = _list_of([f"{begin}, {end}" for begin, end in self._texts.of(self._table)])
        rest = {
            "version": VERSION,
            SEQUENCE: self._sequence + self.keeper.change,
            "places": [str(each) for each in (self._store.directory, *self.places)],
            "mark": self._mark,
        }
        # As seal() does, with all keys in their order: "leases" comes first.
        content = f'{{"leases": {leases}, {json.dumps(rest, sort_keys=True)[1:]}'
        return f'{content[:-1]}, "{CHECK}": "{digest_of_text(content)}"}}'


class _Texts:
    """The rows of a lease table as JSON, in two parts each: before and after the key SEQUENCE.

    A row is written down when its lease has changed. At 1,000 leases a save so takes a fifth of the
    time, in which no PC is answered. Keys are in their order, as ``digest`` has them.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[object, tuple[str, str]]] = {}

    def of(self, table: LeaseTable) -> list[tuple[str, str]]:
        """Return the rows of all leases."""
        known, self._known = self._known, {}
        for generation, state, row in table.rows():
            found = known.get(generation)
            if found is None or found[0] != state:
                found = state, _parts(row())
            self._known[generation] = found
        return [text for _, text in self._known.values()]


def _parts(row: dict[str, Any]) -> tuple[str, str]:
    """Return a row as JSON in two parts, between which there may be a pair of SEQUENCE."""
    before = {key: value for key, value in row.items() if key < SEQUENCE}
    after = {key: value for key, value in row.items() if key > SEQUENCE}
    return json.dumps(before, sort_keys=True)[:-1], json.dumps(after, sort_keys=True)[1:]


def _list_of(rows: Sequence[str]) -> str:
    """Return the JSON text of a list, as json.dumps writes it."""
    return f"[{', '.join(rows)}]"


def _may_be(directory: Path) -> bool:
    """Return False if there is no such directory: one that cannot be looked at may come back."""
    try:
        return directory.is_dir()
    except OSError:  # an NFS server that is away, or a folder that only root may enter
        return True


def _newest(beside: Saved | None, apart: Saved | None) -> Saved | None:
    if beside is None or apart is None:
        return beside or apart
    if beside.sequence >= 0:
        return beside if beside.sequence >= apart.sequence else apart
    # An older release has served since, unless this one has read that copy and could not replace it.
    return beside if beside.rows and beside.mark != apart.mark else apart


def _parse_list(data: bytes) -> Saved:
    rows = _rows(parse_json(data))
    checks = {row.pop(CHECK, None) for row in rows}
    if checks - {None} and checks != {digest(rows)}:
        raise ValueError("damaged: its digest is another one")
    numbers = {row.pop(SEQUENCE, -1) for row in rows}
    sequence = numbers.pop() if checks - {None} and len(numbers) == 1 else -1
    return Saved(rows, sequence, digest(rows) if sequence < 0 else "")


def _parse_object(data: bytes) -> Saved:
    content = unseal(data, VERSION)
    try:
        sequence, mark, places = content[SEQUENCE], content["mark"], content["places"]
        return Saved(_rows(content["leases"]), int(sequence), str(mark), tuple(map(str, places)))
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"damaged: {error!r}") from None


def _rows(value: Any) -> Rows:
    """Return the rows of leases. Raises ValueError if ``LeaseTable.restore`` could not read them."""
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise ValueError("damaged: expected a list of leases")
    for row in value:
        try:
            Keyed.from_json(row, 0.0)
            wrong = [name for name, kind in _TYPES.items() if not isinstance(row[name], kind)]
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"damaged: a lease without {error}") from None
        if wrong:
            raise ValueError(f"damaged: a lease with a wrong {wrong[0]}")
    return value
