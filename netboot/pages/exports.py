"""What a page server has to give: a fixed table of exports, or the leases of a room."""

import contextlib
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from netboot.errors import OperatorError
from netboot.host.files import PRIVATE, replace_file
from netboot.pages.lease import Lease, LeaseTable
from netboot.pages.nbd.backing import PageFile
from netboot.pages.nbd.export import Export, Refusal, Refused
from netboot.pages.nbd.name import WireName
from netboot.pages.stores import image
from netboot.pages.stores.store import PageStore
from netboot.profile.stores import BY_NAME

log = logging.getLogger(__name__)

STATE_FILE = "state-leases.json"  # in the store's directory, so it lives as long as the pages


@dataclass(frozen=True, slots=True)
class Attachment:
    """What a connection is to work on. ``lease`` names it in events and counters. Its connections
    with a set lower than ``set_number`` are to be closed, if ``fences``. With ``spread`` each
    connection may be with another worker: nobody fences, and the workers may change the pages
    together. ``ceiling``: the most bytes per second that all connections of its seat together may
    move.
    """

    lease: str
    seat: str
    export: Export
    store: str
    pages: PageFile
    set_number: int = 0
    fences: bool = False
    spread: bool = False
    ceiling: int | None = None


class Exports(Protocol):
    """What the server asks.

    ``on_ended`` is called with each lease that ends: its connections are to be closed, and nobody
    is to keep its pages.
    """

    on_ended: Callable[[str], None]

    @property
    def names(self) -> Sequence[str] | None:
        """What LIST tells; None if names are secrets."""

    @property
    def directory(self) -> Path | None:
        """Where the server may keep what its successor needs; None if nothing outlives it."""

    def find(self, name: WireName) -> Export | Refused:
        """Whether and what a client may attach. Changes nothing."""

    def attach(self, name: WireName) -> Attachment | Refused:
        """A client attaches. Raises OSError if the pages cannot be had."""

    def resume(self, lease: str, pages: Sequence[int]) -> Attachment | None:
        """A client goes on that a server before this one attached; None if it may not. ``pages``
        are descriptors of the image it reads, which stay the caller's; none if it can write.
        """

    def let_go(self, lease: str) -> None:
        """The last connection of a lease has ended."""


class StaticExports:
    """A fixed table: ``sizes`` in bytes by name, ``images`` to be read only; everybody may have
    them, all share the pages.
    """

    def __init__(
        self, store: PageStore, sizes: Mapping[str, int], images: Mapping[str, Path] | None = None
    ) -> None:
        """Finds or makes the page files. Raises OperatorError for an image that cannot be read, or
        a size that is not positive or not the one that the pages kept under this name have.
        """
        images = images or {}
        for name, size_bytes in sizes.items():
            if size_bytes <= 0:
                raise OperatorError(f"export {name}: size {size_bytes}, expected more than 0")
        for name in sizes.keys() & images.keys():
            raise OperatorError(f"export {name}: given twice, with a size and as an image")
        self.directory = store.directory
        self.on_ended: Callable[[str], None] = _nobody_cares
        opened = {name: _image(name, image.open_image(path)) for name, path in images.items()}
        self._attachments = {
            name: Attachment(
                name,
                "",
                Export(name, size_bytes),
                store.kind,
                _open_or_create(store, name, size_bytes),
                spread=BY_NAME[store.kind].shared,
            )
            for name, size_bytes in sizes.items()
        }
        self._attachments |= opened
        self._leases = {each.lease: each for each in self._attachments.values()}

    @property
    def names(self) -> Sequence[str]:
        """All of them."""
        return tuple(self._attachments)

    def find(self, name: WireName) -> Export | Refused:
        """By name."""
        found = self.attach(name)
        return found if isinstance(found, Refused) else found.export

    def attach(self, name: WireName) -> Attachment | Refused:
        """By name, all of it: these exports have no tokens."""
        return self._attachments.get(name.text) or Refused("no such export", Refusal.UNKNOWN)

    def resume(self, lease: str, pages: Sequence[int]) -> Attachment | None:
        """Whoever has an image that was replaced meanwhile goes on with the one it knows."""
        name = lease.rpartition("@")[0]
        if lease not in self._leases and pages and name in self._attachments:
            self._leases[lease] = _image(name, image.image_of(os.dup(pages[0])))
        return self._leases.get(lease)

    def has(self, lease: str) -> bool:
        """Whether it is one of these."""
        return lease in self._leases

    def let_go(self, lease: str) -> None:
        """Pages are kept, but nobody comes to an image that was replaced."""
        found = self._leases[lease]
        if found is not self._attachments[found.export.name]:
            del self._leases[lease]
            found.pages.close()


class LeasedExports:
    """The swap areas of a room: what ``table`` grants, each in a page file of its own, which is
    made when its seat first attaches and wiped when the lease ends.

    The table is kept next to the pages and found there by the next server. ``ceiling`` tells the
    most bytes per second that a seat may move.
    """

    names = None

    def __init__(
        self,
        store: PageStore,
        table: LeaseTable,
        clock: Callable[[], float] = time.time,
        ceiling: Callable[[str], int | None] = lambda seat: None,
    ) -> None:
        self._store = store
        self._table = table
        self._clock = clock
        self._ceiling = ceiling
        self._pages: dict[str, PageFile] = {}
        self.directory = store.directory
        self.on_ended: Callable[[str], None] = _nobody_cares
        self._restore()
        table.on_change = self._changed

    def find(self, name: WireName) -> Export | Refused:
        """Asks the table."""
        lease = self._table.find(name)
        return lease if isinstance(lease, Refused) else _export(lease)

    def attach(self, name: WireName) -> Attachment | Refused:
        """Asks the table, and wipes what ended."""
        attached = self._table.attach(name, self._clock())
        if isinstance(attached, Refused):
            return attached
        ended, lease = self._wipe_ended(), attached.lease
        first = lease.generation not in self._pages
        if first:
            if lease.generation in self._store.names():
                pages = self._store.open(lease.generation, lease.size_bytes)
            else:
                pages = self._store.create(lease.generation, lease.size_bytes)
            self._pages[lease.generation] = pages
        if first or ended or attached.fences:
            self._save()
        return self._attachment(lease, attached.set_number, attached.fences)

    def resume(self, lease: str, pages: Sequence[int]) -> Attachment | None:
        """Asks the table, by the lease's generation."""
        found = self._table.resume(lease)
        if found is None:
            return None
        if lease not in self._pages:
            self._pages[lease] = self._store.open(lease, found.size_bytes)
        return self._attachment(found, 0, False)

    def let_go(self, lease: str) -> None:
        """Tells the table."""
        self._table.let_go(lease, self._clock())

    def _attachment(self, lease: Lease, set_number: int, fences: bool) -> Attachment:
        return Attachment(
            lease.generation,
            lease.seat,
            _export(lease),
            self._store.kind,
            self._pages[lease.generation],
            set_number,
            fences,
            ceiling=self._ceiling(lease.seat),
        )

    def _changed(self) -> None:
        self._wipe_ended()
        self._save()

    def _wipe_ended(self) -> bool:
        """Whether there was something to wipe."""
        ended = [old.generation for old in self._table.take_ended()]
        for generation in ended:
            pages = self._pages.pop(generation, None)
            if pages is not None:
                pages.close()
            if generation in self._store.names():
                self._store.remove(generation)
            self.on_ended(generation)
        return bool(ended)

    def _restore(self) -> None:
        if self.directory is None:
            return
        with contextlib.suppress(FileNotFoundError):
            saved = json.loads((self.directory / STATE_FILE).read_bytes())
            self._table.restore(saved, self._clock())
        kept = self._store.names()
        for lost in self._table.lose(kept):
            log.error("pages of %s are gone: it will be refused", lost.seat)
        known = {row["generation"] for row in self._table.as_json()}
        for stray in set(kept) - known:
            self._store.remove(stray)

    def _save(self) -> None:
        if self.directory is None:
            return
        # A store on disk keeps its pages over a power cut once it was closed: so the leases must
        # not be older than the pages, or the next server wipes what it does not know. In tmpfs
        # this costs nothing.
        state = json.dumps(self._table.as_json())
        replace_file(self.directory / STATE_FILE, state, mode=PRIVATE, durable=True)


def _nobody_cares(lease: str) -> None:
    pass


def _open_or_create(store: PageStore, name: str, size_bytes: int) -> PageFile:
    # An export's name may hold anything; a page file's may not.
    file_name = hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
    if file_name not in store.names():
        return store.create(file_name, size_bytes)
    try:
        return store.open(file_name, size_bytes)
    except FileNotFoundError:
        raise OperatorError(
            f"export {name}: pages of another size are kept in {store.directory}",
            hint=f"give it the size it had, or remove {store.directory} to begin anew",
        ) from None


def _image(name: str, pages: image.ImageFile) -> Attachment:
    generation = pages.generation
    export = Export(name, pages.size_bytes, f"image, generation {generation}", read_only=True)
    return Attachment(f"{name}@{generation}", "", export, image.KIND, pages, spread=True)


def _export(lease: Lease) -> Export:
    return Export(
        lease.export, lease.size_bytes, f"swap of {lease.seat}, generation {lease.generation}"
    )
