"""Tiered store: pages in memory up to a limit, and those that were not written lately on disk.

A page file is two sparse files: one on a tmpfs, which begins with a map of one byte for each page
(tiermap.py), and one on a disk. Only the map says where a page is, and all processes map it. It is
changed in such an order that a kill between any two steps does no harm:

- written: the page is in memory before the map says so
- spilled: the page is on disk, synced, before the map says so; then its memory is freed
- trimmed: the map drops the page first

So a process that adopts the files continues where a killed process stopped.
"""

import contextlib
import errno
import os
from collections.abc import Sequence
from pathlib import Path

from netboot.errors import OperatorError
from netboot.pages.nbd.backing import PAGE_BYTES
from netboot.pages.stores.disk import make_folder
from netboot.pages.stores.folder import Folder
from netboot.pages.stores.ledger import FILE_BYTES, LEDGER, SLOTS, Ledger
from netboot.pages.stores.memory import TMPFS
from netboot.pages.stores.sparse import NO_ROOM
from netboot.pages.stores.tieredfile import TieredFile, open_tiered
from netboot.pages.stores.tiermap import HEADER, map_bytes
from netboot.profile.stores import StoreSpec


class TieredStore:
    """A directory on ``tmpfs`` and one below ``parent``.

    All page files and their maps together use at most ``memory_bytes`` of memory.
    """

    kind = "tiered"

    def __init__(
        self, parent: Path, memory_bytes: int, name: str = "", tmpfs: Path = TMPFS
    ) -> None:
        """Open or create both. Raises OperatorError if either cannot hold files."""
        make_folder(parent)
        self._memory = Folder(tmpfs, name)
        self._disk = Folder(parent, name, reachable=True)
        # Half of a page file is useless: after a reboot the half in memory is gone.
        for folder, other in ((self._memory, self._disk), (self._disk, self._memory)):
            for half in set(folder.names()) - set(other.names()):
                folder.path_of(half).unlink()  # not truncated: a worker may have it mapped
        flags = os.O_RDWR | os.O_CREAT
        self._descriptor = os.open(self._memory.path / LEDGER, flags, 0o600)
        try:
            # Its pages are mapped, and a hole in a full tmpfs would end this process (SIGBUS).
            os.posix_fallocate(self._descriptor, 0, FILE_BYTES)
        except OSError as error:
            raise OperatorError(
                f"cannot keep pages in {tmpfs}: {error.strerror}", hint="make room there"
            ) from error
        self._ledger = Ledger(self._descriptor)
        self._ledger.limit = memory_bytes // PAGE_BYTES
        self._places: dict[str, tuple[int, int]] = {}  # of files whose names may be gone

    @property
    def directory(self) -> Path:
        """The directory of the memory tier: the pages last as long as this directory."""
        return self._memory.path

    def mend(self) -> None:
        """Make the directories again if they were removed. The ledger stays open."""
        self._memory.mend()
        self._disk.mend()

    def create(self, name: str, size_bytes: int, *, alone: bool = False) -> TieredFile:
        """Create an empty file. Raises OSError if the limit leaves no room for its map.

        The half on disk is locked if it should be ``alone``: processes lock the other by turns.
        """
        base = map_bytes(size_bytes)
        slot, generation = self._ledger.allot(base // PAGE_BYTES)
        with contextlib.ExitStack() as undo:
            undo.callback(self._ledger.give_up, slot, generation)
            memory = self._memory.create(name, base + size_bytes)
            undo.callback(os.close, memory)
            undo.callback(self._memory.remove, name)
            try:
                os.posix_fallocate(memory, 0, base)
            except OSError as error:
                self._ledger.full |= error.errno in NO_ROOM  # the PC finds room when it asks again
                raise
            os.pwrite(memory, HEADER.pack(slot, generation), 0)
            disk = self._disk.create(name, size_bytes, alone=alone)
            undo.pop_all()
        self._places[name] = (slot, generation)
        return open_tiered([memory, disk, os.dup(self._descriptor)], size_bytes, take=False)

    def open(self, name: str, size_bytes: int, *, alone: bool = False) -> TieredFile:
        """Open an existing file. Raises FileNotFoundError, also for a damaged one."""
        place = self._place(name)
        memory = self._memory.open(name, map_bytes(size_bytes) + size_bytes)
        try:
            disk = self._disk.open(name, size_bytes, alone=alone)
        except OSError:
            os.close(memory)
            raise
        self._places[name] = place
        return open_tiered([memory, disk, os.dup(self._descriptor)], size_bytes, take=False)

    def has(self, name: str) -> bool:
        """Return whether there is a page file of this name."""
        return self._memory.has(name)

    def making(self, name: str) -> None:
        """Return None: ``create`` has made the file."""

    def names(self) -> Sequence[str]:
        """Return the names of the page files."""
        return self._memory.names()

    def remove(self, name: str) -> None:
        """Wipe both files. The map remains for processes that have it mapped."""
        place = self._places.pop(name, None)
        with contextlib.suppress(FileNotFoundError):  # a damaged file: its slot is not known
            place = place or self._place(name)
        try:
            path = self._memory.path_of(name)
            size_bytes = self._disk.path_of(name).stat().st_size
            os.truncate(path, map_bytes(size_bytes))
            path.unlink()
            self._disk.remove(name)
        finally:
            if place is not None:
                self._ledger.give_up(*place)

    def owner(self, name: str) -> int:
        """Return the process that changes and spills a page file; 0 if there is none."""
        return self._ledger.owner(*self._place(name))

    def _place(self, name: str) -> tuple[int, int]:
        """Return slot and generation by a file's header. Raises FileNotFoundError without one."""
        with self._memory.path_of(name).open("rb") as file:
            header = file.read(HEADER.size)
        if len(header) == HEADER.size:
            slot, generation = HEADER.unpack(header)
            if 0 < slot < SLOTS:
                return slot, generation
        raise FileNotFoundError(errno.ENOENT, f"page file {name} has no header")

    def close(self) -> None:
        """Wipe all files, or keep them if the store has a name."""
        if not self._memory.kept:
            for name in self.names():
                self.remove(name)
        self._ledger.close()
        os.close(self._descriptor)
        self._disk.close()
        self._memory.close()


def make_store(spec: StoreSpec, name: str) -> TieredStore:
    """Return a store in the directory of ``spec`` and the machine's shared-memory tmpfs."""
    assert spec.directory is not None, "parse_store requires it"
    return TieredStore(spec.directory, spec.memory_bytes, name)


def adopt(descriptors: Sequence[int], size_bytes: int) -> TieredFile:
    """Return the page file of descriptors that another process sent.

    Raises FileNotFoundError if the file is shorter than it was made.
    """
    memory, disk, ledger = descriptors
    try:
        return open_tiered([memory, disk, ledger], size_bytes, take=True)
    except ValueError as error:  # it would map more than the file has
        raise FileNotFoundError(errno.ENOENT, "the page file was truncated") from error
