"""Page stores: the interface, and one row for each kind.

A store keeps page files, one for each lease. The control plane creates and removes them; a worker
gets a file's descriptors over a socket and ``adopt``s them. A new kind is one module with
``make_store`` and ``adopt``, and one row here.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from netboot.errors import OperatorError


class PageFile(Protocol):
    """``size_bytes`` bytes that read as zeros until written. Methods raise OSError.

    Offsets and lengths are bytes, inside the file, and need not be aligned to pages.
    """

    @property
    def size_bytes(self) -> int:
        """Size, fixed for the life of the file."""

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fills ``buffer``. Never makes a page of what was never written."""

    def write(self, offset: int, data: memoryview) -> None:
        """Stores all of ``data``, for every connection to see."""

    def trim(self, offset: int, length: int) -> None:
        """Gives memory back. What it held may read as anything, here: zeros."""

    def zero(self, offset: int, length: int, *, allocate: bool) -> None:
        """Makes zeros, and gives memory back unless ``allocate``."""

    def flush(self) -> None:
        """Returns when all that was written is as durable as this store makes it."""

    def descriptors(self) -> Sequence[int]:
        """File descriptors that ``adopt`` in another process needs. They stay this object's."""

    def close(self) -> None:
        """Closes the descriptors; the pages stay."""


class PageStore(Protocol):
    """Where page files are kept."""

    @property
    def kind(self) -> str:
        """Name of the row, which a worker looks ``adopt`` up by."""

    def create(self, name: str, size_bytes: int) -> PageFile:
        """A new page file. ``name``: letters, digits and hyphens. Raises OSError."""

    def remove(self, name: str) -> None:
        """Wipes a page file: its pages are gone, whoever still has it open."""

    def close(self) -> None:
        """Wipes all page files."""


class StoreModule(Protocol):
    """What the module of a row has."""

    def make_store(self) -> PageStore:
        """Raises OperatorError if pages cannot be kept on this machine."""

    def adopt(self, descriptors: Sequence[int], size_bytes: int) -> PageFile:
        """The page file whose ``descriptors()`` were sent here. Owns them from now on."""


@dataclass(frozen=True, slots=True)
class StoreKind:
    """A kind of store. ``module`` is imported on first use."""

    name: str
    summary: str
    module: str


STORE_KINDS = (
    StoreKind("memory", "sparse files on a tmpfs: the server's RAM", "netboot.pages.memory"),
)

BY_NAME = {row.name: row for row in STORE_KINDS}


def load(kind: str) -> StoreModule:
    """The module of a kind. Raises OperatorError if there is no such kind."""
    row = BY_NAME.get(kind)
    if row is None:
        raise OperatorError(f"no page store {kind!r}", hint=f"one of: {', '.join(BY_NAME)}")
    return cast(StoreModule, importlib.import_module(row.module))
