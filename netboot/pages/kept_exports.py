"""The kept areas of a room as exports: one file for each, in a folder of the server's state.

The files outlive everything: only ``delete`` removes one, by an operator's order. While the server is
stopped, an operator may copy, mount or delete a file; a seat whose file was deleted begins with an
empty one. While it runs, a worker keeps the file of an area open.
"""

import errno
import logging
import os
import secrets
import stat
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from netboot.errors import OperatorError
from netboot.host.files import PRIVATE
from netboot.host.keeper import Copy, Keeper
from netboot.host.state import StateFile, seal, unseal
from netboot.pages.exports import KEY_BYTES, SAVE_SECONDS, Attachment, Exports
from netboot.pages.headroom import room
from netboot.pages.kept import VERSION, KeptTable
from netboot.pages.lease import Attached, Ends, Lease
from netboot.pages.nbd.export import Export, Refused
from netboot.pages.nbd.name import WireName
from netboot.pages.stores.disk import DiskFile
from netboot.pages.stores.folder import hold

STATE_FILE = "areas.json"
SUFFIX = ".img"
RETURN_SECONDS = 60.0  # in which PCs that are on attach their areas at a new server
KIND = "disk"  # name by which a worker finds ``adopt``: a flush is fdatasync

log = logging.getLogger(__name__)


def new_key() -> str:
    """Return 128 random bits."""
    return secrets.token_hex(KEY_BYTES)


class KeptExports:
    """The areas of ``table``, with their files in ``folder``, which is made if it is missing."""

    names = None

    def __init__(
        self, folder: Path, table: KeptTable, clock: Callable[[], float] = time.time
    ) -> None:
        """Restore the table. Raises OperatorError if the folder cannot be made."""
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise OperatorError(
                f"cannot keep files of PCs in {folder}: {error.strerror}"
            ) from error
        self.directory = folder
        self._table = table
        self._clock = clock
        self._began = clock()
        self._files: dict[str, DiskFile] = {}
        self._in_use: set[str] = set()  # exports with connections
        self.on_ended: Callable[[str], None] = lambda lease: None
        self._state = StateFile(folder / STATE_FILE, mode=PRIVATE)
        self._restore()
        self.keeper = Keeper("areas that PCs keep", [Copy(self._state, self._text)])
        self.keeper.prepare()
        self._since: dict[
            str, int
        ] = {}  # the change in which an area was granted or first attached
        table.on_change = self._changed

    def grant(
        self, seat: str, export: str, token: str, size_bytes: int, *, is_named: bool = True
    ) -> Lease | Refused:
        """Let the boot of ``seat`` that has ``token`` attach ``export``, if the disk has room.

        ``is_named``: the profile names the seat (see KeptTable.grant).
        """
        try:
            self._table.capacity_bytes = room(self.directory)
        except OSError as error:
            return Refused(f"the server cannot keep files: {error.strerror}", is_ours=True)
        now = self._clock()
        return self._table.grant(seat, export, token, size_bytes, now, is_named=is_named)

    def find(self, name: WireName, address: str = "") -> Export | Refused:
        """Look the area up in the table."""
        lease = self._table.find(name)
        if isinstance(lease, Refused):
            return lease
        # An agent that has the key cannot go back to its token, so the next server must know it.
        kept = self.keeper.is_saved(self._since.get(lease.export, 0))
        return self._export(lease, self._table.key_for(name) if kept else "")

    def ends(self, name: WireName) -> Ends:
        """Look the area up in the table."""
        return self._table.ends(name)

    def elsewhere(self, name: WireName) -> Awaitable[Refused | None] | None:
        """Return None: the files are on this server alone."""
        return None

    def attach(self, name: WireName, address: str = "") -> Attachment | Refused:
        """Attach the area. If its file cannot be opened or made, nothing has changed."""
        lease = self._table.find(name)
        if isinstance(lease, Refused):
            return lease
        first = self._table.ends(name).again is None
        try:
            self._open(lease)
        except OSError as error:
            reason = f"the server cannot open the file of {lease.export}: {error.strerror}"
            return Refused(reason, is_ours=True)
        attached = self._table.attach(name, self._clock())
        if isinstance(attached, Refused):
            return attached
        if first or attached.fences or attached.proves:
            change = self.keeper.changed()
            if first:
                self._since[lease.export] = change
        return self._attachment(attached)

    def saving(self, lease: str) -> Awaitable[bool] | None:
        """Return what waits for the save of the grant, or of a boot's first attachment."""
        change = self._since.get(lease, 0)
        return None if self.keeper.is_saved(change) else self.keeper.saved(change, SAVE_SECONDS)

    async def is_granted(self, export: str) -> bool:
        """Wait until the grant of ``export`` is saved; False if it cannot be saved now."""
        saving = self.saving(export)
        return saving is None or await saving

    def resume(self, lease: str, pages: Sequence[int], set_number: int = 0) -> Attachment | None:
        """Attach again by ``lease``, the name of the export."""
        found = self._table.resume(lease, set_number)
        if found is None:
            return None
        try:
            self._open(found)
        except OSError as error:
            log.error("the file of %s cannot be opened: %s", found.export, error.strerror or error)
            return None
        return self._attachment(Attached(found, set_number))

    def has(self, lease: str) -> bool:
        """Return whether ``lease`` is that of an area."""
        return self._table.has(lease)

    def let_go(self, lease: str) -> None:
        """Note that no connection is left: the area may be deleted, but does not age."""
        self._in_use.discard(lease)

    def delete(self, export: str) -> Refused | None:
        """Delete an area with all its files, for good. Return the refusal if a PC has it in use.

        The next boot of its PC begins with an empty one, if its profile still gives it one.
        """
        if export in self._in_use:
            return Refused("it is on and has its files in use; switch it off first")
        left = self._began + RETURN_SECONDS - self._clock()
        if left > 0 and self._table.was_attached(export):
            return Refused(f"this server has just started; ask again in {left:.0f} s")
        refused = self._table.remove(export, self._clock())
        if refused is not None:
            return refused
        self.on_ended(export)  # a worker may have the file open
        file = self._files.pop(export, None)
        if file is not None:
            file.close()
        self._path(export).unlink(missing_ok=True)
        self._changed()
        return None

    def lose(self, lease: str) -> str:
        """Refuse the area: somebody has made its file shorter while it was open."""
        self._table.lose(lease)
        return f"restore {self._path(lease)} and start the server again; the PC keeps nothing until then"

    def close(self) -> None:
        """Close the files. All workers have ended."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def as_rows(self) -> list[dict[str, Any]]:
        """Return the areas as JSON values, without secrets: what they may and what they do take."""
        return [
            {
                "mac": lease.seat,
                "size_bytes": lease.size_bytes,
                "used_bytes": self.used_bytes(lease.export),
                "in_use": lease.export in self._in_use,
                "last_boot": self._table.last_boot(lease.export),
            }
            for lease in self._table.leases()
        ]

    def used_bytes(self, export: str) -> int:
        """Return what the file of an area takes on its disk; 0 if there is none."""
        try:
            return self._path(export).stat().st_blocks * 512
        except OSError:
            return 0

    def _path(self, export: str) -> Path:
        return self.directory / f"{export}{SUFFIX}"

    def _open(self, lease: Lease) -> None:
        """Open the file of an area, made if it is missing. Raises OSError."""
        if lease.export in self._files:
            return
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._path(lease.export), flags, 0o600)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "it is not a regular file")
            hold(descriptor)
            if status.st_size < lease.size_bytes:  # new, or enlarged in the profile
                os.ftruncate(descriptor, lease.size_bytes)
                os.fsync(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._files[lease.export] = DiskFile(descriptor, lease.size_bytes)

    def _attachment(self, attached: Attached) -> Attachment:
        lease = attached.lease
        self._in_use.add(lease.export)
        return Attachment(
            lease.generation,
            lease.seat,
            self._export(lease),
            KIND,
            self._files[lease.export],
            attached.set_number,
            attached.fences,
            connections=lease.connections,
        )

    def _export(self, lease: Lease, key: str = "") -> Export:
        generation = self._table.generation_of(lease.export)
        text = f"files of {lease.seat}, generation {generation}"
        return Export(lease.export, lease.size_bytes, text, key=key)

    def _changed(self) -> None:
        change = self.keeper.changed()
        leases = self._table.leases()
        self._since = {each.export: self._since.get(each.export, change) for each in leases}

    def _restore(self) -> None:
        found = self._state.read(_parse)
        if found is None:
            return
        self._table.restore(found[0])
        for lease in self._table.leases():
            if not self._path(lease.export).exists():
                self._table.renew(lease.export)

    def _text(self) -> str:
        return seal({"version": VERSION, "areas": self._table.as_json()})


class WithKept:
    """The areas of ``kept`` and the exports of ``others`` behind one interface."""

    def __init__(self, kept: KeptExports, others: Exports, suffix: str) -> None:
        """``suffix`` ends the names of kept areas, and of no other export."""
        self._kept = kept
        self._others = others
        self._suffix = suffix

    @property
    def names(self) -> Sequence[str] | None:
        """The answer to LIST."""
        return self._others.names

    @property
    def on_ended(self) -> Callable[[str], None]:
        """The callback for ended leases, and for areas that are deleted."""
        return self._others.on_ended

    @on_ended.setter
    def on_ended(self, call: Callable[[str], None]) -> None:
        self._others.on_ended = self._kept.on_ended = call

    @property
    def directory(self) -> Path | None:
        """The folder of the others' state."""
        return self._others.directory

    def find(self, name: WireName, address: str) -> Export | Refused:
        """Return the export of this name."""
        return self._of(name.export).find(name, address)

    def ends(self, name: WireName) -> Ends:
        """Return the leases that an attachment of this name ends."""
        return self._of(name.export).ends(name)

    def elsewhere(self, name: WireName) -> Awaitable[Refused | None] | None:
        """Return what waits for other servers that have the same pages."""
        return self._of(name.export).elsewhere(name)

    def attach(self, name: WireName, address: str) -> Attachment | Refused:
        """Attach the export of this name."""
        return self._of(name.export).attach(name, address)

    def saving(self, lease: str) -> Awaitable[bool] | None:
        """Return what waits for the save of a lease."""
        return self._of(lease).saving(lease)

    def resume(self, lease: str, pages: Sequence[int], set_number: int = 0) -> Attachment | None:
        """Attach again by ``lease``: that of a kept area is the name of its export."""
        return self._of(lease).resume(lease, pages, set_number)

    def let_go(self, lease: str) -> None:
        """Note the end of the last connection of a lease."""
        self._of(lease).let_go(lease)

    def lose(self, lease: str) -> str:
        """Refuse a lease whose file is damaged."""
        return self._of(lease).lose(lease)

    def _of(self, name: str) -> Exports:
        return self._kept if name.endswith(self._suffix) else self._others


def _parse(data: bytes) -> list[dict[str, object]]:
    content = unseal(data, VERSION)
    rows = content.get("areas")
    if not isinstance(rows, list):
        raise ValueError("damaged: expected a list of areas")  # noqa: TRY004
    KeptTable(0, str).restore(rows)  # raises ValueError
    return rows
