"""Tiered store: pages in memory up to a limit, those that were not written for long on disk.

A page file is two sparse files: one on a tmpfs, which begins with a map of one byte for each page
(tiermap.py), and one on a disk. The map alone says where a page is, every process maps it, and it is
changed in an order that a kill between any two steps does no harm:

- written: the page is in memory before the map says so
- spilled: the page is on disk, synced, before the map says so; then memory is given back
- trimmed: the map forgets the page first

So whoever adopts the files goes on where a killed process stopped.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from netboot.pages.nbd.backing import PAGE_BYTES
from netboot.pages.stores.disk import make_folder
from netboot.pages.stores.folder import Folder
from netboot.pages.stores.ledger import FILE_BYTES, Ledger
from netboot.pages.stores.memory import TMPFS
from netboot.pages.stores.tieredfile import TieredFile, open_tiered
from netboot.pages.stores.tiermap import HEADER, map_bytes
from netboot.profile.stores import StoreSpec

LEDGER = "ledger"


class TieredStore:
    """A directory on ``tmpfs`` and one below ``parent``, with at most ``memory_bytes`` of memory
    for all page files and their maps.
    """

    kind = "tiered"

    def __init__(
        self, parent: Path, memory_bytes: int, name: str = "", tmpfs: Path = TMPFS
    ) -> None:
        """Raises OperatorError if there can be no files in ``parent`` or ``tmpfs``."""
        make_folder(parent)
        self._memory = Folder(tmpfs, name)
        self._disk = Folder(parent, name)
        # Half of a page file is none: the memory's half is gone after a reboot.
        for folder, other in ((self._memory, self._disk), (self._disk, self._memory)):
            for half in set(folder.names()) - set(other.names()):
                folder.path_of(half).unlink()  # not truncated: a worker may have it mapped
        flags = os.O_RDWR | os.O_CREAT
        self._descriptor = os.open(self._memory.path / LEDGER, flags, 0o600)
        os.ftruncate(self._descriptor, FILE_BYTES)
        self._ledger = Ledger(self._descriptor)
        self._ledger.limit = memory_bytes // PAGE_BYTES

    @property
    def directory(self) -> Path:
        """Of what is in memory: as long as that lives, so do the pages."""
        return self._memory.path

    def create(self, name: str, size_bytes: int) -> TieredFile:
        """A new file that holds nothing. Raises OSError if the limit leaves no room for its map."""
        base = map_bytes(size_bytes)
        slot, generation = self._ledger.allot(base // PAGE_BYTES)
        with contextlib.ExitStack() as undo:
            undo.callback(self._ledger.give_up, slot, generation)
            memory = self._memory.create(name, base + size_bytes)
            undo.callback(os.close, memory)
            undo.callback(self._memory.remove, name)
            os.posix_fallocate(memory, 0, base)
            os.pwrite(memory, HEADER.pack(slot, generation), 0)
            disk = self._disk.create(name, size_bytes)
            undo.pop_all()
        return open_tiered([memory, disk, os.dup(self._descriptor)], size_bytes, take=False)

    def open(self, name: str, size_bytes: int) -> TieredFile:
        """A file that is there."""
        memory = self._memory.open(name, map_bytes(size_bytes) + size_bytes)
        disk = self._disk.open(name, size_bytes)
        return open_tiered([memory, disk, os.dup(self._descriptor)], size_bytes, take=False)

    def names(self) -> Sequence[str]:
        """The page files that are there."""
        return self._memory.names()

    def remove(self, name: str) -> None:
        """Wipes both files; the map stays for whoever has it mapped."""
        path = self._memory.path_of(name)
        slot, generation = self._place(name)
        size_bytes = self._disk.path_of(name).stat().st_size
        os.truncate(path, map_bytes(size_bytes))
        path.unlink()
        self._disk.remove(name)
        self._ledger.give_up(slot, generation)

    def owner(self, name: str) -> int:
        """The process that changes a page file and spills it; 0 if there is none."""
        return self._ledger.owner(*self._place(name))

    def _place(self, name: str) -> tuple[int, int]:
        with self._memory.path_of(name).open("rb") as file:
            slot, generation = HEADER.unpack(file.read(HEADER.size))
        return slot, generation

    def close(self) -> None:
        """Wipes all files, or keeps them if the store has a name."""
        if not self._memory.kept:
            for name in self.names():
                self.remove(name)
        self._ledger.close()
        os.close(self._descriptor)
        self._disk.close()
        self._memory.close()


def make_store(spec: StoreSpec, name: str) -> TieredStore:
    """A store in the directory of ``spec`` and the machine's shared-memory tmpfs."""
    assert spec.directory is not None, "parse_store demands it"
    return TieredStore(spec.directory, spec.memory_bytes, name)


def adopt(descriptors: Sequence[int], size_bytes: int) -> TieredFile:
    """The page file behind descriptors that were sent to this process."""
    return open_tiered(descriptors, size_bytes, take=True)
