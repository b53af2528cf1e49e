"""What a page server has to give: a fixed table of exports, or the leases of a room."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from netboot.errors import OperatorError
from netboot.nbd.export import Export, Refusal, Refused
from netboot.pages.lease import Lease, LeaseTable
from netboot.pages.store import PageFile, PageStore


@dataclass(frozen=True, slots=True)
class Attachment:
    """What a connection is to work on. ``lease`` names it in events and counters; ``ended`` are
    leases that ended by this: their connections are to be closed.
    """

    lease: str
    seat: str
    export: Export
    store: str
    pages: PageFile
    ended: Sequence[str] = ()


class Exports(Protocol):
    """What the server asks. Names are as the client gave them, ``EXPORT`` or ``EXPORT@TOKEN``."""

    @property
    def names(self) -> Sequence[str] | None:
        """What LIST tells; None if names are secrets."""

    def find(self, name: str) -> Export | Refused:
        """Whether and what a client may attach. Changes nothing."""

    def attach(self, name: str) -> Attachment | Refused:
        """A client attaches. Raises OSError if the pages cannot be had."""


class StaticExports:
    """A fixed table: ``sizes`` in bytes by name; everybody may have them, all share the pages."""

    def __init__(self, store: PageStore, sizes: Mapping[str, int]) -> None:
        """Makes the page files. Raises OperatorError for a size that is not positive."""
        for name, size_bytes in sizes.items():
            if size_bytes <= 0:
                raise OperatorError(f"export {name}: size {size_bytes}, expected more than 0")
        self._attachments = {
            name: Attachment(
                name, "", Export(name, size_bytes), store.kind, store.create(str(index), size_bytes)
            )
            for index, (name, size_bytes) in enumerate(sizes.items())
        }

    @property
    def names(self) -> Sequence[str]:
        """All of them."""
        return tuple(self._attachments)

    def find(self, name: str) -> Export | Refused:
        """By name."""
        found = self.attach(name)
        return found if isinstance(found, Refused) else found.export

    def attach(self, name: str) -> Attachment | Refused:
        """By name."""
        return self._attachments.get(name) or Refused("no such export", Refusal.UNKNOWN)


class LeasedExports:
    """The swap areas of a room: what ``table`` grants, each in a page file of its own, which is
    made when its seat first attaches and wiped when the lease ends.
    """

    names = None

    def __init__(self, store: PageStore, table: LeaseTable) -> None:
        self._store = store
        self._table = table
        self._pages: dict[str, PageFile] = {}

    def find(self, name: str) -> Export | Refused:
        """Asks the table."""
        lease = self._table.find(name)
        return lease if isinstance(lease, Refused) else _export(lease)

    def attach(self, name: str) -> Attachment | Refused:
        """Asks the table, and wipes what ended."""
        lease = self._table.attach(name)
        if isinstance(lease, Refused):
            return lease
        ended = [old.generation for old in self._table.take_ended()]
        for generation in ended:
            pages = self._pages.pop(generation, None)
            if pages is not None:
                pages.close()
                self._store.remove(generation)
        if lease.generation not in self._pages:
            self._pages[lease.generation] = self._store.create(lease.generation, lease.size_bytes)
        return Attachment(
            lease.generation,
            lease.seat,
            _export(lease),
            self._store.kind,
            self._pages[lease.generation],
            ended,
        )


def _export(lease: Lease) -> Export:
    return Export(lease.export, lease.size_bytes, f"swap of {lease.seat}")
