"""Page stores: the interface, one row for each kind, and how a store is written.

A store keeps page files, one for each lease. The control plane creates and removes them; a worker
gets a file's descriptors over a socket and ``adopt``s them. A new kind is one module with
``make_store`` and ``adopt``, and one row here.

What is written is ``memory``, ``disk:DIR``, ``tiered:DIR,memory=SIZE`` or ``null``, on the command
line and in a profile (docs/pages.md says which is for whom).
"""

import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from netboot.errors import OperatorError
from netboot.values import SIZE, Nearest, Text, Unreadable, any_of, nearest

PAGE_BYTES = 4096

# What fits into the smallest memory a tiered store is good for.
MIN_TIER_BYTES = 4 << 20


class Busy(Exception):
    """There is no room now for what is to be written. Nothing was lost: the caller says nothing
    to the client, tries the whole of it again later, and lets the operator know.
    """


def pages_of(offset: int, length: int) -> range:
    """Offsets of the pages that a range of bytes touches."""
    return range(offset - offset % PAGE_BYTES, offset + length, PAGE_BYTES)


class PageFile(Protocol):
    """``size_bytes`` bytes that read as zeros until written. Methods raise OSError.

    Offsets and lengths are bytes, inside the file, and need not be aligned to pages. All objects
    that ``adopt`` made of one file see the same bytes; only one process at a time may change it,
    unless its kind is ``shared``.
    """

    @property
    def size_bytes(self) -> int:
        """Size, fixed for the life of the file."""

    def view(self, offset: int, length: int) -> memoryview | None:
        """The bytes where they are stored, to be read and written until the next call of any other
        method but this; None if they cannot be had like that: some are not in memory, or never
        were written. ``length`` is not 0.
        """

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fills ``buffer``. Never makes a page of what was never written."""

    def write(self, offset: int, data: memoryview) -> None:
        """Stores all of ``data``, for every connection to see. Raises Busy."""

    def trim(self, offset: int, length: int) -> None:
        """Gives memory back. What it held may read as anything, here: zeros. Raises Busy."""

    def zero(self, offset: int, length: int, *, allocate: bool) -> None:
        """Makes zeros, and gives memory back unless ``allocate``. Raises Busy."""

    def extents(self, offset: int, length: int) -> Iterable[tuple[int, bool]]:
        """Consecutive ``(bytes, hole)`` that cover the range; what is a hole reads as zeros."""

    def flush(self) -> None:
        """Returns when all that was written is as durable as this store makes it. Raises Busy."""

    def descriptors(self) -> Sequence[int]:
        """File descriptors that ``adopt`` in another process needs. They stay this object's."""

    def close(self) -> None:
        """Closes the descriptors; the pages stay."""


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


@dataclass(frozen=True, slots=True)
class StoreSpec:
    """A store as it was asked for. ``directory`` and ``memory_bytes`` are None and 0 for kinds
    that have none.
    """

    kind: str
    directory: Path | None = None
    memory_bytes: int = 0


class PageFileModule(Protocol):
    """What the module of a kind of page file has."""

    def adopt(self, descriptors: Sequence[int], size_bytes: int) -> PageFile:
        """The page file whose ``descriptors()`` were sent here. Owns them from now on."""


class StoreModule(PageFileModule, Protocol):
    """What the module of a row has."""

    def make_store(self, spec: StoreSpec, name: str) -> PageStore:
        """Raises OperatorError if pages cannot be kept as ``spec`` says."""


@dataclass(frozen=True, slots=True)
class StoreKind:
    """A kind of store. ``module`` is imported on first use; ``form`` is how it is written; the
    page files of a ``shared`` kind may be changed by several processes at the same time.
    """

    name: str
    form: str
    summary: str
    module: str
    keeps_pages: bool = True
    shared: bool = True


STORE_KINDS = (
    StoreKind("memory", "memory", "in the server's RAM", "netboot.pages.memory"),
    StoreKind("disk", "disk:DIR", "in sparse files in DIR", "netboot.pages.disk"),
    StoreKind(
        "tiered",
        "tiered:DIR,memory=SIZE",
        "in RAM up to SIZE, what was not written for long in DIR",
        "netboot.pages.tiered",
        shared=False,
    ),
    StoreKind(
        "null", "null", "nowhere: writes are lost, for measuring", "netboot.pages.null", False
    ),
)

BY_NAME = {row.name: row for row in STORE_KINDS}
_FORMS = {row.form: row for row in STORE_KINDS}
# Kinds of page files: those of the stores, and images, which no store keeps.
_MODULES = {row.name: row.module for row in STORE_KINDS} | {"image": "netboot.pages.image"}


def load(kind: str) -> PageFileModule:
    """The module of a kind of page file. Raises OperatorError if there is no such kind."""
    module = _MODULES.get(kind)
    if module is None:
        raise OperatorError(f"no page store {kind!r}", hint=f"one of: {', '.join(BY_NAME)}")
    return cast(PageFileModule, importlib.import_module(module))


def make_store(spec: StoreSpec, name: str = "") -> PageStore:
    """The store of the server ``name`` (letters, digits, dots, hyphens; may be empty).

    Raises OperatorError if pages cannot be kept there.
    """
    return cast(StoreModule, load(spec.kind)).make_store(spec, name)


def parse_store(text: str) -> StoreSpec:
    """A store as the command line gives it. Raises OperatorError."""
    try:
        return STORE.parse(text)
    except Unreadable as error:
        hint = f"did you mean '{error.nearest}'?" if error.nearest else ""
        raise OperatorError(f"store {text!a}: {error}", hint=hint) from None


def _convert(text: str) -> StoreSpec:
    kind, _, rest = text.partition(":")
    row = BY_NAME.get(kind)
    if row is None:
        guess = nearest(kind, BY_NAME)
        raise Nearest(BY_NAME[guess].form if guess else "")
    if ":" not in row.form:
        if rest:
            raise Nearest(kind)
        return StoreSpec(kind)
    folder, _, size = rest.rpartition(",memory=") if "memory=" in row.form else (rest, "", "")
    if not folder or "\0" in folder:
        raise Nearest(row.form)
    if "memory=" not in row.form:
        return StoreSpec(kind, Path(folder))
    memory_bytes = SIZE.convert(size)
    if memory_bytes < MIN_TIER_BYTES:
        raise Nearest(f"{kind}:{folder},memory={MIN_TIER_BYTES >> 20}MiB")
    return StoreSpec(kind, Path(folder), memory_bytes)


# A profile keeps what was written: a text with a meaning, checked.
STORE = Text(
    any_of(_FORMS),
    _convert,
    {"type": "string", "pattern": r"^(memory|null|disk:.+|tiered:.+,memory=[0-9.]+ ?[A-Za-z]*)$"},
)
