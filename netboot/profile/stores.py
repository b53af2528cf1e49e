"""The notation of page stores, and one row for each kind of store.

A profile and the command line write ``memory``, ``disk:DIR``, ``tiered:DIR,memory=SIZE``,
``rbd:POOL``, ``rbd:POOL,namespace=NAME`` or ``null``; docs/howto/page-stores.md says which one to choose. ``netboot.pages.stores`` has the
stores themselves: one module for each kind, under its name.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from netboot.errors import OperatorError
from netboot.profile import patterns
from netboot.profile.reading import Nearest, Text, Unreadable, any_of, nearest
from netboot.profile.values import MAX_SIZE, SIZE, UNITS

# The smallest memory with which a tiered store is of use.
MIN_TIER_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class StoreSpec:
    """A store as the operator wrote it.

    ``directory`` is None, ``memory_bytes`` 0, and ``pool`` and ``namespace`` are empty for kinds that
    have none.
    """

    kind: str
    directory: Path | None = None
    memory_bytes: int = 0
    pool: str = ""
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class StoreKind:
    """A kind of store: its name and its notation.

    Several processes may change the page files of a ``shared`` kind at the same time. The pages of a
    ``remote`` kind are on other machines.
    """

    name: str
    form: str
    shared: bool = True
    remote: bool = False


STORE_KINDS = (
    StoreKind("memory", "memory"),
    StoreKind("disk", "disk:DIR"),
    StoreKind("tiered", "tiered:DIR,memory=SIZE", shared=False),
    StoreKind("rbd", "rbd:POOL[,namespace=NAME]", shared=False, remote=True),
    StoreKind("null", "null"),
)

BY_NAME = {row.name: row for row in STORE_KINDS}
_FORMS = {row.form: row for row in STORE_KINDS}


def parse_store(text: str) -> StoreSpec:
    """Return the store that the command line gives. Raises OperatorError."""
    try:
        return STORE.parse(text)
    except Unreadable as error:
        hint = f"did you mean '{error.nearest}'?" if error.nearest else ""
        raise OperatorError(f"store {text!r}: {error}", hint=hint) from None


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
    if row.remote:
        found = re.fullmatch(_POOL, rest.strip())
        if found is None:
            raise Nearest(row.form)
        return StoreSpec(kind, pool=found["pool"], namespace=found["namespace"] or "")
    folder, _, size = rest.rpartition(",memory=") if "memory=" in row.form else (rest, "", "")
    folder = folder.strip()
    if not folder or "\0" in folder:
        raise Nearest(row.form)
    if "memory=" not in row.form:
        return StoreSpec(kind, Path(folder))
    memory_bytes = SIZE.convert(size)
    if memory_bytes < MIN_TIER_BYTES:
        raise Nearest(f"{kind}:{folder},memory={MIN_TIER_BYTES >> 20}MiB")
    return StoreSpec(kind, Path(folder), memory_bytes)


# Ceph allows more characters. These need no quotes in a shell, and no image's name has "/" or "@".
_NAME = r"[A-Za-z0-9_.][A-Za-z0-9_.-]*"
_POOL = rf"(?P<pool>{_NAME})(?:,namespace=(?P<namespace>{_NAME}))?"
_TIER_SIZES = patterns.size(MIN_TIER_BYTES, MAX_SIZE, UNITS)
# A profile keeps the text as it was written, after this check.
STORE = Text(
    any_of(_FORMS),
    _convert,
    # Of a profile, where a folder is absolute.
    patterns.text(
        rf"memory|null|disk:\s*/[^\x00]*|tiered:\s*/[^\x00]*,memory=(?:{_TIER_SIZES})"
        rf"|rbd:\s*{_NAME}(?:,namespace={_NAME})?",
    ),
)
