"""The record of the versions that seats run: a state file, from which ``netboot image prune`` learns.

A seat runs the version that it attached last. It leaves that version when it attaches another one,
or when it was not heard for a week: an old PC in a cupboard must not keep a version for ever. No
request of a seat waits for the file (docs/adr/0016-state-with-room-kept-back.md).
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netboot.boot.limits import ROOT_USES
from netboot.host.files import PRIVATE
from netboot.host.keeper import Copy, Keeper
from netboot.host.state import StateFile, read_regular, seal, unseal

USES_FILE = "uses.json"  # in the state folder
VERSION = 1
FORGET_SECONDS = 7 * 86400.0
SAVE_SECONDS = 3600.0  # between two saves of nothing but times
MAX_SEATS = ROOT_USES.in_total or 0


@dataclass(frozen=True, slots=True)
class Use:
    """The version that a seat runs: ``short`` of its digest, its ``label``, when it was heard last."""

    short: str
    label: str
    seen: float

    def as_json(self) -> dict[str, Any]:
        """Return the use as JSON values."""
        return {"short": self.short, "label": self.label, "seen": self.seen}


class Uses:
    """The versions that seats run, by MAC address, kept in the folder ``state`` if there is one.

    ``clock`` tells the seconds since the epoch, as it does for the next server.
    """

    def __init__(self, state: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._seats: dict[str, Use] = {}
        self._saved_at = clock()
        copies = []
        if state is not None:
            file = StateFile(state / USES_FILE, mode=PRIVATE)
            found = file.read(_parse)
            self._seats = {} if found is None else found[0]
            copies.append(Copy(file, self._text))
        self.keeper = Keeper("root images in use", copies)

    def begin(self) -> None:
        """Make the record, with room for its growth: from now on it is known who runs what."""
        self.keeper.prepare()
        self._save()

    def of(self, mac: str) -> Use | None:
        """Return the version that a seat runs; None if it is not known to run one."""
        return self._seats.get(mac)

    def attached(self, mac: str, short: str, label: Callable[[], str]) -> None:
        """Note that a seat has attached a version. ``label`` is called if it is another one."""
        now, before = self._clock(), self._seats.get(mac)
        if before is not None and before.short == short:
            self.heard((mac,))
            return
        if before is None and len(self._seats) >= MAX_SEATS:
            del self._seats[min(self._seats, key=lambda each: self._seats[each].seen)]
        self._seats[mac] = Use(short, label(), now)
        self._save()

    def heard(self, macs: Iterable[str]) -> None:
        """Note that seats still run what they have attached."""
        now = self._clock()
        for mac in macs:
            if (use := self._seats.get(mac)) is not None:
                self._seats[mac] = Use(use.short, use.label, now)
        if now - self._saved_at >= SAVE_SECONDS:
            self._save()

    def forget(self) -> None:
        """Forget the seats that were not heard for a week. Call it when all had time to come back."""
        oldest = self._clock() - FORGET_SECONDS
        kept = {mac: use for mac, use in self._seats.items() if use.seen >= oldest}
        if len(kept) < len(self._seats):
            self._seats = kept
            self._save()

    def _save(self) -> None:
        self._saved_at = self._clock()
        self.keeper.changed()

    def _text(self) -> str:
        seats = {mac: use.as_json() for mac, use in self._seats.items()}
        return seal({"version": VERSION, "seats": seats})


def read_uses(*states: Path) -> Mapping[str, tuple[str, ...]] | None:
    """Return the MAC addresses of the seats that run each version, by the version's short digest.

    ``states`` are the state folders that a server of this machine may have. None if it is not known
    who runs what: no server has a record in any of them, or one of them cannot be read.
    """
    found: dict[str, set[str]] = {}
    is_known = False
    for state in states:
        try:
            seats = _parse(read_regular(state / USES_FILE))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError):
            return None
        is_known = True
        for mac, use in seats.items():
            found.setdefault(use.short, set()).add(mac)
    return {short: tuple(sorted(macs)) for short, macs in found.items()} if is_known else None


def _parse(data: bytes) -> dict[str, Use]:
    """Return the uses in the content of a state file. Raises ValueError."""
    rows = unseal(data, VERSION)
    try:
        return {
            str(mac): Use(str(row["short"]), str(row["label"]), float(row["seen"]))
            for mac, row in rows["seats"].items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"damaged: {error!r}") from None
