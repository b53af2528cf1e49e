"""The exports of a page server: a fixed table, or the leases of a room."""

import contextlib
import hashlib
import json
import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from netboot.errors import OperatorError
from netboot.host.files import PRIVATE, replace_file
from netboot.pages.lease import MAX_CONNECTIONS, Ends, Lease, LeaseTable
from netboot.pages.nbd.backing import PageFile
from netboot.pages.nbd.export import Export, Refusal, Refused
from netboot.pages.nbd.name import WireName
from netboot.pages.stores import image
from netboot.pages.stores.store import PageStore
from netboot.profile.stores import BY_NAME

log = logging.getLogger(__name__)

STATE_FILE = "state-leases.json"  # in the store's directory, so it lasts as long as the pages
KEY_BYTES = 16  # 128 bits, as of a token


@dataclass(frozen=True, slots=True)
class Attachment:
    """The pages that a connection works on.

    ``lease`` names them in events and counters. If ``fences``, connections of this lease whose set
    is lower than ``set_number`` must be closed. With ``spread`` each connection may go to another
    worker: there is no fencing, and several workers may change the pages at a time. ``ceiling`` is
    the most bytes per second that all connections of the seat together may move. ``connections`` is
    the most in one set. ``reader`` is the seat that reads an image.
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
    connections: int = MAX_CONNECTIONS
    reader: str = ""


class Exports(Protocol):
    """The interface through which the server finds and attaches exports.

    ``on_ended`` is called with each lease that ends: the server must close its connections and let
    its pages go.
    """

    on_ended: Callable[[str], None]

    @property
    def names(self) -> Sequence[str] | None:
        """The answer to LIST; None if the names are secret."""

    @property
    def directory(self) -> Path | None:
        """Folder for state that the next server needs; None if nothing outlives this one."""

    def find(self, name: WireName, address: str) -> Export | Refused:
        """Return the export that a client at ``address`` may attach, or the refusal.

        Changes nothing.
        """

    def ends(self, name: WireName) -> Ends:
        """Return the leases whose connections ``attach`` would end. Changes nothing."""

    def attach(self, name: WireName, address: str) -> Attachment | Refused:
        """Attach a client at ``address``. Raises OSError if the pages cannot be opened or created."""

    def resume(self, lease: str, pages: Sequence[int]) -> Attachment | None:
        """Attach a client again that an earlier server attached; None if its lease has ended.

        ``pages`` are the descriptors of the image that the client reads; they remain the caller's.
        They are empty for a writable export.
        """

    def let_go(self, lease: str) -> None:
        """Note that the last connection of a lease has ended."""


class StaticExports:
    """A fixed table: ``sizes`` in bytes by name, and ``images``, which are read-only: paths, or
    images that were opened already and belong to the table from now on.

    Any client may attach them, and all clients of an export share its pages.
    """

    def __init__(
        self,
        store: PageStore,
        sizes: Mapping[str, int],
        images: Mapping[str, Path | image.ImageFile] | None = None,
    ) -> None:
        """Open or create the page files.

        Raises OperatorError if an image cannot be read, if a size is not positive, or if it differs
        from the size of the pages that are kept under this name.
        """
        images = images or {}
        for name, size_bytes in sizes.items():
            if size_bytes <= 0:
                raise OperatorError(f"export {name}: size {size_bytes}, expected more than 0")
        for name in sizes.keys() & images.keys():
            raise OperatorError(f"export {name}: given twice, with a size and as an image")
        self.directory = store.directory
        self.on_ended: Callable[[str], None] = _ignore_end
        opened = {
            name: _image(name, image.open_image(given) if isinstance(given, Path) else given)
            for name, given in images.items()
        }
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
        """The names of all exports."""
        return tuple(self._attachments)

    def find(self, name: WireName, address: str = "") -> Export | Refused:
        """Return the export of this name. The whole text counts: there are no tokens."""
        found = self.attach(name)
        return found if isinstance(found, Refused) else found.export

    def ends(self, name: WireName) -> Ends:
        """Return nothing: all clients share the pages."""
        return Ends()

    def attach(self, name: WireName, address: str = "") -> Attachment | Refused:
        """Attach the export of this name. The whole text counts: there are no tokens."""
        return self._attachments.get(name.text) or Refused("no such export", Refusal.UNKNOWN)

    def resume(self, lease: str, pages: Sequence[int]) -> Attachment | None:
        """Attach again by the lease's name.

        A client of an image that was replaced since keeps the image that it has open.
        """
        name = lease.rpartition("@")[0]
        if lease not in self._leases and pages and name in self._attachments:
            self._leases[lease] = _image(name, image.image_of(*map(os.dup, pages)))
        return self._leases.get(lease)

    def has(self, lease: str) -> bool:
        """Return whether ``lease`` is one of this table."""
        return lease in self._leases

    def let_go(self, lease: str) -> None:
        """Close an image that was replaced: no other client can attach it. Keep all other pages."""
        found = self._leases[lease]
        if found is not self._attachments[found.export.name]:
            del self._leases[lease]
            found.pages.close()


class LeasedExports:
    """The swap areas of a room: the leases of ``table``, each in a page file of its own.

    A page file is created when its seat first attaches, and wiped when the lease ends. The table is
    saved next to the pages, where the next server finds it. ``ceiling`` returns the most bytes per
    second that a seat may move, None for no limit.
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
        self.on_ended: Callable[[str], None] = _ignore_end
        self._restore()
        table.use_keys(lambda: secrets.token_hex(KEY_BYTES))
        table.on_change = self._changed

    def find(self, name: WireName, address: str = "") -> Export | Refused:
        """Look the lease up in the table."""
        lease = self._table.find(name)
        if isinstance(lease, Refused):
            return lease
        return _export(lease, self._table.key_for(name))

    def ends(self, name: WireName) -> Ends:
        """Look the lease up in the table."""
        return self._table.ends(name)

    def attach(self, name: WireName, address: str = "") -> Attachment | Refused:
        """Attach the lease, and wipe the pages of the leases that this ends."""
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
        if first or ended or attached.fences or attached.proves:
            self._save()
        return self._attachment(lease, attached.set_number, attached.fences)

    def resume(self, lease: str, pages: Sequence[int]) -> Attachment | None:
        """Attach again by ``lease``, its generation."""
        found = self._table.resume(lease)
        if found is None:
            return None
        if lease not in self._pages:
            self._pages[lease] = self._store.open(lease, found.size_bytes)
        return self._attachment(found, 0, False)

    def let_go(self, lease: str) -> None:
        """Note in the table that the last connection of ``lease`` has ended."""
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
            connections=lease.connections,
        )

    def _changed(self) -> None:
        self._wipe_ended()
        self._save()

    def _wipe_ended(self) -> bool:
        """Wipe the pages of ended leases; return whether there were any."""
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
            path = self.directory / STATE_FILE
            try:
                self._table.restore(json.loads(path.read_bytes()), self._clock())
            except ValueError as error:
                raise OperatorError(
                    f"cannot read the leases in {path}: {error}",
                    hint="start the release that wrote them",
                ) from None
        kept = self._store.names()
        for lost in self._table.lose(kept):
            log.error("pages of %s are lost: its swap is refused; boot the PC again", lost.seat)
        for stray in set(kept) - self._table.generations():
            self._store.remove(stray)

    def _save(self) -> None:
        if self.directory is None:
            return
        # A store on disk keeps its pages over a power cut once it was closed: so the leases must
        # not be older than the pages, or the next server wipes what it does not know. In tmpfs
        # this costs nothing.
        state = json.dumps(self._table.as_json())
        replace_file(self.directory / STATE_FILE, state, mode=PRIVATE, durable=True)


def _ignore_end(lease: str) -> None:
    pass


def _open_or_create(store: PageStore, name: str, size_bytes: int) -> PageFile:
    # An export's name may contain any character, a page file's name may not.
    file_name = hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
    if file_name not in store.names():
        return store.create(file_name, size_bytes)
    try:
        return store.open(file_name, size_bytes)
    except FileNotFoundError:
        raise OperatorError(
            f"export {name}: its pages in {store.directory} have another size",
            hint=f"give it the old size, or remove {store.directory} to start with empty pages",
        ) from None


def _image(name: str, pages: image.ImageFile) -> Attachment:
    generation = pages.generation
    export = Export(name, pages.size_bytes, f"image, generation {generation}", read_only=True)
    return Attachment(f"{name}@{generation}", "", export, image.KIND, pages, spread=True)


def _export(lease: Lease, key: str = "") -> Export:
    text = f"swap of {lease.seat}, generation {lease.generation}"
    return Export(lease.export, lease.size_bytes, text, key=key)
