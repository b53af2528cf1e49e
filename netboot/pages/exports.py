"""The exports of a page server, and those that are the leases of a room."""

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from netboot.host.complaints import Complaints
from netboot.pages.lease import MAX_CONNECTIONS, Ends, Lease, LeaseTable
from netboot.pages.leasefile import LeaseFiles
from netboot.pages.nbd.backing import PageFile
from netboot.pages.nbd.export import Export, Refused
from netboot.pages.nbd.name import WireName
from netboot.pages.stores.sparse import NO_ROOM
from netboot.pages.stores.store import PageStore

log = logging.getLogger(__name__)

KEY_BYTES = 16  # 128 bits, as of a token
# Of a PC that waits until its new lease is saved: half of what its agent waits for an answer. A
# save takes a second on a busy disk.
SAVE_SECONDS = 5.0
SPARE_ROWS = 64
UNSAVED = Refused("the server cannot save its leases of swap; see its log", is_ours=True)


@dataclass(frozen=True, slots=True)
class Attachment:
    """The pages that a connection works on.

    ``lease`` names them in events and counters. If ``fences``, connections of this lease whose set
    is lower than ``set_number`` must be closed. With ``spread`` each connection may go to another
    worker: there is no fencing, and several workers may change the pages at a time. ``ceiling`` is
    the most bytes per second that all connections of the seat together may move. ``connections`` is
    the most in one set, and ``places`` are those that it gets as a whole: None if each one gets its
    own. ``reader`` is the seat that reads an image.
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
    places: int | None = None
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

    def elsewhere(self, name: WireName) -> Awaitable[Refused | None] | None:
        """Return None if no other server can have what ``attach`` would end. Changes nothing.

        Else return what waits until none has it in use, and tells the refusal if one has.
        """

    def attach(self, name: WireName, address: str) -> Attachment | Refused:
        """Attach a client at ``address``. Its connection waits for ``saving``."""

    def saving(self, lease: str) -> Awaitable[bool] | None:
        """Return None if the next server would know ``lease`` and its pages.

        Else return what waits until they are saved, and tells whether they are. A lease is saved
        once, at its first attachment: no other one depends on that.
        """

    def resume(self, lease: str, pages: Sequence[int], set_number: int = 0) -> Attachment | None:
        """Attach a client again that an earlier server attached; None if its lease has ended.

        ``pages`` are the descriptors of the image that the client reads; they remain the caller's.
        They are empty for a writable export. ``set_number`` is that of the connection.
        """

    def let_go(self, lease: str) -> None:
        """Note that the last connection of a lease has ended."""

    def lose(self, lease: str) -> str:
        """Refuse ``lease`` from now on, because its page file is not as it was made.

        Return what follows from that, for the operator.
        """


class LeasedExports:
    """The swap areas of a room: the leases of ``table``, each in a page file of its own.

    A page file is created when its seat first attaches, and wiped when the lease ends. The table is
    saved where the next server finds it: next to the pages, and in the folder ``state`` if there is
    one (leasefile.py). ``ceiling`` returns the most bytes per second that a seat may move, None for
    no limit.
    """

    names = None

    def __init__(
        self,
        store: PageStore,
        table: LeaseTable,
        clock: Callable[[], float] = time.time,
        ceiling: Callable[[str], int | None] = lambda seat: None,
        state: Path | None = None,
        new_key: Callable[[str], str] = lambda generation: secrets.token_hex(KEY_BYTES),
    ) -> None:
        self._store = store
        self._table = table
        self._clock = clock
        self._ceiling = ceiling
        self._pages: dict[str, PageFile] = {}
        self._complaints = Complaints(log)
        self.directory = store.directory
        self.on_ended: Callable[[str], None] = _ignore_end
        self.files = LeaseFiles(table, store, state)
        self._keeper = self.files.keeper
        self._restore()
        # The change in which each lease was granted or first attached.
        self._since = dict.fromkeys(table.generations(), 0)
        self._most_since = 2 * len(self._since) + SPARE_ROWS
        self._keyed = 0  # the change in which the leases of an older release got their keys
        table.use_keys(new_key)
        table.on_change = self._changed
        if self._since:
            self._changed(None)
            self._keyed = self._keeper.change

    def find(self, name: WireName, address: str = "") -> Export | Refused:
        """Look the lease up in the table."""
        lease = self._table.find(name)
        if isinstance(lease, Refused):
            return lease
        # An agent that has the key cannot go back to its token, so the next server must know it.
        kept = self._keeper.is_saved(max(self._keyed, self._since.get(lease.generation, 0)))
        return export_of(lease, self._table.key_for(name) if kept else "")

    def ends(self, name: WireName) -> Ends:
        """Look the lease up in the table."""
        return self._table.ends(name)

    def elsewhere(self, name: WireName) -> Awaitable[Refused | None] | None:
        """Return None: the pages are this server's alone."""
        return None

    def attach(self, name: WireName, address: str = "") -> Attachment | Refused:
        """Attach the lease, and wipe the pages of the leases that this ends.

        If the pages cannot be opened or created, nothing has changed, but that a boot before may
        have made way.
        """
        lease = self._table.find(name)
        if isinstance(lease, Refused):
            return lease
        first = self._table.ends(name).again is None
        try:
            self._open(lease, name if first else None)
        except FileNotFoundError:
            log.error("pages of %s are gone: its swap is refused; boot the PC again", lease.seat)
            return Refused(f"this server no longer has the pages of {name.export}", is_ours=True)
        except OSError as error:
            reason = f"the server cannot open the pages of {name.export}: {error.strerror}"
            return Refused(reason, is_ours=True)
        attached = self._table.attach(name, self._clock())
        if isinstance(attached, Refused):
            return attached
        ended = self._wipe_ended()
        if first or ended or attached.fences or attached.proves:
            change = self._keeper.changed()
            if first:
                self._since[lease.generation] = change
        return self._attachment(lease, attached.set_number, attached.fences)

    def saving(self, lease: str) -> Awaitable[bool] | None:
        """Return what waits for the save of the grant, or of the first attachment, of ``lease``.

        And for its page file, if the store needs time to make it.
        """
        change = self._since.get(lease, 0)
        making = self._store.making(lease)
        if making is not None:
            return self._made(lease, making, change)
        if self._keeper.is_saved(change):
            return None
        return self._keeper.saved(change, SAVE_SECONDS)

    async def _made(self, lease: str, making: Future[None], change: int) -> bool:
        try:
            async with asyncio.timeout(SAVE_SECONDS):
                await asyncio.shield(asyncio.wrap_future(making))
        except OSError as error:  # a timeout is one
            reason = error.strerror or "its store does not answer"
            text = "pages: the page file of lease %s cannot be made: %s; its PC tries again"
            self._complaints.warn("making", text, lease, reason)
            return False
        return self._keeper.is_saved(change) or await self._keeper.saved(change, SAVE_SECONDS)

    async def is_granted(self, export: str) -> bool:
        """Wait until the leases of ``export`` are saved; False if they cannot be saved now."""
        found = (self.saving(each.generation) for each in self._table.leases_of(export))
        return all([saving is None or await saving for saving in found])

    def resume(self, lease: str, pages: Sequence[int], set_number: int = 0) -> Attachment | None:
        """Attach again by ``lease``, its generation."""
        found = self._table.resume(lease, set_number)
        if found is None:
            return None
        try:
            self._open(found, None)
        except OSError as error:
            log.error("pages of %s cannot be opened: %s", found.seat, error.strerror or error)
            self.let_go(lease)
            return None
        return self._attachment(found, 0, False)

    def let_go(self, lease: str) -> None:
        """Note in the table that the last connection of ``lease`` has ended."""
        self._table.let_go(lease, self._clock())

    def lose(self, lease: str) -> str:
        """Refuse the lease as one whose pages are lost. Its seat then asks for a fresh one."""
        self._table.lose(self._table.generations() - {lease})
        self._changed(None)
        return "the PC asks for fresh swap"

    def close(self) -> None:
        """Close the page files. All workers have ended."""
        for pages in self._pages.values():
            pages.close()
        self._pages.clear()

    def _open(self, lease: Lease, replaces: WireName | None) -> None:
        """Open the pages of ``lease``, made if it is attached for the first time by ``replaces``.

        Raises FileNotFoundError if they are lost, and OSError.
        """
        generation = lease.generation
        if generation in self._pages:
            return
        if replaces is None or self._store.has(generation):
            self._pages[generation] = self._store.open(generation, lease.size_bytes, alone=True)
            return
        self._store.mend()
        try:
            self._pages[generation] = self._create(lease)
        except OSError as error:
            # A PC that boots again in a full store takes the room of its boot before.
            if error.errno not in NO_ROOM or not self._table.make_way(replaces):
                raise
            self._changed(None)
            self._pages[generation] = self._create(lease)

    def _create(self, lease: Lease) -> PageFile:
        return self._store.create(lease.generation, lease.size_bytes, alone=True)

    def _attachment(self, lease: Lease, set_number: int, fences: bool) -> Attachment:
        return Attachment(
            lease.generation,
            lease.seat,
            export_of(lease),
            self._store.kind,
            self._pages[lease.generation],
            set_number,
            fences,
            ceiling=self._ceiling(lease.seat),
            connections=lease.connections,
            places=lease.connections,
        )

    def _changed(self, granted: Lease | None) -> None:
        self._wipe_ended()
        change = self._keeper.changed()
        if granted is not None:
            self._since[granted.generation] = change
        if len(self._since) > self._most_since:  # leases that were never attached end unnoticed
            left = self._table.generations()
            self._since = {each: at for each, at in self._since.items() if each in left}
            self._most_since = 2 * len(self._since) + SPARE_ROWS

    def _wipe_ended(self) -> bool:
        """Wipe the pages of ended leases; return whether there were any."""
        ended = [old.generation for old in self._table.take_ended()]
        for generation in ended:
            self._wipe(generation)
            self.on_ended(generation)
        return bool(ended)

    def _wipe(self, generation: str) -> None:
        """Wipe pages that nobody may read any more, or leave them to the next start."""
        try:
            pages = self._pages.pop(generation, None)
            if pages is not None:
                pages.close()
            self._store.remove(generation)
        except FileNotFoundError:
            pass  # never attached, or the folder was removed
        except OSError as error:
            self._complaints.warn(
                "wipe",
                "%s: pages that have ended cannot be wiped: %s; mend the file system: the next start "
                "frees their room",
                self.directory,
                error.strerror,
            )

    def _restore(self) -> None:
        if self.directory is None:
            return
        self.files.restore(self._clock())
        kept = self._store.names()
        for lost in self._table.miss(kept):
            log.error("pages of %s are lost: its swap is refused; boot the PC again", lost.seat)
        strays = set(kept) - self._table.generations()
        if strays and self.files.is_damaged:
            log.warning(
                "%s: pages of %d leases that are not known any more are kept until the next start; "
                "free their room: restart the server",
                self.directory,
                len(strays),
            )
            return
        for stray in strays:
            self._wipe(stray)


def _ignore_end(lease: str) -> None:
    pass


def export_of(lease: Lease, key: str = "") -> Export:
    """Return the export of a lease."""
    text = f"swap of {lease.seat}, generation {lease.generation}"
    return Export(lease.export, lease.size_bytes, text, key=key)
