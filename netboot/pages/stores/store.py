"""Page stores: the interface of a store and of its page files.

A store keeps page files, one for each lease. The control plane creates and removes them; a worker
gets a file's descriptors over a socket and ``adopt``s them. A new kind is one module here with
``make_store`` and ``adopt``, called as the kind is, and one row in ``netboot.profile.stores``.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast

from netboot.errors import OperatorError
from netboot.pages.nbd.backing import PageFile
from netboot.profile.stores import BY_NAME, StoreSpec


class PageStore(Protocol):
    """Where page files are kept.

    A store that was made with a name belongs to the server of that name: when the server ends,
    however it ends, the page files stay and its successor finds them. Without a name they are
    wiped when the store is closed, or by the next server if this one was killed.
    """

    @property
    def kind(self) -> str:
        """Name of the row, which a worker looks ``adopt`` up by."""

    @property
    def directory(self) -> Path | None:
        """Lives as long as the page files, so a server may keep what it knows of them here; files
        whose names begin with ``state`` are never touched. None if pages are kept nowhere.
        """

    def create(self, name: str, size_bytes: int) -> PageFile:
        """A new page file. ``name``: letters, digits and hyphens. Raises OSError."""

    def open(self, name: str, size_bytes: int) -> PageFile:
        """A page file that is there. Raises FileNotFoundError if not with that size."""

    def names(self) -> Sequence[str]:
        """The page files that are there."""

    def remove(self, name: str) -> None:
        """Wipes a page file. Whoever still has it open reads what it held or gets OSError, never
        zeros; its room is free once the last of them has closed it.
        """

    def close(self) -> None:
        """Lets go of the store; wipes all page files if the store has no name."""


class PageFileModule(Protocol):
    """What the module of a kind of page file has."""

    def adopt(self, descriptors: Sequence[int], size_bytes: int) -> PageFile:
        """The page file whose ``descriptors()`` were sent here. Owns them from now on."""


class StoreModule(PageFileModule, Protocol):
    """What the module of a row has."""

    def make_store(self, spec: StoreSpec, name: str) -> PageStore:
        """Raises OperatorError if pages cannot be kept as ``spec`` says."""


def load(kind: str) -> PageFileModule:
    """Return the module of a kind of page file: of a store, or an image, which no store keeps.

    Raises OperatorError if there is no such kind.
    """
    if kind not in (*BY_NAME, "image"):
        raise OperatorError(f"no page store {kind!r}", hint=f"one of: {', '.join(BY_NAME)}")
    return cast(PageFileModule, importlib.import_module(f"{__package__}.{kind}"))


def make_store(spec: StoreSpec, name: str = "") -> PageStore:
    """The store of the server ``name`` (letters, digits, dots, hyphens; may be empty).

    Raises OperatorError if pages cannot be kept there.
    """
    return cast(StoreModule, load(spec.kind)).make_store(spec, name)
