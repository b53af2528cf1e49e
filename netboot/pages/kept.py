"""Kept areas: what a seat keeps over its reboots, one area for each seat that may. Pure.

A kept area never ends, and neither does its lease, whose name is that of the export. Each boot asks for a token (grant). The first attachment of a boot with its token replaces the boot before: its
token is dead from then on. Boots are counted, and a set of connections has the number
``boot << 64 | set``, so that an earlier boot's connections are fenced as those of an earlier set
(docs/adr/0017-areas-that-are-kept.md).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from netboot.pages.access import Access
from netboot.pages.lease import UNKNOWN, readable
from netboot.pages.nbd.export import Refused
from netboot.pages.nbd.name import WireName
from netboot.pages.places import MAX_CONNECTIONS, PENDING_SECONDS, Attached, Ends, Lease

VERSION = 1
_SET_BITS = 64  # of a number on the wire
_TYPES: dict[str, type] = {"seat": str, "export": str, "size_bytes": int, "boot": int}
_TYPES |= {"generation": str}
_TYPES |= {"set_number": int, "granted": float}


@dataclass(slots=True)
class _Area:
    """An area. ``boot`` counts the boots that have attached it; ``set_number`` is the current set's.

    ``current`` opens it for the boot that attached last, ``pending`` for one that was granted since.
    ``granted`` is in seconds. ``generation`` names the file: 32 hexadecimal digits. A ``pinned`` area may be open in a worker, so its size stays.
    """

    seat: str
    export: str
    size_bytes: int
    granted: float
    generation: str
    boot: int = 0
    set_number: int = 0
    current: Access | None = None
    pending: Access | None = None
    pinned: bool = False
    lost: bool = False

    @property
    def lease(self) -> Lease:
        return Lease(
            self.seat, self.export, self.size_bytes, self.export, self.granted, MAX_CONNECTIONS
        )

    def combined(self, set_number: int) -> int:
        return self.boot << _SET_BITS | set_number


class KeptTable:
    """All kept areas of a room, with at most ``capacity_bytes`` in all.

    ``new_key`` makes 128 random bits in hexadecimal. ``on_change`` is called after every grant. As
    for a lease of swap, the caller saves a grant and the first attachment of a boot before it answers.
    """

    def __init__(self, capacity_bytes: int, new_key: Callable[[], str]) -> None:
        self.capacity_bytes = capacity_bytes
        self._new_key = new_key
        self._areas: dict[str, _Area] = {}
        self.on_change: Callable[[], None] = lambda: None

    @property
    def promised_bytes(self) -> int:
        """The sizes of all areas together."""
        return sum(area.size_bytes for area in self._areas.values())

    def grant(
        self,
        seat: str,
        export: str,
        token: str,
        size_bytes: int,
        now: float,
        *,
        is_named: bool = True,
    ) -> Lease | Refused:
        """Let the boot of ``seat`` that has ``token`` attach ``export``.

        Areas never end, so made-up PCs could take all room for good: PCs that the profile does not
        name (``is_named``) get areas from the first half of the capacity only.
        An area is never made smaller. It is made larger if no worker of this server may have it open.
        """
        self._forget(now)
        area = self._areas.get(export)
        has = 0 if area is None else area.size_bytes
        wanted = has if area is not None and area.pinned else max(has, size_bytes)
        if wanted <= 0:
            return Refused(f"expected an area of at least a page, {size_bytes} bytes asked")
        capacity = self.capacity_bytes if is_named else self.capacity_bytes // 2
        left = max(0, capacity - self.promised_bytes)
        if wanted - has > left and has:
            wanted = has  # what the PC has already is promised to it
        if wanted - has > left:
            asked, free, all_ = map(readable, (wanted, left, capacity))
            return Refused(f"no room to keep files: {asked} asked, {free} of {all_} left")
        if area is None:
            area = self._areas[export] = _Area(seat, export, wanted, now, self._new_key())
        area.size_bytes, area.granted = wanted, now
        if not any(each.began_with(token) for each in (area.current, area.pending) if each):
            area.pending = Access(token, self._new_key())
        self.on_change()
        return area.lease

    def find(self, name: WireName) -> Lease | Refused:
        """Return the lease that ``name`` opens, or the refusal."""
        area = self._opened(name)
        return area if isinstance(area, Refused) else area.lease

    def key_for(self, name: WireName) -> str:
        """Return the key of the area of ``name`` if its token is good; else an empty text."""
        area = self._opened(name)
        return "" if isinstance(area, Refused) else _access(area, name).key_for(name.token)

    def ends(self, name: WireName) -> Ends:
        """Return the leases whose connections ``attach`` would end. Changes nothing."""
        area = self._opened(name)
        if isinstance(area, Refused):
            return Ends()
        if _access(area, name) is area.current:
            return Ends(again=area.export)
        return Ends(replaced=(area.export,))

    def attach(self, name: WireName, now: float) -> Attached | Refused:
        """Attach the area of ``name``. The first time, the boot before loses it."""
        area = self._opened(name)
        if isinstance(area, Refused):
            return area
        assert name.set_number is not None, "not opened"
        access = _access(area, name)
        if access is not area.current:
            area.boot, area.current, area.pending = area.boot + 1, access, None
        number = area.combined(name.set_number)
        if number < area.set_number:
            return Refused(
                f"set {name.set_number:x} of {area.export} has been replaced by a newer one"
            )
        fences, proves = number > area.set_number, access.prove(name.token)
        area.set_number, area.granted, area.pinned = number, now, True
        return Attached(area.lease, number, fences, proves)

    def resume(self, export: str, set_number: int) -> Lease | None:
        """Return the lease of a connection of ``set_number`` that is older than this server.

        None if a later boot has the area. The server before may have had no time to save the set.
        """
        area = self._areas.get(export)
        if area is None or area.lost or set_number >> _SET_BITS < area.boot:
            return None
        area.set_number, area.pinned = max(area.set_number, set_number), True
        area.boot = area.set_number >> _SET_BITS
        return area.lease

    def generation_of(self, export: str) -> str:
        """Return the name of the file of an area."""
        return self._areas[export].generation

    def renew(self, export: str) -> None:
        """Give an area whose file is gone another generation: a PC that had it open must not go on."""
        self._areas[export].generation = self._new_key()

    def has(self, export: str) -> bool:
        """Return whether there is an area ``export``."""
        return export in self._areas

    def last_boot(self, export: str) -> float:
        """Return the time of the last grant or attachment of an area, in seconds."""
        return self._areas[export].granted

    def was_attached(self, export: str) -> bool:
        """Return whether a boot has attached an area, so that a PC may still have it in use."""
        return export in self._areas and self._areas[export].boot > 0

    def remove(self, export: str, now: float) -> Refused | None:
        """Remove an area that has no connection. Return the refusal if a boot is about to attach it."""
        self._forget(now)
        area = self._areas.get(export)
        if area is None:
            return Refused("it keeps no files on this server")
        if area.pending is not None and now - area.granted < PENDING_SECONDS:
            return Refused("it starts now; switch it off first")
        del self._areas[export]
        return None

    def lose(self, export: str) -> None:
        """Refuse an area whose file is damaged, until this server ends."""
        self._areas[export].lost = True

    def leases(self) -> list[Lease]:
        """Return the leases of all areas."""
        return [area.lease for area in self._areas.values()]

    def as_json(self) -> list[dict[str, Any]]:
        """Return all areas, secrets included, as JSON values."""
        return [
            {
                **{name: getattr(area, name) for name in _TYPES},
                "current": area.current and area.current.as_json(),
                "pending": area.pending and area.pending.as_json(),
            }
            for area in self._areas.values()
        ]

    def restore(self, saved: Iterable[Mapping[str, Any]]) -> None:
        """Restore the areas of ``as_json``. Raises ValueError if it has another form."""
        for row in saved:
            try:
                values = {name: row[name] for name in _TYPES}
                wrong = [name for name, kind in _TYPES.items() if not isinstance(row[name], kind)]
                both = [
                    row[each] and Access.from_json(row[each]) for each in ("current", "pending")
                ]
            except (KeyError, TypeError) as error:
                raise ValueError(f"damaged: an area without {error}") from None
            if wrong:
                raise ValueError(f"damaged: an area with a wrong {wrong[0]}")
            self._areas[values["export"]] = _Area(**values, current=both[0], pending=both[1])

    def _forget(self, now: float) -> None:
        """Forget the areas that were granted and never attached: they have no file."""
        for export, area in list(self._areas.items()):
            if not area.boot and now - area.granted >= PENDING_SECONDS:
                del self._areas[export]

    def _opened(self, name: WireName) -> _Area | Refused:
        area = self._areas.get(name.export)
        if area is None or name.set_number is None or _maybe(area, name) is None:
            return UNKNOWN
        if area.lost:
            return Refused(f"the file of {name.export} is damaged: restore it on the server")
        return area


def _maybe(area: _Area, name: WireName) -> Access | None:
    both = [each for each in (area.current, area.pending) if each is not None]
    opened = [each for each in both if each.opens(name.token)]
    return opened[0] if opened else None


def _access(area: _Area, name: WireName) -> Access:
    access = _maybe(area, name)
    assert access is not None, "not opened"
    return access
