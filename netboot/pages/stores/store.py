"""Page stores: the interface of a store and of its page files.

A store keeps page files, one for each lease. The control plane creates and removes them; a worker
receives a file's descriptors over a socket and ``adopt``s them. A new kind of store needs a module
of its name in this package, with ``make_store`` and ``adopt``, and a row in
``netboot.profile.stores``.
"""

import importlib
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol, cast

from netboot.errors import OperatorError
from netboot.pages.nbd.backing import PageFile
from netboot.profile.stores import BY_NAME, StoreSpec


class PageStore(Protocol):
    """A place for page files.

    A store with a name belongs to the server of that name: after any end of the server the page
    files remain, and the next server finds them. Without a name they are wiped when the store is
    closed, or by the next server if this one was killed.
    """

    @property
    def kind(self) -> str:
        """Name of the row, by which a worker finds ``adopt``."""

    @property
    def directory(self) -> Path | None:
        """A directory that lasts as long as the page files; None if no pages are kept.

        A server may keep its own files about the page files here: the store never touches files
        whose names begin with ``state``.
        """

    def mend(self) -> None:
        """Make the directory again if it was removed. Raises OSError."""

    def create(self, name: str, size_bytes: int, *, alone: bool = False) -> PageFile:
        """Create a page file. ``name`` has letters, digits and hyphens. Raises OSError.

        ``alone``: nobody opens it so while a process has copies of its descriptors.
        """

    def open(self, name: str, size_bytes: int, *, alone: bool = False) -> PageFile:
        """Open a page file. Raises FileNotFoundError if there is none of that name and size.

        Raises OSError with EBUSY if it should be ``alone``, and an older process has it open so.
        """

    def has(self, name: str) -> bool:
        """Return whether there is a page file of this name."""

    def making(self, name: str) -> Future[None] | None:
        """Return what ends when the page file that ``create`` returned is there; None if it is.

        No process may use its pages before.
        """

    def names(self) -> Sequence[str]:
        """Return the names of the page files."""

    def remove(self, name: str) -> None:
        """Wipe a page file. Raises FileNotFoundError if its name is gone already.

        A process that still has the file open reads the old content or gets OSError or Damaged,
        never zeros.
        The room is free when the last such process has closed the file.
        """

    def close(self) -> None:
        """Close the store; wipe all page files if the store has no name."""


class PageFileModule(Protocol):
    """The interface of a module for a kind of page file."""

    def adopt(self, descriptors: Sequence[int], size_bytes: int) -> PageFile:
        """Return the page file of ``descriptors``, which it owns from now on."""


class StoreModule(PageFileModule, Protocol):
    """The interface of a module for a row of the table of stores."""

    def make_store(self, spec: StoreSpec, name: str) -> PageStore:
        """Return the store of ``spec``. Raises OperatorError if it cannot be used."""


def load(kind: str) -> PageFileModule:
    """Return the module of a kind of page file: of a store, or an image, which no store keeps.

    Raises OperatorError if there is no such kind.
    """
    if kind not in (*BY_NAME, "image"):
        raise OperatorError(f"no page store {kind!r}", hint=f"one of: {', '.join(BY_NAME)}")
    return cast(PageFileModule, importlib.import_module(f"{__package__}.{kind}"))


def load_all() -> None:
    """Load the module of each kind, while this process may still read them."""
    for kind in (*BY_NAME, "image"):
        load(kind)


def make_store(spec: StoreSpec, name: str = "") -> PageStore:
    """Return the store of the server ``name`` (letters, digits, dots, hyphens; may be empty).

    Raises OperatorError if the store cannot be used.
    """
    return cast(StoreModule, load(spec.kind)).make_store(spec, name)
